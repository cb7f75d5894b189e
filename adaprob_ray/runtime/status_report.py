"""How far a sweep is, computed from what was read of its store: see status_reader.py."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from adaprob_ray.errors import Failure
from adaprob_ray.runtime.cell_seconds import remaining_seconds
from adaprob_ray.store import CellLog, Commit, Holder
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import STATES, Plan, State

# Cells per minute are those of the last ten minutes: long enough to be steady, short enough to show a change.
RATE_WINDOW = timedelta(minutes=10)

Result = Literal["done", "failed", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What one refresh has read.

    `plan`: cells that failed and do not run are in state "failed", cells that some process runs in state "leased".
    `logs` and `failures` (the last one of each cell that is not done) are by key, `holders` by key of the leased cells.
    `commits`: those of some cells of each kind, by key. `committers`: who made them, of cells on a GPU only.
    `read_at`: by this machine's clock. `changed_methods`: see `StatusReport`.
    """

    plan: Plan
    logs: Mapping[str, CellLog]
    failures: Mapping[str, Failure]
    holders: Mapping[str, Holder]
    commits: Mapping[str, Commit]
    committers: Mapping[str, Holder]
    read_at: datetime
    changed_methods: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunningCell:
    """A cell that a process runs now. `gpu` and `gpu_id` are as in its `Holder`."""

    key: str
    title: str
    host: str
    gpu: float | None
    gpu_id: str


@dataclass(frozen=True, kw_only=True)
class DeviceStatus:
    """Cells on one card of a node, or on its processor (`gpu_id` empty).

    `gpus_granted`: the sum of their shares of the card. `peak_bytes`: the most that a finished cell allocated on it, None if
    none is known. `silent_seconds`: since the last heartbeat of any of the cells, as far as the clocks here and there agree.
    """

    host: str
    gpu_id: str
    cells: int
    gpus_granted: float
    peak_bytes: int | None
    silent_seconds: float


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A cell that is not done and has failed; in another state than "failed" it has been started once more since."""

    key: str
    title: str
    state: State
    failure: Failure


@dataclass(frozen=True, kw_only=True)
class StatusReport:
    """How far a sweep is.

    `stages`: number of cells by stage and state; "leased" cells are those that run. `counts`: by state, as `run` would find
    them, which tries failed cells once more. `failures`: the latest first. `cells_per_minute` and `seconds_left` are None
    where nothing runs or too little is known. `changed_methods`: methods whose source has changed since their cells were
    computed, and how many of those cells there are.
    """

    stages: Mapping[str, Mapping[State, int]]
    counts: Mapping[State, int]
    running: Sequence[RunningCell]
    devices: Sequence[DeviceStatus]
    failures: Sequence[FailedCell]
    cells_per_minute: float | None
    seconds_left: float | None
    changed_methods: Mapping[str, int] = field(default_factory=dict)

    def count(self, *states: State) -> int:
        """Number of cells in any of these states; without states, of all cells."""
        return sum(stage[state] for stage in self.stages.values() for state in states or STATES)

    @property
    def result(self) -> Result:
        """How a script should take it.

        "unfinished" if cells run or could run; "failed" if all that is left has failed or is blocked by what failed.
        """
        if self.count("running", "leased", "ready", "waiting"):
            return "unfinished"
        return "failed" if self.count("failed", "blocked") else "done"


def build_report(snapshot: Snapshot, *, observed_rate: float | None = None) -> StatusReport:
    """The report of one snapshot.

    Args:
        snapshot: What was read.
        observed_rate: Cells per minute that the caller has seen finish; None takes the times of the store's objects.

    Returns:
        The report.
    """
    plan = snapshot.plan
    stages: dict[str, dict[State, int]] = {}
    for key, cell in sorted(plan.cells.items(), key=lambda item: -item[1].priority):  # parents before children
        stages.setdefault(cell.stage, dict.fromkeys(STATES, 0))[plan.state(key)] += 1
    running = [
        _running_cell(cell, snapshot.holders.get(key, Holder()))
        for key, cell in plan.cells.items()
        if plan.state(key) == "leased"
    ]
    failures = [
        FailedCell(key=key, title=plan.cells[key].title, state=plan.state(key), failure=failure)
        for key, failure in snapshot.failures.items()
    ]
    rate = observed_rate if observed_rate is not None else _rate(snapshot)
    return StatusReport(
        stages=stages,
        counts=_counts_for_run(plan),
        running=running,
        devices=_devices(running, snapshot),
        failures=sorted(failures, key=lambda cell: (cell.failure.at, cell.title), reverse=True),
        cells_per_minute=rate if running else None,
        seconds_left=_seconds_left(snapshot) if running else None,
        changed_methods=snapshot.changed_methods,
    )


def empty_report(cells: Mapping[str, Cell]) -> StatusReport:
    """The report of a sweep whose store does not exist yet."""
    return build_report(
        Snapshot(
            plan=Plan(cells), logs={}, failures={}, holders={}, commits={}, committers={}, read_at=datetime.now(UTC)
        )
    )


def _counts_for_run(plan: Plan) -> dict[State, int]:
    counts = plan.counts()
    for key, cell in plan.cells.items():
        state = plan.state(key)
        if state in ("failed", "blocked"):
            counts[state] -= 1
            counts["ready" if all(plan.state(parent) == "done" for parent in cell.parents.values()) else "waiting"] += 1
    return counts


def _running_cell(cell: Cell, holder: Holder) -> RunningCell:
    return RunningCell(key=cell.key, title=cell.title, host=holder.host, gpu=holder.gpu, gpu_id=holder.gpu_id)


def _devices(running: Sequence[RunningCell], snapshot: Snapshot) -> list[DeviceStatus]:
    peaks: Counter[tuple[str, str]] = Counter()
    for key, holder in snapshot.committers.items():
        place = holder.host, holder.gpu_id
        peaks[place] = max(peaks[place], int(snapshot.commits[key].facts["run_peak_bytes"]))
    cells: dict[tuple[str, str], list[RunningCell]] = defaultdict(list)
    for cell in running:
        cells[cell.host, cell.gpu_id].append(cell)
    devices = []
    for (host, gpu_id), held in sorted(cells.items()):
        signs = [time for cell in held if (time := snapshot.logs[cell.key].last_modified) is not None]
        silent = (snapshot.read_at - max(signs)).total_seconds() if signs else 0.0
        devices.append(
            DeviceStatus(
                host=host,
                gpu_id=gpu_id,
                cells=len(held),
                gpus_granted=sum(cell.gpu or 0.0 for cell in held),
                peak_bytes=peaks.get((host, gpu_id)),
                silent_seconds=max(silent, 0.0),
            )
        )
    return devices


def _rate(snapshot: Snapshot) -> float | None:
    """Cells per minute by the times of the store's objects: only those are compared with one another."""
    times = [time for log in snapshot.logs.values() if (time := log.last_modified) is not None]
    done = sorted(
        time for key, log in snapshot.logs.items() if log.done is not None and (time := log.last_modified) is not None
    )
    recent = [time for time in done if time > max(times) - RATE_WINDOW]
    if len(recent) < 2:
        return None
    # Without the first cell, which began before the period that its end begins. Heartbeats tell how long that has lasted.
    minutes = (max(times) - recent[0]).total_seconds() / 60
    return (len(recent) - 1) / minutes if minutes > 0 else None


def _seconds_left(snapshot: Snapshot) -> float | None:
    plan = snapshot.plan
    executed = [
        (plan.cells[key], float(commit.facts["cell_seconds"]))
        for key, commit in snapshot.commits.items()
        if "cell_seconds" in commit.facts
    ]
    unfinished = {
        cell: 0.5 if plan.state(key) == "leased" else 1.0
        for key, cell in plan.cells.items()
        if plan.state(key) in ("leased", "ready", "waiting")
    }
    total = remaining_seconds(unfinished, executed)
    return None if total is None else total / len(plan.leased())
