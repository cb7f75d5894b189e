"""Idle share of the paper's grid on 8 simulated GPUs, by the speeds that results/ shows. Bar: under 5 %.

    python -m benchmarks.idle_share

The grid is that of notebook_large.yaml, the eight large-scale settings with all methods, and all large-scale sweeps at once
but for those of Figure 4, whose cells run alone. No GPU has been measured: hours are those of a processor, shares hold. Each
is simulated as its file says (`gpu: auto`, before any memory is known) and with four cells on a card, in the order of the
longest expected seconds, as `run` does, and in that of the stages' priorities. The model of a shared card is the worst case:
of k cells each gets the k-th part of its speed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from adaprob_ray.catalogue import REGISTRY
from adaprob_ray.runtime.expected_seconds import Measured, expected_seconds
from adaprob_ray.runtime.packing import GpuPacker
from adaprob_ray.runtime.simulated_cluster import SimulatedCluster
from adaprob_ray.runtime.simulation import Simulation
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.sweep import Sweep
from benchmarks import run_command

ROOT = Path(__file__).resolve().parents[1]
GRIDS = {
    "notebook_large": ("notebook_large",),
    "all large-scale sweeps": ("notebook_membership", "table2", "table1_large", "table3_large", "notebook_cifar100"),
}
CLUSTER = SimulatedCluster.parse("gpus=8,memory=80")


def on_quarters(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """The same cells, each of which asks for a quarter of a card."""
    return {
        key: replace(cell, resources=replace(cell.resources, gpu=0.25)) if cell.resources.gpu else cell
        for key, cell in cells.items()
    }


def main() -> None:
    lines = [
        line
        for path in sorted((ROOT / "results").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    measured = Measured([json.loads(line) for line in lines], {})
    for name, sweeps in GRIDS.items():
        cells = {
            key: cell
            for sweep in sweeps
            for key, cell in Sweep.load(ROOT / f"sweeps/{sweep}.yaml", REGISTRY).cells.items()
        }
        seconds = expected_seconds(cells, measured, REGISTRY, has_gpus=True).seconds
        for shares, chosen in (("gpu: auto", cells), ("quarters of a card", on_quarters(cells))):
            for order, weights in (("expected seconds", seconds), ("priorities", None)):
                run = Simulation(Plan(chosen, weights=weights), seconds, CLUSTER, GpuPacker()).run()
                hours = f"makespan {run.makespan / 3600:.1f} h, critical path {run.critical / 3600:.1f} h"
                print(f"{name}, {shares}, by {order}: idle {100 * run.idle_share:.1f} %, {hours}")


if __name__ == "__main__":
    run_command(main)
