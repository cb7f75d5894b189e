"""A plan on Ray Tune: one Tuner, one searcher over the plan, reused actors."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from rich.console import Console

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.runtime.searcher import CellSearcher
from adaprob_ray.runtime.trainable import CellTrainable
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan

OBJECT_STORE_BYTES = 100_000_000  # nothing large passes through it
PENDING_PER_SLOT = 2  # trials that wait for an actor, so that none is idle between two cells


@contextmanager
def cluster(address: str | None) -> Iterator[Mapping[str, float]]:
    """Resources of the cluster at `address`, or of a private local Ray that ends with this block."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    folder = tempfile.mkdtemp(prefix="adaprob-ray-") if address is None else None
    if address is None:
        quiet |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, "_temp_dir": folder}
    try:
        try:
            ray.init(address=address or "local", **quiet)
        except ConnectionError as error:
            raise InputError(f"--address {address}: no Ray cluster answers there: {error}") from error
        yield ray.cluster_resources()
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def nodes() -> list[Mapping[str, float]]:
    """Resources of each node that is alive: a cell runs on one node, whatever the cluster has in all."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_resources(plan: Plan, have: Mapping[str, float], each: list[Mapping[str, float]]) -> None:
    """Raise InputError for an unfinished cell that fits on no node: Ray would wait for it for ever."""
    faults = []
    for key, cell in plan.cells.items():
        asked = _bundle(cell, have)
        fits = any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in each)
        if plan.state(key) != "done" and not fits:
            largest = {name: max((node.get(name, 0) for node in each), default=0) for name in asked}
            words = ", ".join(
                f"{name.lower()} {asked[name]:g} (the largest node has {largest[name]:g})" for name in asked
            )
            faults.append(f"resources: {cell.stage}: asks for {words}")
    if faults:
        raise InputError(*dict.fromkeys(faults))


def _bundle(cell: Cell, have: Mapping[str, float]) -> dict[str, float]:
    """CPU and GPU of one cell. Without any GPU in the cluster the same cells run on CPU cores."""
    gpu = cell.resources.gpu if have.get("GPU") else 0.0
    return {"CPU": float(cell.resources.cpu), **({"GPU": gpu} if gpu else {})}


def slots(plan: Plan, have: Mapping[str, float]) -> int:
    """How many of the smallest cells fit at once."""
    fits = [min(have.get(n, 0) / a for n, a in _bundle(c, have).items()) for c in plan.cells.values()]
    return max(int(max(fits, default=1)), 1)


def run(plan: Plan, config: RunConfig, leases: Leases, *, address: str | None) -> None:
    """Start or join a cluster, check that every cell fits, and work the plan off.

    Raises KeyboardInterrupt if it was interrupted; the leases of cells that were running are released then.
    """
    try:
        with cluster(address) as have:
            check_resources(plan, have, nodes())
            run_plan(plan, config, leases, have)
    finally:
        leases.release_run(plan, config.run)
    if not plan.exhausted():
        raise KeyboardInterrupt  # Tune takes the first interrupt itself, ends its trials and returns


def run_plan(
    plan: Plan, config: RunConfig, leases: Leases, have: Mapping[str, float], *, console: Console | None = None
) -> None:
    """One Tuner over the plan. Tune's own state goes to a folder that is thrown away: the store is the truth."""
    at_once = slots(plan, have)
    with (
        tempfile.TemporaryDirectory(prefix="adaprob-tune-") as scratch,
        ProgressReporter(plan, slots=at_once, console=console) as progress,
    ):
        searcher = CellSearcher(plan, config, leases, progress, slots=at_once, gpus=have.get("GPU", 0))
        _tuner(searcher, have, at_once, Path(scratch)).fit()


def _tuner(searcher: CellSearcher, have: Mapping[str, float], at_once: int, scratch: Path) -> tune.Tuner:
    def resources(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return tune.PlacementGroupFactory([_bundle(config["cell"], have)])

    return tune.Tuner(
        tune.with_resources(CellTrainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=at_once * PENDING_PER_SLOT,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="cells",
            storage_path=str(scratch),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
