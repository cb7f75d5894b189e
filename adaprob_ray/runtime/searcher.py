"""Dependency order inside one Tuner: a searcher that hands out ready cells and answers None while there are none.

It draws from a plan (`ready()`, `started`, `finished`, `exhausted()`), so it knows nothing of sweeps or stores but their names.
"""

from __future__ import annotations

import time
from typing import Any

from ray.tune.search import Searcher

from adaprob_ray.errors import Failure
from adaprob_ray.runtime.cell_runner import RunConfig
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.progress import ProgressReporter
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Outcome, Plan

LOOK_AGAIN_SECONDS = 1.0  # between looks at cells that another run holds
LOST = Outcome("failed", failure=Failure(failure_class="preempted", message="the worker process that ran it died"))


class CellSearcher(Searcher):
    """Each suggestion is one cell. A cell that asks to be alone waits until nothing runs, and then nothing else starts.

    `slots`: how many trials can run at once; with one, every cell runs alone.
    """

    def __init__(
        self, plan: Plan, config: RunConfig, leases: Leases, progress: ProgressReporter, *, slots: int, gpus: float
    ) -> None:
        super().__init__()
        self._plan, self._config, self._leases, self._progress = plan, config, leases, progress
        self._slots, self._gpus = slots, gpus
        self._running: dict[str, Cell] = {}
        self._looked = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for a restore that is never asked for: the next run plans again

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see __getstate__."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a run is never restored: run the same command again")

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        self._look_elsewhere()
        self._progress.update()
        if self._plan.exhausted():
            return str(Searcher.FINISHED)
        cell = self._choose()
        if cell is None:
            return None
        self._plan.started(cell)
        self._running[trial_id] = cell
        return {
            "cell": cell,
            "config": self._config,
            "gpu": cell.resources.gpu if self._gpus else 0,
            "exclusive": self._slots == 1 or cell.resources.exclusive,
            "expired_attempt": self._leases.expired.get(cell.key),
        }

    def _choose(self) -> Cell | None:
        """The first ready cell, if it may start now. Exclusive cells stand last: they come when nothing else can start."""
        if any(cell.resources.exclusive for cell in self._running.values()):
            return None
        cell = next(iter(self._plan.ready()), None)
        return None if cell is not None and cell.resources.exclusive and self._running else cell

    def _look_elsewhere(self) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_AGAIN_SECONDS:
            self._looked = now
            self._leases.refresh_leases(self._plan)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        cell = self._running.pop(trial_id, None)
        if cell is None:
            return
        outcome = None if error else (result or {}).get("outcome")
        self._plan.finished(cell, LOST if outcome is None else outcome)
        self._progress.update(cell)
