"""A sweep of twelve tiny cells on the digits, and what a store says of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.runtime import launch
from adaprob_ray.runtime.cell_runner import CATALOGUE
from adaprob_ray.store import Store
from adaprob_ray.store.records import read_records
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.sweep import Sweep

HERE = Path(__file__).resolve().parent
TINY: Mapping[str, Any] = {
    "name": "tiny",
    "grid": {
        "dataset": "digits",
        "architecture": {"name": "allcnn", "filters": 0.02},
        "forget": {"kind": "selective", "class": 3, "count": 25},
        "seed": [1],
    },
    "train": {"recipe": "large", "epochs": 1},
    "methods": {
        "finetune": {"epochs": 1},
        "adaprob": {"epochs": 1},
        "plain": {"method": "retrain", "variant": "plain"},
    },
    "metrics": ["errors", "kl_to_retrain", "seconds"],
}
CELLS = 12  # 4 trained, 2 unlearned, 6 evaluated


def with_bumped_metric(name: str) -> Registry:
    """The catalogue with the revision of one metric one higher."""
    metric = REGISTRY.metrics[name]
    return replace(REGISTRY, metrics={**REGISTRY.metrics, name: replace(metric, revision=metric.revision + 1)})


def cells_of(document: Mapping[str, Any] = TINY, registry: Registry = REGISTRY) -> Mapping[str, Cell]:
    return Sweep.parse(yaml.safe_dump(dict(document)), registry).cells


def run(
    store: Store,
    document: Mapping[str, Any] = TINY,
    registry: Registry = REGISTRY,
    *,
    worker_registry: str = CATALOGUE,
) -> tuple[Plan, list[str]]:
    """Run in this process; the plan as it ended and the lines about recomputed cells."""
    cells = cells_of(document, registry)
    result = launch.run(
        cells, store, sweep=document["name"], data_root=Path("nowhere"), executor="local", registry=worker_registry
    )
    return result.plan, list(result.recomputed)


def executed(plan: Plan) -> list[str]:
    """stage-label of each cell that ran, in order."""
    return [f"{plan.cells[key].stage}-{plan.cells[key].label}" for key, _ in plan.executed]


def key_of(cells: Mapping[str, Cell], stage: str, label: str) -> str:
    (key,) = (key for key, cell in cells.items() if (cell.stage, cell.label) == (stage, label))
    return key


def may_differ(column: str) -> bool:
    """Whether a column may differ between two executions of one cell on one machine; all others are equal bit for bit."""
    varying = ("commit", "started_at", "host", "exclusive")
    return column in varying or column.startswith("run_") or column.endswith("_seconds")


def same_columns(store: Store, document: Mapping[str, Any] = TINY, *, leave: str = "") -> list[dict[str, Any]]:
    """Every Record without the columns that may differ between two executions; `leave` names a label to leave out."""
    keys = [k for k, cell in cells_of(document).items() if cell.stage == "evaluate" and cell.label != leave]
    rows = read_records(store, keys)
    return [{name: value for name, value in row.items() if not may_differ(name)} for row in rows]


def commits(store: Store) -> dict[str, frozenset[int]]:
    return {key: log.commits for key, log in store.survey().items() if log.commits}


@dataclass
class Command:
    """`adaprob-ray run` on the tiny sweep, in a process group of its own."""

    folder: Path
    document: Mapping[str, Any] = None  # type: ignore[assignment]
    table: str = "stage_tables:TROUBLE"
    executor: str = "local"

    def __post_init__(self) -> None:
        self.document = self.document or TINY
        self.store, self.marks = self.folder / "store", self.folder / "marks"
        self.marks.mkdir(parents=True, exist_ok=True)
        self.sweep = self.folder / "sweep.yaml"
        self.sweep.write_text(yaml.safe_dump(dict(self.document)))

    def start(self, **environment: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, str(HERE / "driver.py"), self.table, "run", str(self.sweep)]
        return subprocess.Popen(
            [*command, "--store", str(self.store), "--executor", self.executor],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, "ADAPROB_TEST_MARKS": str(self.marks), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, **environment: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        process = self.start(**environment)
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err

    def opened(self) -> Store:
        return Store.open(self.store, create=False)


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    """Until the condition holds; fails when the process ends before, or after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
