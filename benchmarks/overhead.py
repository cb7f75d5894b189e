"""Cells per second of this package and of plain Ray Tune, side by side. Bar: at least 10 times as many for cells of 0.05 s.

    python -m benchmarks.overhead

Plain Ray Tune is what a first script does: a function for each cell, no reuse of actors, one Tuner after another for each
stage, with a file for each result. Both run the same cells, on the same Ray, with the same environment; cells only sleep.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.runtime import ray_environment
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.packing import GpuPacker
from adaprob_ray.runtime.planning import plan_against
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.sweep import Sweep
from benchmarks import run_command
from benchmarks.orchestration import SWEEP

CASES = (("short", 0.05, 200), ("long", 1.0, 20))  # name, seconds of a cell, cells


def sleeping(seconds: float) -> Registry:
    """The catalogue with stages that sleep and leave one small file."""

    def run(cell: Cell, context: StageContext) -> StageOutput:
        time.sleep(seconds)
        return StageOutput({"artefact": cell.key.encode()}, {"answer": 1.0})

    return replace(REGISTRY, stages={name: replace(stage, run=run) for name, stage in REGISTRY.stages.items()})


SHORT, LONG = (sleeping(seconds) for _, seconds, _ in CASES)


def run_package(cells: Mapping[str, Cell], folder: Path, name: str) -> None:
    """The cells with this package: dependencies, leases, commits and TensorBoard on."""
    from adaprob_ray.runtime.ray_executor import capacity_reader, run_plan

    store = Store.open(folder)
    leases = Leases(store)
    plan = plan_against(cells, store, leases)
    config = RunConfig.create(store, folder, folder / "tensorboard", f"benchmarks.overhead:{name.upper()}")
    run_plan(plan, config, leases, GpuPacker(), capacity_reader(), console=Console(file=io.StringIO()))
    assert plan.counts()["done"] == len(cells), plan.counts()


def run_tune(cells: Mapping[str, Cell], folder: Path, seconds: float) -> None:
    """The cells with plain Ray Tune."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        time.sleep(seconds)
        (folder / config["key"]).write_text(config["key"], encoding="utf-8")
        tune.report({"answer": 1.0})

    for stage in dict.fromkeys(cell.stage for cell in cells.values()):
        keys = [key for key, cell in cells.items() if cell.stage == stage]
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"key": tune.grid_search(keys)},
            run_config=tune.RunConfig(name=stage, storage_path=str(folder / "tune"), verbose=0),
        )
        assert tuner.fit().num_errors == 0


def main() -> None:
    ray_environment.prepare(None)
    from adaprob_ray.runtime.ray_executor import cluster

    cells = Sweep.parse(SWEEP, REGISTRY).cells
    with cluster(None), tempfile.TemporaryDirectory() as scratch:
        run_package(dict(islice(cells.items(), 20)), Path(scratch) / "warm", "short")  # imports and the first workers
        for name, seconds, count in CASES:
            some = dict(islice(cells.items(), count))  # parents come first, so that any beginning is complete
            rates = {}
            for system in ("adaprob_ray", "plain Ray Tune"):
                folder = Path(scratch) / f"{name}-{system.split()[0]}"
                folder.mkdir()
                start = time.perf_counter()
                if system == "adaprob_ray":
                    run_package(some, folder, name)
                else:
                    run_tune(some, folder, seconds)
                rates[system] = count / (time.perf_counter() - start)
            ratio = rates["adaprob_ray"] / rates["plain Ray Tune"]
            text = ", ".join(f"{system} {rate:.2f}" for system, rate in rates.items())
            print(f"{count} cells of {seconds:g} s, cells per second: {text}; ratio {ratio:.1f}", flush=True)


if __name__ == "__main__":
    run_command(main)
