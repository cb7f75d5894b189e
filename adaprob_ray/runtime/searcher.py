"""Dependency order inside one Tuner: a searcher that suggests ready cells, and None while there are none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from adaprob_ray.errors import Failure
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.packing import MAX_TRIALS, TRIALS_PER_SLOT, Capacity, GpuPacker, cell_kinds
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.runtime.storage_guard import StorageGuard
from adaprob_ray.runtime.tensorboard_driver import TensorBoardDriver
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome

# Time between two looks at cells that another run holds, and at the nodes of the cluster.
REFRESH_SECONDS = 1.0
WORKER_DIED = Failure(failure_class="preempted", message="the worker process that ran it died")


class CellSearcher(Searcher):
    """Suggests one cell per trial. An exclusive cell waits until nothing runs, and while it runs nothing else starts.

    Args:
        source: Where cells come from.
        run_config: Passed on to each trial.
        leases: Which cells other runs hold.
        progress: Updated at every call.
        capacity: What the cluster has now: called every second, because nodes join and leave.
        packer: Decides how much of a GPU a cell gets.
        tensorboard: Knows the runs that a cell writes to; None for one of its own.
        guard: Ends the run when the storage fails again and again.
    """

    def __init__(
        self,
        source: CellSource,
        run_config: RunConfig,
        leases: Leases,
        progress: ProgressReporter,
        *,
        capacity: Callable[[], Capacity],
        packer: GpuPacker,
        tensorboard: TensorBoardDriver | None = None,
        guard: StorageGuard | None = None,
    ) -> None:
        super().__init__()
        self._guard = guard or StorageGuard()
        self._source, self._run_config, self._leases, self._progress = source, run_config, leases, progress
        self._read_capacity, self._packer, self._tensorboard = capacity, packer, tensorboard
        self._running: dict[str, Cell] = {}
        self._kinds = cell_kinds(source.cells.values())
        self._refresh()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that never happens: the next run plans again

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: see __getstate__."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a run is never restored: run the same command again")

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if time.monotonic() - self._last_refresh >= REFRESH_SECONDS:
            self._refresh()
        self._progress.update()
        if self._guard.is_tripped or self._source.exhausted():
            return str(Searcher.FINISHED)
        ready = self._source.ready() if len(self._running) < self._max_trials else ()
        if not ready or not self._may_start(ready[0]):
            return None
        cell = ready[0]
        self._source.started(cell)
        self._running[trial_id] = cell
        share = self._packer.grant(cell, waiting=self._waiting_for_gpus(ready)) if self._capacity.has_gpus else 0.0
        return {
            "cell": cell,
            "run_config": self._run_config,
            "resources": self._capacity.request(cell, share),
            "gpu": share,
            "exclusive": self._slots == 1 or cell.resources.exclusive,
            "expired_attempt": self._leases.expired_attempts.get(cell.key),
            "runs": () if self._tensorboard is None else self._tensorboard.runs(cell),
        }

    def _refresh(self) -> None:
        """Look at the cluster, and at the cells that other runs hold."""
        self._last_refresh = time.monotonic()
        self._capacity = self._read_capacity()
        self._packer.cards = self._capacity.cards
        requests = [self._capacity.request(cell, self._packer.share(cell)) for cell in self._kinds]
        self._slots = max([1, *(self._capacity.slots(request) for request in requests)])
        later = max([self._slots, *(self._capacity.slots(request, later=True) for request in requests)])
        self._max_trials = min(later * TRIALS_PER_SLOT, MAX_TRIALS)
        self._progress.slots = self._slots
        self._leases.refresh_leases(self._source)

    def _may_start(self, cell: Cell) -> bool:
        """Exclusive cells are last in `ready`: they start when nothing else runs or can start."""
        if any(running.resources.exclusive for running in self._running.values()):
            return False
        return not (cell.resources.exclusive and self._running)

    def _waiting_for_gpus(self, ready: Sequence[Cell]) -> int:
        """How many of the ready cells, the first one included, wait for a GPU alone."""
        free_cpus = self._capacity.slots({"CPU": ready[0].resources.cpu}) - len(self._running) + 1
        return self._packer.count_waiting(ready, free_cpus)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        cell = self._running.get(trial_id)
        if cell is None:
            return
        outcome = None if error else (result or {}).get("outcome")
        if outcome is None:
            outcome = Outcome("failed", failure=WORKER_DIED)
            self._leases.fail_attempts(cell, self._run_config.run, WORKER_DIED)
        if self._tensorboard is not None:
            self._tensorboard.observe(outcome)
        if outcome.peak_bytes and outcome.card_bytes:
            self._packer.observe(cell.identity, peak_bytes=outcome.peak_bytes, card_bytes=outcome.card_bytes)
        if outcome.failure is not None and outcome.failure.failure_class == "out_of_memory":
            self._packer.out_of_memory(cell)
        self._packer.release(cell)
        del self._running[trial_id]
        self._source.finished(cell, outcome)
        self._guard.observe(outcome)
        self._progress.update(cell)
