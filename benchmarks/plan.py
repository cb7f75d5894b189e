"""Seconds and memory to plan sweeps of 10,000 and 100,000 cells, each in a process of its own that has imported the catalogue.

    python -m benchmarks.plan [CELLS ...]

A plan without a store, one against a store that holds all the cells (their commits are empty), and a simulated run of all of
them on 8 GPUs. Bars: 10,000 cells against the full store in under 5 s; 100,000 cells, each of the three in under 60 s, and all
of them in under 2 GiB. Also says whether Ray was imported on the way.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import resource
import sys
import tempfile
import time

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.runtime.forecast import forecast
from adaprob_ray.runtime.planning import plan_against
from adaprob_ray.runtime.simulated_cluster import SimulatedCluster
from adaprob_ray.store import Store
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.sweep import Sweep
from benchmarks import run_command

COUNTS = (10_000, 100_000)
CELLS_PER_SEED = 94
SWEEP = """
name: many
grid:
  dataset: digits
  architecture: {name: allcnn, filters: 0.1}
  forget: [{kind: class, class: 1}, {kind: class, class: 2}, {kind: selective, class: 3, count: 20}]
  seed: [SEEDS]
methods:
  finetune: {lr: [0.001, 0.002, 0.005, 0.01, 0.02]}
  adaprob: {lam: [0.5, 1, 2, 4], lr: [0.001, 0.01]}
metrics: [errors]
resources: {train: {gpu: 0.5}, unlearn: {gpu: 0.25}}
"""


def plan(text: str, store: Store | None) -> Plan:
    """All that the command does, but for printing."""
    plan = plan_against(Sweep.parse(text, REGISTRY).cells, store)
    sum(REGISTRY.stages[cell.stage].artefact_bytes(cell, REGISTRY) for cell in plan.cells.values())
    return plan


def fill(text: str, location: str) -> None:
    """A store in which every cell is done."""
    store = Store.open(location)
    for key, cell in Sweep.parse(text, REGISTRY).cells.items():
        attempt = store.begin(key, cell.identity, owner="benchmark", run="benchmark")
        assert attempt is not None
        attempt.commit({})


def measure(text: str, location: str) -> None:
    """Print seconds of each plan, and the most memory that the process has held."""
    times = [time.perf_counter()]
    cells = len(plan(text, None).cells)
    times.append(time.perf_counter())
    full = plan(text, Store.open(location, create=False))
    times.append(time.perf_counter())
    assert full.counts()["done"] == cells
    run = forecast(plan(text, None), None, SimulatedCluster.parse("gpus=8,memory=80"), REGISTRY)
    times.append(time.perf_counter())
    assert len(run.schedule.executions) == cells
    empty, against, simulated = (later - earlier for earlier, later in itertools.pairwise(times))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{cells} cells: planned without a store in {empty:.1f} s, against a full one in {against:.1f} s, "
        f"with a simulated run in {simulated:.1f} s; {peak / 2**30:.2f} GiB; ray imported: {'ray' in sys.modules}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("cells", type=int, nargs="*", default=COUNTS, help="how many cells, one plan for each number")
    counts = parser.parse_args().cells
    spawn = multiprocessing.get_context("spawn")  # a forked process would begin with the memory of this one
    for count in counts:
        seeds = ", ".join(str(seed) for seed in range(1, -(-count // CELLS_PER_SEED) + 1))
        text = SWEEP.replace("SEEDS", seeds)
        with tempfile.TemporaryDirectory() as folder:
            for step in (fill, measure):
                process = spawn.Process(target=step, args=(text, folder))
                process.start()
                process.join()
                assert process.exitcode == 0


if __name__ == "__main__":
    run_command(main)
