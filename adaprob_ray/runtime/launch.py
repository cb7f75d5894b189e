"""`run`: plan against the store, check everything that can be checked before work starts, execute, say what happened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adaprob_ray.catalogue import DATASETS
from adaprob_ray.runtime import environment, local
from adaprob_ray.runtime.execute import STAGES, Job
from adaprob_ray.runtime.progress import Progress
from adaprob_ray.runtime.source import Leases, boards_folder, check_data, make_again, plan_against
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
    remade = make_again(cells, store)
    leases = Leases(store)
    plan = plan_against(cells, store, leases)
    check_data(cells, plan, data_root, DATASETS)
    boards = boards_folder(store, sweep, Path.cwd())
    job = Job.start(store, data_root.absolute(), boards, stages)
    if plan.exhausted():
        return plan, boards, remade
    if executor == "local":
        with Progress(plan) as progress:
            local.run(plan, job, store, leases, progress)
    else:
        environment.prepare(address)
        from adaprob_ray.runtime import ray_executor  # Ray reads the environment when it is imported

        ray_executor.run(plan, job, leases, address=address)
    return plan, boards, remade
