"""By how much unlearning raises the error on retained samples: whether a method at these settings wrecks a network.

    python -m benchmarks.retain_error SWEEP STORE [SWEEP STORE ...] [--labels LABEL ...] [--out FILE.csv]

Reads the outputs of the models that are done in a store, before and after, or retain errors in a file of Records.
A store needs no Retrain: `adaprob-ray run SWEEP --only stage=unlearn`. Prints a line for each data set, network, request and
label: the mean over seeds before and after, and the mean and the largest rise in percentage points.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.data.split import request_positions, retain_positions
from adaprob_ray.errors import InputError, NotDone
from adaprob_ray.metrics.error_rate import error_percent
from adaprob_ray.metrics.outputs import Outputs
from adaprob_ray.reporting.records.load import FILES, all_records
from adaprob_ray.reporting.tables.model import RETAIN_ERROR
from adaprob_ray.store import Store
from adaprob_ray.store.names import OUTPUTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep
from benchmarks import run_command

# Key of a model and the cell with the request -> percent, or None where the model is not done.
RetainError = Callable[[str, Cell], float | None]
GROUP = ["dataset", "architecture", "filters", "forget", "label"]


def lines_of(sweep: Sweep, retain_error: RetainError) -> Iterator[dict[str, Any]]:
    """A line for each label and unlearned model that is done. Raises InputError for a label with several settings."""
    rows = set[tuple[Any, ...]]()
    for evaluation in sweep.cells.values():
        cell = sweep.cells.get(evaluation.parents.get("model", ""))
        if evaluation.stage != "evaluate" or cell is None or cell.stage != "unlearn":
            continue
        settings, network = cell.settings, cell.settings.architecture
        group = (str(settings.dataset), network.title, network.filters, str(cell.forget), evaluation.label)
        row = (*group, settings.seed, getattr(settings, "repeat", 0))
        if row in rows:
            raise InputError(f"{sweep.name}: must have one setting for each label, got several of {evaluation.label}")
        rows.add(row)
        before, after = (retain_error(key, cell) for key in (cell.parents["original"], cell.key))
        if before is not None and after is not None:
            yield {
                **dict(zip(GROUP, group, strict=True)),
                "seed": settings.seed,
                "original": before,
                "unlearned": after,
            }


def retain_errors_at(location: str) -> RetainError:
    """From the Records of a file, or from the outputs of a store."""
    if location.endswith(FILES):
        errors = all_records(location).set_index(["model_key", "forget"])[RETAIN_ERROR].to_dict()
        return lambda key, cell: errors.get((key, str(cell.forget)))
    return partial(retain_error_of_outputs, Store.open(location, create=False))


def retain_error_of_outputs(store: Store, key: str, cell: Cell) -> float | None:
    """Error in percent of a model on the retained samples of a cell's request; None where the model is not done."""
    try:
        outputs, forget = Outputs.from_bytes(store.read(key, OUTPUTS)), cell.forget
    except NotDone:
        return None
    assert forget is not None
    logits, labels = outputs.logits["train"], outputs.labels["train"]
    forgotten = np.concatenate(request_positions(labels, forget, cell.settings.seed, outputs.groups))
    retained = retain_positions(len(labels), forgotten)
    error = error_percent(logits[retained], labels[retained])
    assert error is not None
    return error


def summary(lines: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds of each group, and the mean and the largest rise."""
    rises = lines.assign(rise=lines["unlearned"] - lines["original"]).groupby(GROUP, sort=False)
    means = rises[["original", "unlearned", "rise"]].mean()
    return means.assign(largest_rise=rises["rise"].max(), seeds=rises.size()).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "pairs", nargs="+", metavar="SWEEP STORE", help="sweep files, each with the store of its models"
    )
    parser.add_argument("--labels", nargs="+", default=[], help="only these")
    parser.add_argument("--out", type=Path, help="a CSV file for the table")
    options = parser.parse_args()
    if len(options.pairs) % 2:
        raise InputError(f"SWEEP STORE: must be pairs, got {len(options.pairs)} names")
    sweeps = [(Sweep.load(path, REGISTRY), path) for path in options.pairs[::2]]
    lines: list[dict[str, Any]] = []
    for (sweep, path), location in zip(sweeps, options.pairs[1::2], strict=True):
        all_lines = lines_of(sweep, retain_errors_at(location))
        of_sweep = [line for line in all_lines if not options.labels or line["label"] in options.labels]
        if not of_sweep:
            raise InputError(f"{path}: must have unlearned models in {location}, got none that are done")
        lines += of_sweep
    table = summary(pd.DataFrame(lines))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    if options.out is not None:
        table.to_csv(options.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    run_command(main)
