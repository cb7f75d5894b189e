"""The Tune trainable: one trial executes one cell, and its actor is reused for the next trial."""

from __future__ import annotations

from typing import Any

from ray import tune

from adaprob_ray.errors import Failure
from adaprob_ray.runtime.cell_runner import RunConfig, execute
from adaprob_ray.runtime.parent_watch import exit_with_parent
from adaprob_ray.store import Store
from adaprob_ray.sweep.outcome import Outcome


class CellTrainable(tune.Trainable):
    """Config: `cell`, `run_config`, `gpu`, `exclusive`, `expired_attempt`, `runs`; see `cell_runner.execute`.

    The first step executes the cell. A failed cell returns its failure as a result: an exception would end the actor.
    """

    def setup(self, config: dict[str, Any]) -> None:
        exit_with_parent()
        self._stores: dict[str, Store] = {}
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._assignment = new_config
        return True

    def step(self) -> dict[str, Any]:
        try:
            outcome = self._execute()
        except Exception as error:  # for example if the store cannot be opened here: no reason to lose the process
            outcome = Outcome("failed", failure=Failure.from_error(error))
        return {"outcome": outcome, "done": True}

    def _execute(self) -> Outcome:
        run_config: RunConfig = self._assignment["run_config"]
        if run_config.store not in self._stores:
            self._stores[run_config.store] = Store.open(run_config.store, create=False)
        return execute(
            self._assignment["cell"],
            run_config,
            self._stores[run_config.store],
            gpu=float(self._assignment["gpu"]),
            exclusive=self._assignment["exclusive"],
            expired_attempt=self._assignment["expired_attempt"],
            runs=self._assignment["runs"],
        )

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the results of a cell are in the store."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: see save_checkpoint."""
