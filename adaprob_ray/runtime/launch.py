"""`run`: plan against the store, check everything that can be checked before work starts, execute, say what happened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adaprob_ray.catalogue import DATASETS
from adaprob_ray.runtime import local, ray_environment
from adaprob_ray.runtime.cell_runner import STAGES, RunConfig
from adaprob_ray.runtime.planning import Leases, check_data, invalidate_incomplete, plan_against, tensorboard_dir_for
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan


def run(
    cells: Mapping[str, Cell],
    store: Store,
    *,
    sweep: str,
    data_root: Path,
    executor: str = "ray",
    address: str | None = None,
    stages: str = STAGES,
) -> tuple[Plan, Path, list[str]]:
    """Execute what is not done. Returns the plan as it ended, the TensorBoard folder, and a line for each cell made again.

    Raises InputError before any work when data are absent or resources cannot be had.
    """
    requeued = invalidate_incomplete(cells, store)
    leases = Leases(store)
    plan = plan_against(cells, store, leases)
    check_data(cells, plan, data_root, DATASETS)
    tensorboard_dir = tensorboard_dir_for(store, sweep, Path.cwd())
    job = RunConfig.start(store, data_root.absolute(), tensorboard_dir, stages)
    if plan.exhausted():
        return plan, tensorboard_dir, requeued
    if executor == "local":
        with ProgressReporter(plan) as progress:
            local.run(plan, job, store, leases, progress)
    else:
        ray_environment.prepare(address)
        from adaprob_ray.runtime import ray_executor  # Ray reads the environment when it is imported

        ray_executor.run(plan, job, leases, address=address)
    return plan, tensorboard_dir, requeued
