"""Cells on a Ray that believes in four GPUs: python fake_gpus.py FOLDER writes when each one ran, and on which card.

The module is also the registry that workers import; importing it makes a worker take the CPU for the card it was granted.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from tiny_sweep import TINY, cells_of

from adaprob_ray.catalogue import REGISTRY as CATALOGUE
from adaprob_ray.runtime import cell_runner, ray_environment
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.packing import GpuPacker
from adaprob_ray.runtime.planning import plan_against
from adaprob_ray.stages.base import StageContext, StageOutput
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell

CARDS = 4
WAIT_SECONDS = 200
GRANTED: dict[str, float] = {}


def cpu_device(gpu: float) -> torch.device:
    GRANTED["share"] = gpu
    return torch.device("cpu")


cell_runner.select_device = cpu_device


def note_card(cell: Cell, context: StageContext) -> StageOutput:
    """Waits until as many cells as the run asks for have started; notes the card, the share of it and the time."""
    import ray

    start = time.time()
    (card,) = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    folder = Path(context.store.location)
    (folder / f"started-{cell.key}").touch()
    together = int((folder / "together").read_text())
    while len(list(folder.glob("started-*"))) < together:
        assert time.time() - start < WAIT_SECONDS, "the other cells never started"
        time.sleep(0.05)
    time.sleep(0.05)
    line = {"key": cell.key, "card": card, "share": GRANTED["share"], "start": start, "end": time.time()}
    with open(folder.with_suffix(".jsonl"), "a") as file:
        file.write(json.dumps(line) + "\n")
    return StageOutput({"artefact": b""}, {})


REGISTRY = replace(CATALOGUE, stages={name: replace(stage, run=note_card) for name, stage in CATALOGUE.stages.items()})


def run(folder: Path, name: str, *, gpu: float, cells: int, together: int) -> None:
    """Run `cells` independent training cells, each of which asks for `gpu`; the first `together` wait for each other."""
    from adaprob_ray.runtime.ray_executor import capacity_reader, run_plan

    document: Mapping[str, Any] = {**TINY, "grid": {**TINY["grid"], "seed": list(range(1, cells // 4 + 1))}}
    trained = {
        key: replace(cell, resources=replace(cell.resources, gpu=gpu))
        for key, cell in cells_of(document).items()
        if cell.stage == "train"
    }
    assert len(trained) == cells
    store = Store.open(folder / name)
    (folder / name / "together").write_text(str(together))
    leases = Leases(store)
    plan = plan_against(trained, store, leases)
    config = RunConfig.create(store, folder, None, "fake_gpus:REGISTRY")
    run_plan(plan, config, leases, GpuPacker(), capacity_reader(), console=Console(file=io.StringIO()))
    assert plan.counts()["done"] == cells, (plan.counts(), plan.failures)


def main(folder: Path) -> None:
    ray_environment.prepare(None)
    import ray  # reads the environment when it is imported

    ray.init(
        address="local",
        num_cpus=16,
        num_gpus=CARDS,
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
        _system_config={
            "enable_worker_prestart": False
        },  # one idle process for each of sixteen CPUs that are not there
    )
    run(folder, "four", gpu=0.25, cells=4, together=4)
    run(folder, "thirds", gpu=1 / 3, cells=200, together=12)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
