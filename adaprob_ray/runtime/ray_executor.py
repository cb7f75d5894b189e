"""The Ray executor: one Tuner, one searcher over the source of cells, reused actors."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from rich.console import Console

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.runtime.cluster_address import check_address
from adaprob_ray.runtime.cluster_capacity import NodeType, node_types
from adaprob_ray.runtime.doctor import check_before_run
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.machine_resources import NO_LIMITS, Limits, check_resources
from adaprob_ray.runtime.packing import Capacity, GpuPacker
from adaprob_ray.runtime.private_folder import private_folder
from adaprob_ray.runtime.process_limits import check_process_limits
from adaprob_ray.runtime.progress import ProgressReporter, announce
from adaprob_ray.runtime.ray_environment import OBJECT_STORE_BYTES
from adaprob_ray.runtime.scratch import scratch_folder
from adaprob_ray.runtime.searcher import CellSearcher
from adaprob_ray.runtime.storage_guard import StorageGuard
from adaprob_ray.runtime.tensorboard_driver import TensorBoardDriver
from adaprob_ray.runtime.trainable import CellTrainable
from adaprob_ray.user_code.source import shippable_files

# Tune hands these to its workers in a way that Ray logs in clear text. A node has credentials of its own: from its role, or
# from the environment in which Ray was started there.
SECRETS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
# Of one type, as many as a thousand pending cells may ask for; an autoscaler without a limit is treated alike.
MAX_NODES_OF_TYPE = 256


@contextmanager
def cluster(address: str | None, limits: Limits = NO_LIMITS) -> Iterator[None]:
    """Connect to the cluster at `address`, or start a private local Ray that ends with the block.

    Raises InputError if no cluster answers there, or a private Ray cannot start here.
    """
    with ExitStack() as stack:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is not None:
            check_address(address)
            if modules := shippable_files():  # of the user: nodes that share no folder with this one get them from Ray
                options["runtime_env"] = {"py_modules": modules}
        else:
            check_process_limits()
            options |= {
                "include_dashboard": False,
                "object_store_memory": OBJECT_STORE_BYTES,
                "num_cpus": limits.count_cpus(),
                "_temp_dir": str(stack.enter_context(private_folder())),
            }
            if limits.gpus is not None:
                options["num_gpus"] = limits.count_gpus()
        stack.callback(ray.shutdown)
        announce("starting Ray …" if address is None else f"connecting to Ray at {address} …")
        try:
            with _unchanged_sigterm():
                ray.init(address=address or "local", **options)
        except ConnectionError as error:
            if address is None:
                raise InputError(START_FAILED.format(one_line(error))) from error
            raise InputError(f"--address {address}: no Ray cluster answers there: {error}") from error
        except Exception as error:  # whatever a process of Ray that does not start leads to
            if address is not None:
                raise
            raise InputError(START_FAILED.format(one_line(error))) from error
        yield


@contextmanager
def _unchanged_sigterm() -> Iterator[None]:
    """Put back the handler of SIGTERM that ray.init replaces: Ray's ends the process without releasing the leases."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


START_FAILED = (
    "Ray cannot start on this machine: {}; raise its limits (ulimit -n, ulimit -u, /dev/shm) or use --executor local"
)


def one_line(error: BaseException) -> str:
    """An error as one line of at most 300 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def capacity_reader(types: Sequence[NodeType] = ()) -> Callable[[], Capacity]:
    """A function that tells what the cluster has now; `types`: what its autoscaler may start."""
    startable = [
        node_type.resources
        for node_type in types
        for _ in range(
            MAX_NODES_OF_TYPE if node_type.max_count is None else min(node_type.max_count, MAX_NODES_OF_TYPE)
        )
    ]
    return lambda: Capacity([node["Resources"] for node in ray.nodes() if node["Alive"]], startable)


def run(
    source: CellSource,
    run_config: RunConfig,
    leases: Leases,
    *,
    packer: GpuPacker,
    address: str | None,
    limits: Limits = NO_LIMITS,
    warn: Callable[[str], None] = lambda line: None,
    tensorboard: TensorBoardDriver | None = None,
) -> None:
    """Execute cells on a Ray cluster until the source is exhausted.

    Args:
        source: The cells.
        run_config: The same for every cell.
        leases: Which cells other runs hold. Those of this run are released when it ends.
        packer: Decides how much of a GPU a cell gets.
        address: The cluster to join; None starts a private one.
        limits: What a private one may use of this machine.
        warn: Gets one line for each warning about the cluster, before any cell starts.
        tensorboard: Knows the runs that a cell writes to; None for one of its own.

    Raises:
        InputError: If no cluster answers at the address, a check of its nodes fails, or a cell fits on none of them.
        StoreError: After the third storage failure in a row.
        KeyboardInterrupt: If the run was interrupted.
    """
    try:
        with cluster(address, limits):
            types = node_types() if address is not None else []  # a private one has no autoscaler
            if address is not None:
                check_before_run(source, run_config, types, warn)
            read_capacity = capacity_reader(types)
            check_resources(source, read_capacity())
            run_plan(source, run_config, leases, packer, read_capacity, tensorboard=tensorboard)
    finally:
        leases.release_run(source, run_config.run)
    if not source.exhausted():
        raise KeyboardInterrupt  # Tune catches the first interrupt itself, ends its trials and returns


def run_plan(
    source: CellSource,
    run_config: RunConfig,
    leases: Leases,
    packer: GpuPacker,
    read_capacity: Callable[[], Capacity],
    *,
    console: Console | None = None,
    tensorboard: TensorBoardDriver | None = None,
) -> None:
    """One Tuner over the cells. Tune's own state goes to a temporary folder: results are in the store."""
    guard = StorageGuard()
    with (
        scratch_folder("adaprob-tune-") as scratch,
        ProgressReporter(source, console=console) as progress,
    ):
        searcher = CellSearcher(
            source,
            run_config,
            leases,
            progress,
            capacity=read_capacity,
            packer=packer,
            tensorboard=tensorboard,
            guard=guard,
        )
        _tuner(searcher, scratch, guard).fit()
    guard.check(run_config.store)


class _StorageStopper(tune.Stopper):
    """Ends the trials that still run once the guard is tripped: what they compute could not be stored."""

    def __init__(self, guard: StorageGuard) -> None:
        self._guard = guard

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._guard.is_tripped


def _tuner(searcher: CellSearcher, scratch: Path, guard: StorageGuard) -> tune.Tuner:
    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([config["resources"]])

    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(SECRETS)
    # The searcher limits the trials itself, because the cluster grows and shrinks: Tune would ask for one number at the start.
    return tune.Tuner(
        tune.with_resources(CellTrainable, resources),
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="cells",
            storage_path=str(scratch),
            verbose=0,
            stop=_StorageStopper(guard),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
