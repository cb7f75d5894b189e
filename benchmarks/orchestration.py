"""Seconds of orchestration for each cell on Ray: leases, commits and TensorBoard on, work none. Bar: at most 0.15 s.

    python -m benchmarks.orchestration

300 trivial cells with the dependencies of a real sweep; starting and stopping Ray is measured apart.
"""

from __future__ import annotations

import io
import itertools
import tempfile
import time
from dataclasses import replace
from pathlib import Path

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
from adaprob_ray.sweep.sweep import Sweep
from benchmarks import run_command

SWEEP = """
name: trivial
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.1}
  forget: {kind: class, class: 1}
  seed: [SEEDS]
methods: {finetune: {}, scrub: {}, adaprob: {}}
metrics: [errors]
expect: {cells: 300}
""".replace("SEEDS", ", ".join(str(seed) for seed in range(1, 26)))


def trivial(cell: Cell, context: StageContext) -> StageOutput:
    """Leaves one small file and reports one scalar, like a stage that took no time."""
    context.record_series(1, loss=0.5)
    return StageOutput({"artefact": cell.key.encode()}, {"answer": 1.0})


TRIVIAL = replace(REGISTRY, stages={name: replace(stage, run=trivial) for name, stage in REGISTRY.stages.items()})


def main() -> None:
    ray_environment.prepare(None)
    from adaprob_ray.runtime.ray_executor import capacity_reader, cluster, run_plan

    cells = Sweep.parse(SWEEP, REGISTRY).cells
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(folder)
        leases = Leases(store)
        plan = plan_against(cells, store, leases)
        config = RunConfig.create(store, Path(folder), Path(folder) / "tensorboard", "benchmarks.orchestration:TRIVIAL")
        times = [time.perf_counter()]
        with cluster(None):
            times.append(time.perf_counter())
            run_plan(plan, config, leases, GpuPacker(), capacity_reader(), console=Console(file=io.StringIO()))
            times.append(time.perf_counter())
        times.append(time.perf_counter())
        assert plan.counts()["done"] == len(cells), plan.counts()
    start, work, stop = (later - earlier for earlier, later in itertools.pairwise(times))
    print(f"start of Ray {start:.1f} s, stop {stop:.1f} s; {len(cells)} cells in {work:.1f} s")
    print(f"orchestration: {work / len(cells):.3f} s a cell (bar: 0.15 s)")


if __name__ == "__main__":
    run_command(main)
