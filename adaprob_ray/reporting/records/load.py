"""The Records that a table needs, from a store or a file in results/: all, or an error that says how to compute the others."""

from __future__ import annotations

import json
import shlex
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adaprob_ray.errors import CorruptArtefact, InputError, NoStore
from adaprob_ray.reporting.records.grouping import GROUP
from adaprob_ray.reporting.records.missing import first_of
from adaprob_ray.store import Store
from adaprob_ray.store.records import load_records
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.method_choices import REFERENCES
from adaprob_ray.sweep.select import conditions_for, select_cells
from adaprob_ray.sweep.sweep import Sweep

LINES = ".jsonl"  # a store's Records as one file, a JSON object a line, as in results/
ARCHIVE, RECORDS = ".zip", "records.jsonl"  # the same lines together with Outputs and series
FILES = (LINES, ARCHIVE)


@dataclass(frozen=True)
class Gathered:
    """Records in the order of their sweep files, and the evaluate cells that have none."""

    records: pd.DataFrame
    missing: list[Cell]


def load_sweep(path: str | Path) -> Sweep:
    """The sweep file, parsed and expanded; data sets of a user's folders are known by their manifests. Raises InputError."""
    from adaprob_ray.catalogue import REGISTRY, data_root, register_prepared_folders  # which loads torch

    register_prepared_folders(data_root())
    return Sweep.load(path, REGISTRY)


def gather(
    location: str,
    sweeps: Mapping[str, Sweep],
    *,
    conditions: str | None = None,
    wanted: Callable[[Cell], bool] = lambda cell: True,
    partial: bool = False,
    references: bool = False,
) -> Gathered:
    """The Records of the evaluate cells of `sweeps` (by path) that meet `conditions` and `wanted`.

    With `references`, also those of original, retrain and retrain_independent of the same groups and seeds.
    Without `partial` raises InputError if any is missing or corrupt: for each sweep the command that computes them, then some.
    Reading a corrupt Record revokes its attempt, so that the command recomputes it. A location without a store has none.
    """
    frames, lines, no_store = list[pd.DataFrame](), list[str](), list[str]()
    without: dict[str, Cell] = {}
    for path, sweep in sweeps.items():
        selected = sweep.cells if conditions is None else select_cells(sweep.cells, conditions)
        cells = _with_references(sweep.cells, selected) if references else selected
        chosen = {key: cell for key, cell in cells.items() if cell.stage == "evaluate" and wanted(cell)}
        try:
            records, corrupt = _readable(location, sweep)
        except NoStore as error:
            records, corrupt, no_store = pd.DataFrame(), {}, list(error.faults)
        records = _ordered(records, chosen)
        available = set(records["key"]) if len(records) else set()
        missing = [cell for key, cell in chosen.items() if key not in available]
        frames.append(records)
        without.update({cell.key: cell for cell in missing})
        # The conditions that were given do not hold for a reference that they did not select.
        by_conditions = all(cell.key in selected for cell in missing)
        within = (conditions, selected) if by_conditions else (None, sweep.cells)
        command = _command(path, location, within[0], missing, within[1])
        lines += _missing_lines(missing, corrupt, len(chosen), command)
    if lines and not partial:
        raise InputError(*no_store, *lines)  # without a store the path may be mistyped
    frames = [frame for frame in frames if len(frame)]
    records = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return Gathered(records.drop_duplicates("key") if frames else records, list(without.values()))


def _with_references(cells: Mapping[str, Cell], selected: Mapping[str, Cell]) -> dict[str, Cell]:
    """The selected cells and the evaluate cells of references of their groups and seeds, in the order of `cells`."""
    pairs = {_group_and_seed(cell) for cell in selected.values() if cell.stage == "evaluate"}
    return {
        key: cell
        for key, cell in cells.items()
        if key in selected or (cell.stage == "evaluate" and cell.label in REFERENCES and _group_and_seed(cell) in pairs)
    }


def _group_and_seed(cell: Cell) -> tuple[Any, ...]:
    return (*group_of(cell).values(), cell.settings.seed)


def _missing_lines(
    missing: Sequence[Cell], corrupt: Mapping[str, CorruptArtefact], total: int, command: str
) -> list[str]:
    """The command first, then some of the missing Records, those that are corrupt before the others."""
    if not missing:
        return []
    titles = []
    for cell in sorted(missing, key=lambda cell: cell.key not in corrupt):
        error = corrupt.get(cell.key)
        reason = f" ({error.name} {error.reason}; attempt {error.number} is revoked)" if error else ""
        titles.append(f"{cell.title}{reason}")
    first = f"{len(missing)} of {total} Records are missing; compute them with:  {command}"
    return [first, *(f"missing: {title}" for title in first_of(titles))]


def _command(
    path: str, location: str, conditions: str | None, missing: Sequence[Cell], cells: Mapping[str, Cell]
) -> str:
    """The command that computes the missing Records and as few others as conditions can tell."""
    parts = [text for text in (conditions, conditions_for(missing, cells.values())) if text]
    options = ["--only", ",".join(parts)] if parts else []
    store = "./store" if location.endswith(FILES) else location
    return shlex.join(["adaprob-ray", "run", path, "--store", store, *options])


def _readable(location: str, sweep: Sweep | None = None) -> tuple[pd.DataFrame, dict[str, CorruptArtefact]]:
    """The Records that can be read, and the errors of the others, by key. Raises NoStore.

    Each error has revoked an attempt; concurrent readers may revoke more than they report.
    """
    if location.endswith(FILES):
        return read_lines(Path(location)), {}
    store, corrupt = Store.open(location, create=False), dict[str, CorruptArtefact]()
    while True:
        try:
            return load_records(store, sweep), corrupt
        except CorruptArtefact as error:
            corrupt[error.key] = error


def _ordered(records: pd.DataFrame, cells: Mapping[str, Cell]) -> pd.DataFrame:
    if not len(records):
        return records
    places = {key: place for place, key in enumerate(cells)}
    selected = records[records["key"].isin(places)]
    return selected.sort_values("key", key=lambda keys: keys.map(places)).reset_index(drop=True)


def read_lines(path: Path) -> pd.DataFrame:
    """Records from a file of them, a JSON object a line, or from an archive. Raises InputError where it cannot be read."""
    try:
        rows = [json.loads(line) for line in _text(path).splitlines()]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as Records (one JSON object per line): {error}") from error
    for number, row in enumerate(rows, 1):
        if not (isinstance(row, dict) and isinstance(row.get("key"), str)):
            raise InputError(f"{path}: line {number}: must be a Record, an object with a key")
    return pd.DataFrame(rows)


def _text(path: Path) -> str:
    if path.suffix != ARCHIVE:
        return path.read_text(encoding="utf-8")
    with zipfile.ZipFile(path) as file:
        return file.read(RECORDS).decode()


def all_records(location: str) -> pd.DataFrame:
    """Every Record of a store or of a file of them; a corrupt one is revoked on reading and left out."""
    return _readable(location)[0]


def group_of(cell: Cell) -> dict[str, Any]:
    """What a table groups by, of an evaluate cell, as its Record has it."""
    settings = cell.settings
    return {
        "dataset": str(settings.dataset),
        "test_pool": settings.dataset.test_pool,
        "architecture": settings.architecture.name,
        "filters": settings.architecture.filters,
        "forget": str(cell.forget),
    }


def in_order_of_groups(records: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """Records with their groups in the order of the sweep file, of whatever revision they are; unknown groups last."""
    groups = [tuple(group_of(cell).values()) for cell in sweep.cells.values() if cell.stage == "evaluate"]
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    order = [places.get(tuple(row), len(places)) for row in records[list(GROUP)].itertuples(index=False)]
    return records.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
