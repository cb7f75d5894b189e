"""One Tune trial is one cell; the actor is reused for the next one."""

from __future__ import annotations

from typing import Any

from ray import tune

from adaprob_ray.runtime.cell_runner import RunConfig, describe, execute
from adaprob_ray.store import Store
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Outcome


class CellTrainable(tune.Trainable):
    """Config: `cell` (its document), `job`, `exclusive`, `dead`. One step runs the cell and returns its outcome.

    A failed cell returns its failure as a result: an exception would kill the actor.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._assigned = config
        self._stores: dict[str, Store] = getattr(self, "_stores", {})

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        try:
            outcome = self._execute()
        except Exception as error:  # the store cannot be opened here, say: not a reason to lose the process
            outcome = Outcome("failed", failure=describe(error))
        return {"outcome": outcome, "done": True}

    def _execute(self) -> Outcome:
        job: RunConfig = self._assigned["job"]
        if job.store not in self._stores:
            self._stores[job.store] = Store.open(job.store, create=False)
        return execute(
            Cell.from_document(self._assigned["cell"]),
            job,
            self._stores[job.store],
            gpu=float(self._assigned["gpu"]),
            exclusive=self._assigned["exclusive"],
            dead=self._assigned["dead"],
        )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: what a cell leaves is in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: see save_checkpoint."""
