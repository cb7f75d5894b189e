"""A plan against a store: what is done there, what runs elsewhere, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.store import Attempt, CellLog, LeaseWatcher, Store
from adaprob_ray.store.names import WEIGHTS
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan


class Leases:
    """Whether cells run elsewhere. It remembers the attempts that it found dead, so that a worker need not wait again."""

    def __init__(self, store: Store) -> None:
        self._store, self._watcher = store, LeaseWatcher()
        self.expired_attempts: dict[str, int] = {}

    def is_live(self, key: str, log: CellLog) -> bool:
        if not log.open_attempts:
            return False
        live = self._watcher.is_live(self._store, key, log)
        if not live and log.last is not None:
            self.expired_attempts[key] = log.last
        return live

    def refresh_leases(self, plan: CellSource) -> None:
        """What became of the cells that another run held: finished, free again, or still running."""
        for cell in plan.leased():
            log = self._store.log(cell.key)
            if log.done is not None:
                plan.observe(cell, "done")
            elif not self.is_live(cell.key, log):
                plan.observe(cell, "free")

    def release_run(self, plan: CellSource, run: str) -> None:
        """Release what this run's workers held when they were stopped, so that nobody waits for them."""
        for cell in plan.running():
            for number in self._store.log(cell.key).open_attempts:
                if (holder := self._store.holder(cell.key, number)) is not None and holder.run == run:
                    Attempt(self._store, cell.key, number).release()


class AssumeExpired(LeaseWatcher):
    """The judgement of another process: attempt `number` is dead. Any other holder is taken for alive."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def is_live(self, store: Store, key: str, log: CellLog) -> bool:
        return log.last in log.open_attempts and log.last != self._number


def plan_against(cells: Mapping[str, Cell], store: Store | None, leases: Leases | None = None) -> Plan:
    """The plan of `cells` given what the store has. Reads one listing; without a store nothing is done."""
    if store is None:
        return Plan(cells)
    leases = leases or Leases(store)
    logs = {key: log for key, log in store.survey().items() if key in cells}
    done = {key for key, log in logs.items() if log.done is not None}
    done -= lacking_weights(cells, done, store)
    leased = {key for key, log in logs.items() if key not in done and leases.is_live(key, log)}
    failures = {key for key, log in logs.items() if key not in done and log.failed}
    return Plan(cells, done=done, leased=leased, past_failures=failures)


def lacking_weights(cells: Mapping[str, Cell], done: set[str], store: Store) -> set[str]:
    """Finished unlearn cells that an earlier sweep told to drop their weights, where this one keeps them."""
    wanted = [key for key in done if cells[key].stage == "unlearn" and cells[key].keep == "weights"]
    return {key for key in wanted if (commit := store.peek(key)) is None or WEIGHTS not in commit.files}


def invalidate_incomplete(cells: Mapping[str, Cell], store: Store) -> list[str]:
    """Before a run: revoke finished attempts whose files are cut short or gone, or that lack weights now asked for.

    Returns one line for each.
    """
    lines = [str(error) for error in store.check_sizes(cells)]
    logs = store.survey()
    done = {key for key in cells if key in logs and logs[key].done is not None}
    for key in sorted(lacking_weights(cells, done, store)):
        number = logs[key].done
        assert number is not None
        store.revoke(key, number, "its weights are asked for now and were not kept")
        lines.append(f"{cells[key].title} is made again: its weights are asked for now and were not kept")
    return lines


def tensorboard_dir_for(store: Store, sweep: str, fallback: Path) -> Path:
    """STORE/tensorboard/SWEEP, or a local folder where the store is at a URI."""
    base = fallback if "://" in store.location else Path(store.location)
    return base / "tensorboard" / sweep


def check_data(cells: Mapping[str, Cell], plan: Plan, data_root: Path, datasets: Mapping[str, object]) -> None:
    """Raise InputError, one line a data set, if files that unfinished cells will read are absent or corrupt."""
    open_cells = [c for key, c in cells.items() if plan.state(key) != "done" and c.stage != "evaluate"]
    names = sorted({c.settings["dataset"]["name"] for c in open_cells})
    faults = [fault for name in names if (fault := datasets[name].verify(data_root))]  # type: ignore[attr-defined]
    if faults:
        raise InputError(*dict.fromkeys(faults))
