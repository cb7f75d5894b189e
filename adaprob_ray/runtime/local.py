"""The local executor: cells in this process, one at a time, without Ray."""

from __future__ import annotations

import time

from adaprob_ray.runtime.cell_runner import RunConfig, execute
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.machine_resources import NO_LIMITS, Limits
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.runtime.storage_guard import StorageGuard
from adaprob_ray.runtime.tensorboard_driver import TensorBoardDriver
from adaprob_ray.store import Store

# Time between two looks at cells that another run holds, while nothing can start.
POLL_SECONDS = 1.0


def run(
    source: CellSource,
    run_config: RunConfig,
    store: Store,
    leases: Leases,
    progress: ProgressReporter,
    tensorboard: TensorBoardDriver | None = None,
    *,
    limits: Limits = NO_LIMITS,
) -> None:
    """Execute cells until the source is exhausted. A cell that asks for a share of a GPU gets the whole one.

    Raises StoreError after the third storage failure in a row.
    """
    guard = StorageGuard()
    has_gpus = limits.count_gpus() > 0
    while not source.exhausted():
        leases.refresh_leases(source)
        ready = source.ready()
        if not ready:
            progress.update()
            time.sleep(POLL_SECONDS)
            continue
        cell = ready[0]
        source.started(cell)
        progress.update()
        gpu = 1.0 if cell.resources.gpu and has_gpus else 0.0
        expired_attempt = leases.expired_attempts.get(cell.key)
        outcome = execute(
            cell,
            run_config,
            store,
            gpu=gpu,
            exclusive=not leases.share_this_host(source),
            expired_attempt=expired_attempt,
            runs=() if tensorboard is None else tensorboard.runs(cell),
        )
        if tensorboard is not None:
            tensorboard.observe(outcome)
        source.finished(cell, outcome)
        progress.update(cell)
        guard.observe(outcome)
        guard.check(store.location)
