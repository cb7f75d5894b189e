"""Archives of results/: Records and Outputs of a sweep as two files, and every metric computed again from the Outputs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from adaprob_ray.catalogue import METRICS
from adaprob_ray.metrics.outputs import Evaluation
from adaprob_ray.reporting.records.archive import Archive, evaluations, record_lines, source_of, write_archive
from adaprob_ray.reporting.records.load import ARCHIVE, LINES
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.output import Output, missing_document
from adaprob_ray.reporting.tables.render import write_whole
from analysis.verify.marks import CheckResult


def build_archive(selection: Selection, out: Path) -> Output:
    """Write NAME.jsonl and NAME.zip of one sweep to `out`."""
    name = selection.sweep.name
    gathered, source = selection.gather_some(name), source_of(selection.location)
    out.mkdir(parents=True, exist_ok=True)
    # Outputs may be unreadable: the lines, from which tables are made, come after them.
    outputs = write_archive(gathered.records, source, out / f"{name}{ARCHIVE}")
    lines = write_whole(out / f"{name}{LINES}", record_lines(gathered.records))
    return Output(missing_document(gathered.missing), [lines, outputs])


def check_archive(path: Path) -> CheckResult:
    """Recompute every metric of the archive's Records from its Outputs. An archive may hold some seeds only."""
    archive = Archive(path)
    numbers, faults = 0, []
    lines_path = path.with_suffix(".jsonl")  # from which tables are made
    lines = lines_path.read_text(encoding="utf-8").splitlines() if lines_path.is_file() else []
    seeds, all_seeds = set(archive.records["seed"]), {json.loads(line)["seed"] for line in lines}
    own_lines = [line for line in lines if json.loads(line)["seed"] in seeds]
    if not own_lines or own_lines != record_lines(archive.records).splitlines():
        faults.append(f"{path.name}: its Records differ from those of the same seeds in {lines_path.name}")
    for record, evaluation in evaluations(archive.records, archive):
        for name, value in _computed(record, evaluation).items():
            numbers += 1
            if not _same(value, record.get(name)):
                where = f"{path.name}: {record['label']} of seed {record['seed']}"
                faults.append(f"{where}: {name} is {record.get(name)} in its Record, {value} from its Outputs")
    notes = [f"{path.name} has Outputs of {len(seeds)} of {len(all_seeds)} seeds"] if seeds < all_seeds else []
    return CheckResult(0, numbers, faults, notes)


def _computed(record: dict[str, Any], evaluation: Evaluation) -> dict[str, float | None]:
    """The columns that the Record has, of every metric that reads Outputs alone."""
    values = [metric.compute(evaluation) for metric in METRICS.values() if set(metric.columns) & set(record)]
    return {name: value for each in values for name, value in each.items() if name in record}


def _same(value: float | None, stored: Any) -> bool:
    """Records are canonical JSON: ten decimals."""
    if value is None or pd.isna(stored):
        return value is None and bool(pd.isna(stored))
    return math.isclose(value, stored, rel_tol=1e-9, abs_tol=1e-9)
