"""`run`: plan against the store, check everything that can be checked before work starts, execute."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.runtime import local, ray_environment
from adaprob_ray.runtime.cell_runner import CATALOGUE, RunConfig
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.planning import check_data, invalidate_incomplete, plan_against
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan


@dataclass(frozen=True)
class RunResult:
    """The plan as it ended, where TensorBoard files are, and a line for each cell that had to be computed again."""

    plan: Plan
    tensorboard_dir: Path
    recomputed: tuple[str, ...]


def tensorboard_dir_for(store: Store, sweep: str) -> Path:
    """STORE/tensorboard/SWEEP, or a folder of the working directory where the store is at a URI."""
    root = Path.cwd() if "://" in store.location else Path(store.location)
    return root / "tensorboard" / sweep


def run(
    cells: Mapping[str, Cell],
    store: Store,
    *,
    sweep: str,
    data_root: Path,
    executor: str = "ray",
    address: str | None = None,
    registry: str = CATALOGUE,
    skip_failed: Collection[str] = (),
) -> RunResult:
    """Execute the cells that are not done.

    Args:
        cells: by key, parents before children.
        store: where their results are, and will be.
        sweep: name of the sweep, for the folder of TensorBoard files.
        data_root: folder of the data sets.
        executor: "ray", or "local" for this process, one cell at a time.
        address: of a Ray cluster; None starts a private local Ray.
        registry: where workers import the registry from, as module:name.
        skip_failed: failure classes; cells whose last failure is of one of them are left alone.

    Returns:
        The plan as it ended. Cells that failed are in `plan.failures`; they raise nothing.

    Raises:
        InputError: before any work, when data are missing or resources cannot be had.
        KeyboardInterrupt: if the run was interrupted; leases are released.
    """
    recomputed = tuple(invalidate_incomplete(cells, store))
    leases = Leases(store)
    plan = plan_against(cells, store, leases, skip_failed=skip_failed)
    config = RunConfig.create(store, data_root.absolute(), tensorboard_dir_for(store, sweep), registry)
    check_data(plan, data_root, config.load_registry())
    assert config.tensorboard_dir is not None
    result = RunResult(plan, config.tensorboard_dir, recomputed)
    if plan.exhausted():
        return result
    if executor == "local":
        with ProgressReporter(plan) as progress:
            local.run(plan, config, store, leases, progress)
    else:
        ray_environment.prepare(address)
        from adaprob_ray.runtime import ray_executor  # Ray reads the environment when it is imported

        ray_executor.run(plan, config, leases, address=address)
    return result
