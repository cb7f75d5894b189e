"""The graph of a sweep's cells against a store: which are done, ready, waiting, running, leased, failed or blocked.

A `Plan` is also what the executors draw cells from: see runtime/cell_source.py.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from adaprob_ray.errors import Failure
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome
from adaprob_ray.sweep.ready_cells import ReadyCells

State = Literal["done", "ready", "waiting", "running", "leased", "failed", "blocked"]
STATES: tuple[State, ...] = ("done", "running", "leased", "ready", "waiting", "failed", "blocked")
# How often one cell may meet corrupt parents in one run, so that a disk that corrupts everything cannot prolong it without end.
MAX_RECOMPUTES = 3


class Plan:
    """Cells by key, parents before children, and the state of each.

    Args:
        cells: by key, parents before children.
        done: keys of cells that the store has.
        leased: keys of cells that another run holds.
        past_failures: keys of cells that failed in an earlier run. They are ready again: a failure is never cached.
        weights: by key, how long each cell takes, in any unit; the priorities of their stages if None. The cells with the
            longest remaining path start first.
        skip_failures: failures by key of cells that failed in an earlier run and are left alone: they count as failed.

    `failures` has the failure of each cell in state "failed"; `skipped`: keys of those that failed before and are left alone.

    Example:
        >>> from adaprob_ray.catalogue import REGISTRY
        >>> from adaprob_ray.sweep.sweep import Sweep
        >>> plan = Plan(Sweep.load("sweeps/quickstart.yaml", REGISTRY).cells)
        >>> plan.counts()["ready"], plan.counts()["waiting"]
        (15, 78)
        >>> cell = plan.ready()[0]
        >>> plan.started(cell)
        >>> plan.finished(cell, Outcome("done", seconds=2.5))
        >>> plan.state(cell.key)
        'done'
    """

    def __init__(
        self,
        cells: Mapping[str, Cell],
        *,
        done: Iterable[str] = (),
        leased: Iterable[str] = (),
        past_failures: Iterable[str] = (),
        weights: Mapping[str, float] | None = None,
        skip_failures: Mapping[str, Failure] | None = None,
    ) -> None:
        self.cells = dict(cells)
        self.past_failures = set(past_failures) & self.cells.keys()
        self.failures: dict[str, Failure] = {}
        self.skipped: frozenset[str] = frozenset()
        self.executed: list[tuple[str, float]] = []
        self._tries: Counter[str] = Counter()
        self._recomputes: Counter[str] = Counter()
        self._children: dict[str, list[str]] = {key: [] for key in self.cells}
        for key, cell in self.cells.items():
            for parent in set(cell.parents.values()):
                self._children[parent].append(key)
        self._weights = dict(weights or {key: cell.priority for key, cell in self.cells.items()})
        self._state: dict[str, State] = dict.fromkeys(self.cells, "waiting")
        self._by_state: dict[State, dict[str, None]] = {state: {} for state in STATES}
        self._by_state["waiting"] = dict.fromkeys(self.cells)
        self._sort()
        self._start_from(self.cells, done=done, leased=leased, skip_failures=skip_failures or {})

    def extend(
        self,
        cells: Mapping[str, Cell],
        *,
        done: Iterable[str] = (),
        leased: Iterable[str] = (),
        past_failures: Iterable[str] = (),
        skip_failures: Mapping[str, Failure] | None = None,
    ) -> None:
        """Add cells that were decided on after the start, such as those of a search; arguments as of `Plan`.

        Those that the plan has already are ignored. With the same remaining path, cells that were added earlier start first.
        """
        new = {key: cell for key, cell in cells.items() if key not in self.cells}
        self.cells.update(new)
        self.past_failures |= set(past_failures) & new.keys()
        for key, cell in new.items():
            self._children[key] = []
            for parent in set(cell.parents.values()):
                self._children[parent].append(key)
            self._weights[key] = cell.priority
            self._state[key] = "waiting"
            self._by_state["waiting"][key] = None
        self._sort()
        self._start_from(new, done=done, leased=leased, skip_failures=skip_failures or {})

    def _sort(self) -> None:
        """The order in which cells start, and where the ready ones are in it."""
        self._path = self._remaining_paths(self._weights)
        self._order = sorted(self.cells.values(), key=self._priority)
        self._place = {cell.key: place for place, cell in enumerate(self._order)}
        # An array is copied at each `ready`, which would take a list of 100,000 ten times as long.
        self._ready_places = array("l", sorted(self._place[key] for key in self._by_state["ready"]))

    def _start_from(
        self,
        keys: Iterable[str],
        *,
        done: Iterable[str],
        leased: Iterable[str],
        skip_failures: Mapping[str, Failure],
    ) -> None:
        """Give these waiting cells the states that the store knows, and then those that follow."""
        new = dict.fromkeys(keys)
        for key in set(leased) & new.keys():
            self._put(key, "leased")
        for key in set(done) & new.keys():
            self._put(key, "done")
        skipped = {key: item for key, item in skip_failures.items() if key in new and self._state[key] == "waiting"}
        for key, failure in skipped.items():
            self._put(key, "failed")
            self.failures[key] = failure
        self.skipped |= skipped.keys()
        for key in new:
            self._update_state(key)

    def _put(self, key: str, state: State) -> None:
        if self._state[key] == "ready":
            del self._ready_places[bisect_left(self._ready_places, self._place[key])]
        if state == "ready":
            insort(self._ready_places, self._place[key])
        del self._by_state[self._state[key]][key]
        self._state[key] = state
        self._by_state[state][key] = None

    def _remaining_paths(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Weight of the longest path from each cell to the end: cells with long paths start first."""
        path: dict[str, float] = {}
        for key in reversed(self.cells):
            longest = max((path[child] for child in self._children[key]), default=0)
            path[key] = weights[key] + longest
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
        """A cell that ran, or was done, is to run again; it and its descendants wait, or are blocked by later failures."""
        self._put(key, "waiting")
        self._update_state(key)
        self._update_descendants(key)

    # -- what executors use ------------------------------------------------------------------------------------------

    def ready(self) -> ReadyCells:
        """Cells that can start now, longest remaining path first, then in the order of the file.

        Exclusive cells come last and seed by seed, all methods of one seed before the next, so that a machine that becomes
        slower in the course of a run slows all methods alike.
        """
        return ReadyCells(self._ready_places[:], self._order)

    def _priority(self, cell: Cell) -> tuple[bool, int, int, float]:
        """The sort key of `_order`: exclusive or not, seed and repeat of an exclusive cell, the remaining path."""
        path = -self._path[cell.key]
        if not cell.resources.exclusive:
            return False, 0, 0, path
        return True, cell.settings.seed, cell.repeat, path

    def started(self, cell: Cell) -> None:
        """Note that a ready cell is being executed."""
        assert self._state[cell.key] == "ready", (cell.title, self._state[cell.key])
        self._put(cell.key, "running")

    def finished(self, cell: Cell, outcome: Outcome) -> None:
        """Note how a cell that was started has ended. A failure that may pass by itself makes it ready again."""
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
            self._fail(key, outcome.failure or Failure(failure_class="code", message="no reason given"))

    def _fail(self, key: str, failure: Failure) -> None:
        self._tries[key] += 1
        if self._tries[key] <= failure.retries:
            self._requeue(key)
            return
        self.failures[key] = failure
        self._set(key, "failed")

    def _recompute_parents(self, key: str, revoked: Iterable[str]) -> None:
        """Requeue the parents whose artefacts are corrupt, and the cell that noticed, which waits for them."""
        self._recomputes[key] += 1
        if self._recomputes[key] > MAX_RECOMPUTES:
            message = "the artefacts of its parents are corrupt each time they are computed"
            self.failures[key] = Failure(failure_class="storage", message=message)
            self._set(key, "failed")
            return
        for parent in revoked:
            if self._state.get(parent) == "done":
                self._requeue(parent)
        self._requeue(key)

    def leased(self) -> list[Cell]:
        """Cells that another run holds, to be looked at from time to time."""
        return [self.cells[key] for key in self._by_state["leased"]]

    def running(self) -> list[Cell]:
        """Cells that this run has started and that have not ended."""
        return [self.cells[key] for key in self._by_state["running"]]

    def observe(self, cell: Cell, state: Literal["done", "free"]) -> None:
        """Note that a cell that another run held is done, or free again."""
        if state == "done":
            self._set(cell.key, "done")
        else:
            self._requeue(cell.key)

    def exhausted(self) -> bool:
        """Whether nothing runs, and nothing can start now or later."""
        return not any(self._by_state[state] for state in ("ready", "running", "leased", "waiting"))

    @property
    def cells_to_come(self) -> int:
        """Cells that are not in the plan yet: none."""
        return 0

    # -- what people see ---------------------------------------------------------------------------------------------

    def state(self, key: str) -> State:
        """The state of one cell."""
        return self._state[key]

    def counts(self) -> dict[State, int]:
        """How many cells are in each state."""
        return {state: len(self._by_state[state]) for state in STATES}

    def remark(self) -> str:
        """What else to say about the progress: nothing."""
        return ""

    def blocked_by(self, key: str) -> list[str]:
        """Titles of the failed cells upstream of a blocked one."""
        titles = []
        for parent in dict.fromkeys(self.cells[key].parents.values()):
            if self._state[parent] == "failed":
                titles.append(self.cells[parent].title)
            elif self._state[parent] == "blocked":
                titles.extend(self.blocked_by(parent))
        return list(dict.fromkeys(titles))
