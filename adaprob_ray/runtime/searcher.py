"""Dependency order inside one Tuner: a searcher that suggests ready cells, and None while there are none."""

from __future__ import annotations

import time
from typing import Any

from ray.tune.search import Searcher

from adaprob_ray.errors import Failure
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome

# Time between two looks at cells that another run holds.
REFRESH_SECONDS = 1.0
WORKER_DIED = Failure(failure_class="preempted", message="the worker process that ran it died")


class CellSearcher(Searcher):
    """Suggests one cell per trial. An exclusive cell waits until nothing runs, and while it runs nothing else starts.

    Args:
        source: Where cells come from.
        run_config: Passed on to each trial.
        leases: Which cells other runs hold.
        progress: Updated at every call.
        slots: How many trials can run at once; with one, every cell is exclusive.
        gpus: GPUs in the cluster; without any, cells run on CPUs.
    """

    def __init__(
        self,
        source: CellSource,
        run_config: RunConfig,
        leases: Leases,
        progress: ProgressReporter,
        *,
        slots: int,
        gpus: float,
    ) -> None:
        super().__init__()
        self._source, self._run_config, self._leases, self._progress = source, run_config, leases, progress
        self._slots, self._gpus = slots, gpus
        self._running: dict[str, Cell] = {}
        self._last_refresh = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that never happens: the next run plans again

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: see __getstate__."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a run is never restored: run the same command again")

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        now = time.monotonic()
        if now - self._last_refresh >= REFRESH_SECONDS:
            self._last_refresh = now
            self._leases.refresh_leases(self._source)
        self._progress.update()
        if self._source.exhausted():
            return str(Searcher.FINISHED)
        cell = self._next_cell()
        if cell is None:
            return None
        self._source.started(cell)
        self._running[trial_id] = cell
        return {
            "cell": cell,
            "run_config": self._run_config,
            "gpu": cell.resources.gpu if self._gpus else 0,
            "exclusive": self._slots == 1 or cell.resources.exclusive,
            "expired_attempt": self._leases.expired_attempts.get(cell.key),
        }

    def _next_cell(self) -> Cell | None:
        """The first ready cell, if it may start now. Exclusive cells are last: they start when nothing else can."""
        if any(cell.resources.exclusive for cell in self._running.values()):
            return None
        cell = next(iter(self._source.ready()), None)
        return None if cell is not None and cell.resources.exclusive and self._running else cell

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        cell = self._running.pop(trial_id, None)
        if cell is None:
            return
        outcome = None if error else (result or {}).get("outcome")
        if outcome is None:
            self._leases.fail_attempts(cell, self._run_config.run, WORKER_DIED)
        self._source.finished(cell, Outcome("failed", failure=WORKER_DIED) if outcome is None else outcome)
        self._progress.update(cell)
