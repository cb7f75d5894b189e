"""`run`: plan against the store, check everything that can be checked before work starts, execute."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.runtime import local, ray_environment
from adaprob_ray.runtime.cell_runner import CATALOGUE, RunConfig
from adaprob_ray.runtime.expected_seconds import expected_seconds, read_measured
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.machine_resources import NO_LIMITS, Limits, check_limits
from adaprob_ray.runtime.packing import GpuPacker
from adaprob_ray.runtime.planning import check_data, invalidate_incomplete, plan_against
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.runtime.tensorboard_driver import DEFAULT_OPTIONS, TensorBoardDriver, TensorBoardOptions
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan


@dataclass(frozen=True)
class RunResult:
    """The plan as it ended, where TensorBoard files are, and a line for each cell that had to be computed again."""

    plan: Plan
    tensorboard_dir: Path
    recomputed: tuple[str, ...]


def run(
    cells: Mapping[str, Cell],
    store: Store,
    *,
    sweep: str,
    data_root: Path,
    executor: str = "ray",
    address: str | None = None,
    limits: Limits = NO_LIMITS,
    registry: str = CATALOGUE,
    warn: Callable[[str], None] = lambda line: None,
    skip_failed: Collection[str] = (),
    sweep_cells: Mapping[str, Cell] | None = None,
    tensorboard: TensorBoardOptions = DEFAULT_OPTIONS,
) -> RunResult:
    """Execute the cells that are not done.

    Args:
        cells: by key, parents before children.
        store: where their results are, and will be.
        sweep: name of the sweep, for the folder of TensorBoard files.
        data_root: folder of the data sets.
        executor: "ray", or "local" for this process, one cell at a time.
        address: of a Ray cluster; None starts a private local Ray.
        limits: what a private Ray or this process may use of this machine.
        registry: where workers import the registry from, as module:name.
        warn: gets one line for each warning about the cluster, before any cell starts.
        skip_failed: failure classes; cells whose last failure is of one of them are left alone.
        sweep_cells: all cells of the sweep, by key, where `cells` are some of them; TensorBoard shows all.
        tensorboard: what is written for TensorBoard.

    Returns:
        The plan as it ended. Cells that failed are in `plan.failures`; they raise nothing.

    Raises:
        InputError: before any work, when data are missing, resources cannot be had, or a check of the cluster fails.
        KeyboardInterrupt: if the run was interrupted; leases are released.
    """
    recomputed = tuple(invalidate_incomplete(cells, store))
    driver = TensorBoardDriver(store, sweep, cells if sweep_cells is None else sweep_cells, tensorboard, warn)
    config = RunConfig.create(store, data_root.absolute(), registry=registry, **driver.run_config())
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
    execute_plan(plan, config, store, leases, driver, executor=executor, address=address, limits=limits, warn=warn)
    return RunResult(plan, driver.folder, recomputed)


def execute_plan(
    plan: Plan,
    config: RunConfig,
    store: Store,
    leases: Leases,
    tensorboard: TensorBoardDriver,
    *,
    executor: str,
    address: str | None,
    limits: Limits,
    warn: Callable[[str], None],
) -> None:
    """Execute the cells of a plan until it is exhausted; arguments as of `run`."""
    with tensorboard:
        if plan.exhausted():
            return
        if executor == "local":
            check_limits(plan, limits, None)
            with ProgressReporter(plan) as progress:
                local.run(plan, config, store, leases, progress, tensorboard, limits=limits)
            return
        ray_environment.prepare(address)
        try:
            from adaprob_ray.runtime import ray_executor  # Ray reads the environment when it is imported
        except (ImportError, AttributeError, ValueError) as error:  # of packages whose binaries do not fit together
            message = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError(
                f"installation: Ray Tune cannot be imported ({message}); numpy, pyarrow and pandas must fit together: "
                "reinstall adaprob-ray into a new environment, or use --executor local"
            ) from error

        packer = GpuPacker()
        packer.observe_store(plan.cells.values(), store)
        ray_executor.run(
            plan, config, leases, packer=packer, address=address, limits=limits, warn=warn, tensorboard=tensorboard
        )
