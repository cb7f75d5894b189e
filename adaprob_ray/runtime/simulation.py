"""A run of a plan on a cluster that need not exist: which cells run when, by the rules of the Ray executor.

Like the searcher (see searcher.py), it starts ready cells in the order of the plan, as many as may run and wait at once, and
grants each its share of a card; like Ray, it puts a share on the fullest card that has room and lets waiting cells pass each
other. Cells on one card slow each other: the speed of a card is constant, and each of k cells gets the k-th part of it. That
is the worst case, since one small network alone does not fill a card. Starting Ray, loading data and failures take no time.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from adaprob_ray.errors import InputError
from adaprob_ray.runtime.packing import MAX_TRIALS, ROUNDING, TRIALS_PER_SLOT, GpuPacker, cell_kinds
from adaprob_ray.runtime.simulated_cluster import SimulatedCluster
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.ready_cells import ReadyCells

# Ends that are this close, in seconds, are one: sums of floats differ by less.
SAME_TIME = 1e-6


@dataclass(frozen=True)
class Execution:
    """From when to when, in seconds, a cell ran, and on which cards with what share of each."""

    start: float
    end: float
    cards: tuple[int, ...]
    share: float


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How a simulated run went. Times are in seconds.

    `executions`: by key. `busy`: of each card, the time in which at least one cell ran on it; of all cores together, the
    core-seconds of their cells, where there are no cards. `units`: cards, or cores where there are none. `critical`: the
    longest path through the cells, which no cluster can shorten.
    """

    makespan: float
    executions: Mapping[str, Execution]
    busy: tuple[float, ...]
    units: int
    critical: float

    @property
    def idle_share(self) -> float:
        """The part of the makespan in which a card, or a core, ran nothing, on average over all of them."""
        return 1 - sum(self.busy) / (self.units * self.makespan) if self.makespan else 0.0


@dataclass
class _Card:
    """A GPU: the part that is not granted, and what each of its cells still needs, in seconds of the whole card."""

    free: float = 1.0
    remaining: dict[str, float] = field(default_factory=dict)
    since: float = 0.0
    busy: float = 0.0
    version: int = 0  # of `remaining`: an end that was computed for an earlier one does not come

    def advance(self, now: float) -> None:
        """Let its cells run until `now`."""
        if self.remaining:
            self.busy += now - self.since
            part = (now - self.since) / len(self.remaining)
            self.remaining = {key: seconds - part for key, seconds in self.remaining.items()}
        self.since = now

    def next_end(self) -> float:
        return self.since + min(self.remaining.values(), default=math.inf) * len(self.remaining)


@dataclass
class _Trial:
    """A cell that has been suggested, what it asks for, and where it runs once it does."""

    cell: Cell
    cpus: float
    gpus: float
    cards: list[int] = field(default_factory=list)
    start: float = 0.0


class Simulation:
    """A run of all cells of a plan that are not done.

    Args:
        plan: Its cells and their states, which the run changes.
        seconds: By key, how long a cell takes alone on a whole card, or on its cores.
        cluster: Where it runs. Without GPUs all cells run on CPU cores, as on such a Ray cluster.
        packer: Decides the share of a card that each cell gets.

    Raises:
        InputError: if a cell does not fit on the cluster.
    """

    def __init__(self, plan: Plan, seconds: Mapping[str, float], cluster: SimulatedCluster, packer: GpuPacker) -> None:
        self._plan, self._seconds, self._packer, self._cluster = plan, seconds, packer, cluster
        self._capacity = cluster.capacity
        packer.cards = self._capacity.cards
        self._cards = [_Card() for _ in range(cluster.gpus)]
        self._free_cpus, self._core_seconds = float(cluster.cpus), 0.0
        self._waiting: list[_Trial] = []
        self._running: dict[str, _Trial] = {}
        self._runs_exclusive_cell = False
        # When, a number that orders what is at the same time, and either a cell that runs on no card or a card's version.
        self._events: list[tuple[float, int, str | tuple[int, int]]] = []
        self._numbers = itertools.count()
        self._executions: dict[str, Execution] = {}
        self._max_trials = self._trial_limit()

    def _trial_limit(self) -> int:
        """How many cells may run or wait for room at once, as in the searcher."""
        kinds = cell_kinds(self._plan.cells.values())
        requests = {cell.stage: self._capacity.request(cell, self._packer.share(cell)) for cell in kinds}
        faults = [
            f"--cluster: must hold a cell of stage {stage}, which asks for "
            + ", ".join(f"{amount:g} {name}" for name, amount in request.items())
            + f", got {self._cluster}"
            for stage, request in requests.items()
            if not self._capacity.fits(request)
        ]
        if faults:
            raise InputError(*faults)
        slots = max((self._capacity.slots(request) for request in requests.values()), default=1)
        return min(slots * TRIALS_PER_SLOT, MAX_TRIALS)

    def run(self) -> Schedule:
        """Run until nothing is left."""
        now = 0.0
        self._start_cells(now)
        while self._events:
            time, _, event = heapq.heappop(self._events)
            if isinstance(event, str):
                now = time
                self._finish(event, now)
            elif event[1] == self._cards[event[0]].version:
                now = time
                self._finish_on_card(event[0], now)
            if not self._events or self._events[0][0] > now + SAME_TIME:
                self._start_cells(now)
        cards = tuple(card.busy for card in self._cards)
        return Schedule(
            makespan=now,
            executions=self._executions,
            busy=cards or (self._core_seconds,),
            units=len(cards) or self._cluster.cpus,
            critical=self._critical_path(),
        )

    def _start_cells(self, now: float) -> None:
        while len(self._running) + len(self._waiting) < self._max_trials and self._suggest():
            pass
        full: set[tuple[float, float]] = set()  # requests for which there is no room
        for trial in self._waiting:
            request = (trial.cpus, trial.gpus)
            if request not in full and not self._place(trial, now):
                full.add(request)
        self._waiting = [trial for trial in self._waiting if trial.cell.key not in self._running]

    def _suggest(self) -> bool:
        """Let the first ready cell wait for room. Exclusive cells are last in `ready` and wait until nothing runs."""
        ready = self._plan.ready()
        if not ready or self._runs_exclusive_cell:
            return False
        cell = ready[0]
        if cell.resources.exclusive and (self._running or self._waiting):
            return False
        self._runs_exclusive_cell = cell.resources.exclusive
        share = self._packer.grant(cell, waiting=self._waiting_for_gpus(ready)) if self._capacity.has_gpus else 0.0
        request = self._capacity.request(cell, share)
        self._plan.started(cell)
        self._waiting.append(_Trial(cell, request["CPU"], request.get("GPU", 0.0)))
        return True

    def _waiting_for_gpus(self, ready: ReadyCells) -> int:
        """How many of the ready cells, the first one included, wait for a GPU alone."""
        free_cpus = int(self._cluster.cpus / ready[0].resources.cpu) - len(self._running) - len(self._waiting)
        return self._packer.count_waiting(ready, free_cpus)

    def _place(self, trial: _Trial, now: float) -> bool:
        """Start a trial if there is room for it now."""
        if trial.cpus > self._free_cpus:
            return False
        if trial.gpus:
            need, count = min(trial.gpus, 1.0), max(1, math.floor(trial.gpus))
            fitting = [index for index, card in enumerate(self._cards) if card.free + ROUNDING >= need]
            if len(fitting) < count:
                return False
            trial.cards = sorted(fitting, key=lambda index: self._cards[index].free)[:count]
        key, trial.start = trial.cell.key, now
        self._free_cpus -= trial.cpus
        self._running[key] = trial
        if not trial.cards:
            heapq.heappush(self._events, (now + self._seconds[key], next(self._numbers), key))
        for at, index in enumerate(trial.cards):
            card = self._cards[index]
            card.advance(now)
            card.free = round(card.free - min(trial.gpus, 1.0), 4)
            # A cell on several cards ends when it does on the first.
            card.remaining[key] = self._seconds[key] if at == 0 else math.inf
            self._schedule_end(index)
        return True

    def _schedule_end(self, index: int) -> None:
        card = self._cards[index]
        card.version += 1
        if (end := card.next_end()) < math.inf:
            heapq.heappush(self._events, (end, next(self._numbers), (index, card.version)))

    def _finish_on_card(self, index: int, now: float) -> None:
        card = self._cards[index]
        card.advance(now)
        last = min(card.remaining.values()) + SAME_TIME / len(card.remaining)
        for key in [key for key, seconds in card.remaining.items() if seconds <= last]:
            self._finish(key, now)

    def _finish(self, key: str, now: float) -> None:
        trial = self._running.pop(key)
        self._free_cpus += trial.cpus
        self._core_seconds += trial.cpus * (now - trial.start)
        for index in trial.cards:
            card = self._cards[index]
            card.advance(now)
            del card.remaining[key]
            card.free = round(card.free + min(trial.gpus, 1.0), 4)
            self._schedule_end(index)
        self._executions[key] = Execution(trial.start, now, tuple(trial.cards), trial.gpus)
        self._runs_exclusive_cell = False  # if one ran, it was alone
        self._packer.release(trial.cell)
        self._plan.finished(trial.cell, Outcome("done", now - trial.start))

    def _critical_path(self) -> float:
        ends: dict[str, float] = {}
        for key, cell in self._plan.cells.items():
            start = max((ends[parent] for parent in cell.parents.values()), default=0.0)
            ends[key] = start + (self._seconds[key] if key in self._executions else 0.0)
        return max(ends.values(), default=0.0)
