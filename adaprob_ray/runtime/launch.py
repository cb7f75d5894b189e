"""`run`: plan against the store, check everything that can be checked before work starts, execute."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.runtime import local, ray_environment
from adaprob_ray.runtime.cell_runner import CATALOGUE, RunConfig
from adaprob_ray.runtime.expected_seconds import expected_seconds, read_measured
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.packing import GpuPacker
from adaprob_ray.runtime.planning import check_data, invalidate_incomplete, plan_against
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.runtime.tensorboard_mirror import Mirror
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
    root = Path.cwd() if is_remote(store) else Path(store.location)
    return root / "tensorboard" / sweep


def is_remote(store: Store) -> bool:
    """Whether the store is at a URI, so that TensorBoard cannot read there."""
    return "://" in store.location


def run(
    cells: Mapping[str, Cell],
    store: Store,
    *,
    sweep: str,
    data_root: Path,
    executor: str = "ray",
    address: str | None = None,
    registry: str = CATALOGUE,
    warn: Callable[[str], None] = lambda line: None,
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
        warn: gets one line for each warning about the cluster, before any cell starts.
        skip_failed: failure classes; cells whose last failure is of one of them are left alone.

    Returns:
        The plan as it ended. Cells that failed are in `plan.failures`; they raise nothing.

    Raises:
        InputError: before any work, when data are missing, resources cannot be had, or a check of the cluster fails.
        KeyboardInterrupt: if the run was interrupted; leases are released.
    """
    recomputed = tuple(invalidate_incomplete(cells, store))
    config = run_config(store, data_root, sweep, registry)
    loaded = config.load_registry()
    leases = Leases(store)
    # Cells that run at the same time start in the order of their longest remaining path.
    seconds = (
        expected_seconds(cells, read_measured(store, loaded), loaded, has_gpus=True).seconds
        if executor == "ray"
        else None
    )
    plan = plan_against(cells, store, leases, skip_failed=skip_failed, weights=seconds)
    check_data(plan, data_root, loaded)
    execute_plan(plan, config, store, leases, sweep=sweep, executor=executor, address=address, warn=warn)
    return RunResult(plan, tensorboard_dir_for(store, sweep), recomputed)


def run_config(store: Store, data_root: Path, sweep: str, registry: str) -> RunConfig:
    """What the executors get besides cells; arguments as of `run`."""
    remote = is_remote(store)
    return RunConfig.create(
        store,
        data_root.absolute(),
        None if remote else tensorboard_dir_for(store, sweep),
        registry,
        tensorboard_sweep=sweep if remote else None,
    )


def execute_plan(
    plan: Plan,
    config: RunConfig,
    store: Store,
    leases: Leases,
    *,
    sweep: str,
    executor: str,
    address: str | None,
    warn: Callable[[str], None],
) -> None:
    """Execute the cells of a plan until it is exhausted; arguments as of `run`."""
    if plan.exhausted():
        return
    with Mirror(store, sweep, tensorboard_dir_for(store, sweep)) if is_remote(store) else nullcontext():
        _execute(plan, config, store, leases, executor=executor, address=address, warn=warn)


def _execute(
    plan: Plan,
    config: RunConfig,
    store: Store,
    leases: Leases,
    *,
    executor: str,
    address: str | None,
    warn: Callable[[str], None],
) -> None:
    if executor == "local":
        with ProgressReporter(plan) as progress:
            local.run(plan, config, store, leases, progress)
    else:
        ray_environment.prepare(address)
        from adaprob_ray.runtime import ray_executor  # Ray reads the environment when it is imported

        packer = GpuPacker()
        packer.observe_store(plan.cells.values(), store)
        ray_executor.run(plan, config, leases, packer=packer, address=address, warn=warn)
