"""The Records of one sweep: all of them, whole, or an error that names each one that is not there."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pandas as pd

from adaprob_ray.catalogue import VOCABULARY, find_folders
from adaprob_ray.errors import CorruptArtefact, InputError
from adaprob_ray.record import load_records
from adaprob_ray.store import Store
from adaprob_ray.sweep.spec import Sweep


def load_sweep(path: str | Path) -> Sweep:
    """The sweep file, parsed and expanded; data sets of a user's folders are known by their manifests. Raises InputError."""
    find_folders(Path(os.environ.get("ADAPROB_DATA", "./data")).expanduser())
    return Sweep.load(path, VOCABULARY)


def complete_records(location: str, sweep: Sweep, path: str) -> pd.DataFrame:
    """The Records of every evaluate cell of `sweep`, in the order of its file.

    Raises InputError if any is missing or corrupt: a line for each, then the command that makes them. A corrupt Record's
    attempt is revoked on reading, so that this command makes it again.
    """
    store = Store.open(location, create=False)
    records, corrupt = _readable(store, sweep)
    found = set(records["key"]) if len(records) else set()
    missing = [cell for key, cell in sweep.cells.items() if cell.stage == "evaluate" and key not in found]
    if missing:
        command = shlex.join(["adaprob-ray", "run", path, "--store", location])
        lines = [f"missing: {cell.title}{_why(corrupt.get(cell.key))}" for cell in missing]
        total = len(missing) + len(found)
        raise InputError(*lines, f"{len(missing)} of {total} Records are missing; make them with:  {command}")
    return records


def _readable(store: Store, sweep: Sweep) -> tuple[pd.DataFrame, dict[str, CorruptArtefact]]:
    """The Records that can be read, and the faults that were met, by key.

    Each fault has revoked an attempt, which is then read no more; several readers at once may revoke more than they report.
    """
    corrupt: dict[str, CorruptArtefact] = {}
    while True:
        try:
            return load_records(store, sweep), corrupt
        except CorruptArtefact as error:
            corrupt[error.key] = error


def _why(error: CorruptArtefact | None) -> str:
    return f" ({error.name} {error.reason}; attempt {error.number} is revoked)" if error else ""
