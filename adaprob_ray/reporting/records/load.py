"""The Records that a table needs, from a store or a file in results/: all, or an error that says how to compute the others."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adaprob_ray.errors import CorruptArtefact, InputError
from adaprob_ray.reporting.records.grouping import GROUP
from adaprob_ray.store import Store
from adaprob_ray.store.records import load_records
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

LINES = ".jsonl"  # a store's Records as one file, a JSON object a line, as in results/
ARCHIVE, RECORDS = ".zip", "records.jsonl"  # the same lines together with Outputs and series
FILES = (LINES, ARCHIVE)
MISSING_SHOWN = 5  # titles of missing Records, of which a sweep may lack thousands


def load_sweep(path: str | Path) -> Sweep:
    """The sweep file, parsed and expanded; data sets of a user's folders are known by their manifests. Raises InputError."""
    from adaprob_ray.catalogue import REGISTRY, data_root, register_prepared_folders  # which loads torch

    register_prepared_folders(data_root())
    return Sweep.load(path, REGISTRY)


def first_of(titles: Sequence[str]) -> list[str]:
    """The first titles, and how many more there are.

    >>> first_of([str(number) for number in range(8)])
    ['0', '1', '2', '3', '4', 'and 3 more']
    """
    rest = len(titles) - MISSING_SHOWN
    return [*titles[:MISSING_SHOWN], *([f"and {rest} more"] if rest > 0 else [])]


def readable(location: str, sweep: Sweep | None = None) -> tuple[pd.DataFrame, dict[str, CorruptArtefact]]:
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
    return readable(location)[0]


def group_of(cell: Cell) -> dict[str, Any]:
    """What a table groups by, of an evaluate cell, as its Record has it."""
    settings = cell.settings
    return {
        "dataset": str(settings.dataset),
        "test_pool": settings.dataset.test_pool,
        "architecture": settings.architecture.title,
        "filters": settings.architecture.filters,
        "forget": str(cell.forget),
    }


def in_order_of_groups(records: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """Records with their groups in the order of the sweep file, of whatever revision they are; unknown groups last."""
    groups = [tuple(group_of(cell).values()) for cell in sweep.cells.values() if cell.stage == "evaluate"]
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    order = [places.get(tuple(row), len(places)) for row in records[list(GROUP)].itertuples(index=False)]
    return records.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)
