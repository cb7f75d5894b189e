"""The Ray executor: one Tuner, one searcher over the source of cells, reused actors."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from rich.console import Console

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.runtime.cluster_address import check_address
from adaprob_ray.runtime.doctor import check_before_run
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.runtime.searcher import CellSearcher
from adaprob_ray.runtime.trainable import CellTrainable
from adaprob_ray.sweep.cell import Cell

# Ray accepts little less than this; nothing large passes through its object store.
OBJECT_STORE_BYTES = 100_000_000
# One trial runs and one is pending, so that no actor is idle between two cells.
TRIALS_PER_SLOT = 2


@contextmanager
def cluster(address: str | None) -> Iterator[Mapping[str, float]]:
    """Connect to the cluster at `address`, or start a private local Ray that ends with the block. Yields its resources.

    Raises InputError if no cluster answers there.
    """
    if address is not None:
        check_address(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    folder = tempfile.mkdtemp(prefix="adaprob-ray-") if address is None else None
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": folder}
    try:
        try:
            ray.init(address=address or "local", **options)
        except ConnectionError as error:
            raise InputError(f"--address {address}: no Ray cluster answers there: {error}") from error
        yield ray.cluster_resources()
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def node_resources() -> list[Mapping[str, float]]:
    """Resources of each node that is alive: a cell runs on one node, whatever the cluster has in total."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_resources(source: CellSource, total: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> None:
    """Raise InputError for an unfinished cell that fits on no node: Ray would wait for ever.

    Args:
        source: The cells.
        total: Resources of the cluster.
        nodes: Resources of each node.
    """
    faults = []
    for key, cell in source.cells.items():
        request = _request(cell, total)
        fits = any(all(node.get(name, 0) >= amount for name, amount in request.items()) for node in nodes)
        if source.state(key) != "done" and not fits:
            largest = {name: max((node.get(name, 0) for node in nodes), default=0) for name in request}
            amounts = ", ".join(
                f"{name.lower()} {amount:g} (the largest node has {largest[name]:g})"
                for name, amount in request.items()
            )
            faults.append(f"resources: {cell.stage}: must fit on one node, got {amounts}")
    if faults:
        raise InputError(*dict.fromkeys(faults))


def _request(cell: Cell, total: Mapping[str, float]) -> dict[str, float]:
    """CPU and GPU of one cell. In a cluster without GPUs the same cells run on CPU cores."""
    gpu = cell.resources.gpu if total.get("GPU") else 0.0
    return {"CPU": float(cell.resources.cpu), **({"GPU": gpu} if gpu else {})}


def slot_count(source: CellSource, total: Mapping[str, float]) -> int:
    """How many of the smallest cells fit in the cluster at once."""
    requests = [_request(cell, total) for cell in source.cells.values()]
    fits = [min(total.get(name, 0) / amount for name, amount in request.items()) for request in requests]
    return max(int(max(fits, default=1)), 1)


def run(
    source: CellSource,
    run_config: RunConfig,
    leases: Leases,
    *,
    address: str | None,
    warn: Callable[[str], None] = lambda line: None,
) -> None:
    """Execute cells on a Ray cluster until the source is exhausted.

    Args:
        source: The cells.
        run_config: The same for every cell.
        leases: Which cells other runs hold. Those of this run are released when it ends.
        address: The cluster to join; None starts a private one.
        warn: Gets one line for each warning about the cluster, before any cell starts.

    Raises:
        InputError: If no cluster answers at the address, a check of its nodes fails, or a cell fits on none of them.
        KeyboardInterrupt: If the run was interrupted.
    """
    try:
        with cluster(address) as total:
            if address is not None:
                check_before_run(source, run_config, warn)
            check_resources(source, total, node_resources())
            run_plan(source, run_config, leases, total)
    finally:
        leases.release_run(source, run_config.run)
    if not source.exhausted():
        raise KeyboardInterrupt  # Tune catches the first interrupt itself, ends its trials and returns


def run_plan(
    source: CellSource,
    run_config: RunConfig,
    leases: Leases,
    total: Mapping[str, float],
    *,
    console: Console | None = None,
) -> None:
    """One Tuner over the cells. Tune's own state goes to a temporary folder: results are in the store."""
    slots = slot_count(source, total)
    with (
        tempfile.TemporaryDirectory(prefix="adaprob-tune-") as scratch,
        ProgressReporter(source, slots=slots, console=console) as progress,
    ):
        searcher = CellSearcher(source, run_config, leases, progress, slots=slots, gpus=total.get("GPU", 0))
        _tuner(searcher, total, slots, Path(scratch)).fit()


def _tuner(searcher: CellSearcher, total: Mapping[str, float], slots: int, scratch: Path) -> tune.Tuner:
    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([_request(config["cell"], total)])

    return tune.Tuner(
        tune.with_resources(CellTrainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=slots * TRIALS_PER_SLOT,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="cells",
            storage_path=str(scratch),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
