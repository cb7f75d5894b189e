"""The graph of a sweep's cells against a store: what is done, what can start, what waits, runs elsewhere, failed or is blocked.

A `Plan` is also the source that the executors draw from: `ready()`, `started`, `finished`, `exhausted()`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.sweep.cell import Cell

State = Literal["done", "ready", "waiting", "running", "leased", "failed", "blocked"]
STATES: tuple[State, ...] = ("done", "running", "leased", "ready", "waiting", "failed", "blocked")
STAGE_WEIGHT = {
    "pretrain": 1000,
    "train": 100,
    "unlearn": 10,
    "relearn": 10,
    "evaluate": 1,
}  # a rough order of cost, for priorities only
RETRIES = {"storage": 2, "preempted": 3, "out_of_memory": 1}  # further tries in one run, by failure class; others none

MAX_RECOMPUTES = 3  # of corrupt parents, for one cell in one run


@dataclass(frozen=True)
class Outcome:
    """How one execution of a cell ended.

    `status`: done; cached (somebody else finished it first); elsewhere (somebody else holds its lease); failed, with
    `failure` {class, message}; stale, when artefacts of the cells `revoked` were found corrupt and must be made again.
    """

    status: Literal["done", "cached", "leased", "failed", "inputs_corrupt"]
    seconds: float = 0.0
    failure: Mapping[str, str] | None = None
    revoked: tuple[str, ...] = ()


class Plan:
    """Cells by key, parents before children, and the state of each.

    `done` are keys that the store has, `elsewhere` keys under another's live lease, `past_failures` what the store
    remembers of cells that failed before: they are ready again, for a failure is never cached.
    """

    def __init__(
        self,
        cells: Mapping[str, Cell],
        *,
        done: Iterable[str] = (),
        leased: Iterable[str] = (),
        past_failures: Iterable[str] = (),
    ) -> None:
        self.cells = dict(cells)
        self.past_failures = set(past_failures) & self.cells.keys()
        self.failures: dict[str, Mapping[str, str]] = {}
        self.executed: list[tuple[str, float]] = []
        self._tries: Counter[str] = Counter()
        self._stale: Counter[str] = Counter()
        self._children: dict[str, list[str]] = {key: [] for key in self.cells}
        for key, cell in self.cells.items():
            for parent in set(cell.parents.values()):
                self._children[parent].append(key)
        self._path = self._remaining_paths()
        self._state: dict[str, State] = dict.fromkeys(self.cells, "waiting")
        self._by_state: dict[State, dict[str, None]] = {state: {} for state in STATES}
        self._by_state["waiting"] = dict.fromkeys(self.cells)
        for key in set(leased) & self.cells.keys():
            self._put(key, "leased")
        for key in set(done) & self.cells.keys():
            self._put(key, "done")
        for key in self.cells:
            self._update_state(key)

    def _put(self, key: str, state: State) -> None:
        del self._by_state[self._state[key]][key]
        self._state[key] = state
        self._by_state[state][key] = None

    def _remaining_paths(self) -> dict[str, int]:
        """Weight of the longest path from each cell to the end: cells with long paths start first."""
        path: dict[str, int] = {}
        for key in reversed(self.cells):
            longest = max((path[child] for child in self._children[key]), default=0)
            path[key] = STAGE_WEIGHT[self.cells[key].stage] + longest
        return path

    def _update_state(self, key: str) -> None:
        """Recompute waiting, ready or blocked from the parents."""
        if self._state[key] in ("done", "running", "leased", "failed"):
            return
        parents = {self._state[parent] for parent in self.cells[key].parents.values()}
        if parents & {"failed", "blocked"}:
            self._put(key, "blocked")
        else:
            self._put(key, "ready" if parents <= {"done"} else "waiting")

    def _update_descendants(self, key: str) -> None:
        changed = [key]
        while changed:
            for child in self._children[changed.pop()]:
                before = self._state[child]
                self._update_state(child)
                if self._state[child] != before:
                    changed.append(child)

    def _set(self, key: str, state: State) -> None:
        self._put(key, state)
        self._update_descendants(key)

    def _requeue(self, key: str) -> None:
        """A cell that ran, or was done, is to be run: ready, waiting, or blocked by what failed since, as all below it."""
        self._put(key, "waiting")
        self._update_state(key)
        self._update_descendants(key)

    # -- what executors use ------------------------------------------------------------------------------------------

    def ready(self) -> list[Cell]:
        """Cells that can start now, longest remaining path first, then in the order of the file.

        Exclusive ones come last and seed by seed, all methods of one before the next, so that what a machine does to times
        in the course of a run it does to all methods alike.
        """
        return sorted((self.cells[key] for key in self._by_state["ready"]), key=self._priority)

    def _priority(self, cell: Cell) -> tuple[bool, int, int, int]:
        """What `ready` sorts by: exclusive or not, seed and repeat of an exclusive cell, the path that remains."""
        path = -self._path[cell.key]
        if not cell.exclusive:
            return False, 0, 0, path
        return True, cell.settings["seed"], cell.settings.get("repeat", 0), path

    def started(self, cell: Cell) -> None:
        assert self._state[cell.key] == "ready", (cell.title, self._state[cell.key])
        self._put(cell.key, "running")

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        key = cell.key
        if outcome.status in ("done", "cached"):
            if outcome.status == "done":
                self.executed.append((key, outcome.seconds))
            self._set(key, "done")
        elif outcome.status == "leased":
            self._set(key, "leased")
        elif outcome.status == "inputs_corrupt":
            self._recompute_parents(key, outcome.revoked)
        else:
            self._fail(key, outcome.failure or {"class": "code", "message": "no reason given"})

    def _fail(self, key: str, failure: Mapping[str, str]) -> None:
        self._tries[key] += 1
        if self._tries[key] <= RETRIES.get(failure["class"], 0):
            self._requeue(key)
            return
        self.failures[key] = failure
        self._set(key, "failed")

    def _recompute_parents(self, key: str, revoked: Iterable[str]) -> None:
        """The parents whose artefacts were corrupt are to be made again; then the cell that noticed."""
        self._stale[key] += 1
        if self._stale[key] > MAX_RECOMPUTES:
            self.failures[key] = {
                "class": "storage",
                "message": "its parents' artefacts are corrupt each time they are made",
            }
            self._set(key, "failed")
            return
        for parent in revoked:
            if self._state.get(parent) == "done":
                self._requeue(parent)
        self._requeue(key)

    def leased(self) -> list[Cell]:
        """Cells under another's lease, to look at again from time to time."""
        return [self.cells[key] for key in self._by_state["leased"]]

    def running(self) -> list[Cell]:
        """Cells that this run has handed out and not heard of again."""
        return [self.cells[key] for key in self._by_state["running"]]

    def observe(self, cell: Cell, seen: Literal["done", "free"]) -> None:
        """What became of a cell that ran elsewhere."""
        if seen == "done":
            self._set(cell.key, "done")
        else:
            self._requeue(cell.key)

    def exhausted(self) -> bool:
        """Nothing is running, can start, or can become able to start."""
        return not any(self._by_state[state] for state in ("ready", "running", "leased", "waiting"))

    # -- what people see ---------------------------------------------------------------------------------------------

    def state(self, key: str) -> State:
        return self._state[key]

    def counts(self) -> dict[State, int]:
        return {state: len(self._by_state[state]) for state in STATES}

    def blocked_by(self, key: str) -> list[str]:
        """Titles of the failed cells upstream of a blocked one."""
        found = []
        for parent in dict.fromkeys(self.cells[key].parents.values()):
            if self._state[parent] == "failed":
                found.append(self.cells[parent].title)
            elif self._state[parent] == "blocked":
                found.extend(self.blocked_by(parent))
        return list(dict.fromkeys(found))


# -- --only ------------------------------------------------------------------------------------------------------------

_CONDITION = re.compile(r"^\s*([a-z_.]+)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*$")
_ONLY_NAMES = (
    "stage",
    "method",
    "label",
    "dataset",
    "architecture",
    "forget",
    "class",
    "count",
    "seed",
    "repeat",
    "precision",
)


def _value(cell: Cell, name: str) -> Any:
    settings = cell.settings
    if name == "stage":
        return cell.stage
    if name in ("dataset", "architecture"):
        return settings[name]["name"]
    if name in ("forget", "class", "count"):
        return settings.get("forget", {}).get("kind" if name == "forget" else name)
    return settings.get(name)


def _holds(value: Any, operator: str, wanted: str) -> bool:
    if value is None:
        return False
    if operator in ("=", "!="):
        return (str(value) == wanted) is (operator == "=")
    number = float(wanted)
    tests = {"<": value < number, "<=": value <= number, ">": value > number, ">=": value >= number}
    return tests[operator]


def _conditions(text: str) -> list[tuple[str, str, str]]:
    """`method=scrub,seed<3` as (name, operator, value) triples. Raises InputError naming what was possible."""
    conditions = []
    for part in text.split(","):
        match = _CONDITION.match(part)
        if match is None:
            raise InputError(f"--only: {part!r} is not NAME=VALUE (also != < <= > >=), joined by commas")
        name, operator, value = match.groups()
        if name not in _ONLY_NAMES:
            raise InputError(f"--only: {unknown_name('name', name, _ONLY_NAMES)}")
        numeric = name in ("class", "count", "seed", "repeat")
        if operator not in ("=", "!=") and not (numeric and re.fullmatch(r"-?\d+(\.\d+)?", value)):
            raise InputError(f"--only: {part.strip()!r}: {operator} compares numbers (class, count, seed, repeat)")
        conditions.append((name, operator, value))
    return conditions


def select_cells(cells: Mapping[str, Cell], text: str) -> dict[str, Cell]:
    """The cells for which every condition of `text` holds, with all that they depend on."""
    conditions = _conditions(text)
    chosen = {key for key, cell in cells.items() if all(_holds(_value(cell, n), op, v) for n, op, v in conditions)}
    if not chosen:
        raise InputError(f"--only: {text!r} matches none of {len(cells)} cells")
    for key in reversed(list(cells)):
        if key in chosen:
            chosen.update(cells[key].parents.values())
    return {key: cell for key, cell in cells.items() if key in chosen}
