"""The sweep that the faults meet: real cells on scikit-learn's digits, 12 for each seed, 0.2 to 0.5 s each."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.errors import CorruptArtefact, NotDone
from adaprob_ray.runtime import launch
from adaprob_ray.store import Store
from adaprob_ray.store.records import read_records
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.sweep import Sweep

_SWEEP: dict[str, Any] = {
    "name": "faults",
    "grid": {
        "dataset": "digits",
        "architecture": {"name": "allcnn", "filters": 0.02},
        "forget": {"kind": "selective", "class": 3, "count": 25},
        "seed": [1, 2, 3],
    },
    "train": {"recipe": "large", "epochs": 1},
    "methods": {
        "finetune": {"epochs": 1},
        "adaprob": {"epochs": 1},
        "plain": {"method": "retrain", "variant": "plain"},
    },
    "metrics": ["errors", "kl_to_retrain", "seconds"],
}
# A learning rate at which the loss is NaN after a few batches.
NAN_LABEL: Mapping[str, Any] = {"method": "scrub", "epochs": 1, "forget_epochs": 1, "lr": 1e18}


def sweep_text(*, seeds: int, nan: bool = False) -> str:
    """The sweep file with that many seeds; `nan` adds a label whose training diverges."""
    document = copy.deepcopy(_SWEEP)
    document["grid"]["seed"] = list(range(1, seeds + 1))
    if nan:
        document["methods"]["exploding"] = dict(NAN_LABEL)
    return yaml.safe_dump(document)


def sweep_cells(text: str) -> Mapping[str, Cell]:
    """The cells of a sweep file by key."""
    return Sweep.parse(text, REGISTRY).cells


def undisturbed_records(folder: Path, *, seeds: int) -> dict[str, dict[str, Any]]:
    """The Records of the sweep by key, from a run in this process that nothing disturbs."""
    cells = sweep_cells(sweep_text(seeds=seeds))
    store = Store.open(folder)
    launch.run(cells, store, sweep="faults", data_root=Path("nowhere"), executor="local")
    return comparable_records(store, cells)


def comparable_records(store: Store, cells: Mapping[str, Cell]) -> dict[str, dict[str, Any]]:
    """The Record of each evaluate cell that is done and whole, without the columns that may differ between two executions."""
    records = {}
    for key, cell in cells.items():
        if cell.stage == "evaluate":
            try:
                (row,) = read_records(store, [key])
            except (NotDone, CorruptArtefact):
                continue
            records[key] = {name: value for name, value in row.items() if not _may_differ(name)}
    return records


def _may_differ(column: str) -> bool:
    varying = ("commit", "started_at", "host", "exclusive")
    return column in varying or column.startswith("run_") or column.endswith("_seconds")
