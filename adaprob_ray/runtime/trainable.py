"""One Tune trial is one cell; the actor is reused for the next one."""

from __future__ import annotations

from typing import Any

from ray import tune

from adaprob_ray.errors import Failure
from adaprob_ray.runtime.cell_runner import RunConfig, execute
from adaprob_ray.store import Store
from adaprob_ray.sweep.plan import Outcome


class CellTrainable(tune.Trainable):
    """Config: `cell`, `config`, `exclusive`, `expired_attempt`. One step runs the cell and returns its outcome.

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
            outcome = Outcome("failed", failure=Failure.from_error(error))
        return {"outcome": outcome, "done": True}

    def _execute(self) -> Outcome:
        config: RunConfig = self._assigned["config"]
        if config.store not in self._stores:
            self._stores[config.store] = Store.open(config.store, create=False)
        return execute(
            self._assigned["cell"],
            config,
            self._stores[config.store],
            gpu=float(self._assigned["gpu"]),
            exclusive=self._assigned["exclusive"],
            expired_attempt=self._assigned["expired_attempt"],
        )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: what a cell leaves is in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: see save_checkpoint."""
