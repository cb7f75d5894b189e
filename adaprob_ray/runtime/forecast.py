"""What a run of a plan would take on a given cluster: a simulation, and what its times stand on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adaprob_ray.costs import DEVICE, METHOD, NETWORK
from adaprob_ray.runtime.expected_seconds import (
    ASSUMED,
    ASSUMED_SECONDS,
    ASSUMED_SPEED,
    STAGE,
    ExpectedSeconds,
    expected_seconds,
    read_measured,
)
from adaprob_ray.runtime.packing import GpuPacker
from adaprob_ray.runtime.simulated_cluster import SimulatedCluster
from adaprob_ray.runtime.simulation import Schedule, Simulation
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.registry import Registry

SHARING = "cells on one card slow each other down: each of k cells runs at 1/k of its speed"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A simulated run of the cells that are not done. `hours_by_stage`: of cells alone on their card or cores."""

    cluster: SimulatedCluster
    schedule: Schedule
    expected: ExpectedSeconds
    hours_by_stage: dict[str, float]

    def document(self) -> dict[str, Any]:
        """The forecast as JSON."""
        return {
            "gpus": self.cluster.gpus,
            "cpus": self.cluster.cpus,
            "cells": len(self.schedule.executions),
            "makespan_hours": self.schedule.makespan / 3600,
            "critical_path_hours": self.schedule.critical / 3600,
            "busy_hours": sum(self.schedule.busy) / 3600,
            "idle_share": self.schedule.idle_share,
            "hours_by_stage": self.hours_by_stage,
            "speeds_of": [device._asdict() for device in self.expected.devices],
            "evidence": dict(self.expected.evidence),
        }

    def lines(self) -> list[str]:
        """The forecast for people, one line each."""
        schedule = self.schedule
        unit = "GPU" if self.cluster.gpus else "core"
        stages = ", ".join(f"{stage} {_hours(hours)}" for stage, hours in self.hours_by_stage.items())
        return [
            f"simulated on {self.cluster}: {len(schedule.executions)} cells",
            f"  makespan       {_hours(schedule.makespan / 3600)}",
            f"  critical path  {_hours(schedule.critical / 3600)}",
            f"  {unit}-hours{' ' * (9 - len(unit))}{_hours(sum(schedule.busy) / 3600)}",
            f"  idle share     {100 * schedule.idle_share:.1f} %",
            f"  by stage       {stages}",
            *(f"  {line}" for line in self._basis()),
        ]

    def _basis(self) -> list[str]:
        """What the times are based on, and how far they can be trusted."""
        devices, evidence = self.expected.devices, self.expected.evidence
        lines = [f"speeds of {device.words()}" for device in devices]
        if not devices and self.expected.seconds:
            lines.append(
                f"no cell in the store was timed: {ASSUMED_SPEED:.0e} multiply-adds per second are assumed: "
                "the idle share is reliable, the hours are not"
            )
        elif self.cluster.gpus and not any(device.is_gpu for device in devices):
            lines.append("no cell in the store ran on a GPU: the idle share is reliable, the hours are not")
        words = {
            METHOD: "from the same method and network",
            NETWORK: "from another method",
            DEVICE: "from another network",
            STAGE: "from the same stage",
            ASSUMED: f"assumed ({ASSUMED_SECONDS:g} s, as the work is not known in advance)",
        }
        times = ", ".join(f"{evidence[kind]} {text}" for kind, text in words.items() if evidence.get(kind))
        if times:
            lines.append(f"cell times: {times}")
        return [*lines, SHARING] if self.cluster.gpus else lines


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.1f} min" if hours * 60 >= 1 else f"{hours * 3600:.1f} s"


def forecast(plan: Plan, store: Store | None, cluster: SimulatedCluster, registry: Registry) -> Forecast:
    """Simulate a run of all cells of a plan that are not done, those that another run holds included.

    Args:
        plan: The cells, and which are done. It is not changed.
        store: Where earlier cells show how long they took, and how much memory; None if there is none.
        cluster: Where it runs.
        registry: The names that the cells use.

    Raises:
        InputError: if a cell does not fit on the cluster.
    """
    done = {key for key in plan.cells if plan.state(key) == "done"}
    open_cells: dict[str, Cell] = {key: cell for key, cell in plan.cells.items() if key not in done}
    measured = read_measured(store, registry)
    expected = expected_seconds(open_cells, measured, registry, has_gpus=cluster.gpus > 0)
    weights = expected.seconds | dict.fromkeys(done, 0.0)
    packer = GpuPacker()
    if store is not None:
        packer.observe_store(open_cells.values(), store, card_bytes=cluster.memory_bytes)
    schedule = Simulation(Plan(plan.cells, done=done, weights=weights), expected.seconds, cluster, packer).run()
    hours = dict.fromkeys((cell.stage for cell in open_cells.values()), 0.0)
    for key, cell in open_cells.items():
        hours[cell.stage] += expected.seconds[key] / 3600
    return Forecast(cluster=cluster, schedule=schedule, expected=expected, hours_by_stage=hours)
