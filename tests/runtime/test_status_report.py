"""What is computed from a store about the progress of a sweep, and how rarely the store is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_world import Family

from adaprob_ray.errors import Failure
from adaprob_ray.runtime.status_reader import OBSERVED_SECONDS, StatusReader
from adaprob_ray.runtime.status_report import Snapshot, build_report, empty_report
from adaprob_ray.store import CellLog, Commit, Holder, Store
from adaprob_ray.store.lease_watcher import STALE_SECONDS
from adaprob_ray.store.objects import Objects
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def done_log(minutes: float) -> CellLog:
    return CellLog(leases=frozenset({1}), commits=frozenset({1}), last_modified=ago(minutes))


def running_log(minutes: float = 0.0) -> CellLog:
    return CellLog(leases=frozenset({1}), last_modified=ago(minutes))


def commit(**facts: Any) -> Commit:
    return Commit(number=1, files={}, facts=facts, at="")


def snapshot(plan: Plan, **parts: Any) -> Snapshot:
    empty: dict[str, Any] = {"logs": {}, "failures": {}, "holders": {}, "commits": {}, "committers": {}}
    return Snapshot(plan=plan, read_at=NOW, **{**empty, **parts})


def keys(cells: Iterable[Cell]) -> list[str]:
    return [cell.key for cell in cells]


# -- the report of a snapshot ------------------------------------------------------------------------------------------


def test_without_a_store_everything_is_left() -> None:
    family = Family()
    family.add(family.add())
    report = empty_report(family.cells)
    assert report.count("ready", "waiting") == report.count() == 2
    assert report.result == "unfinished"
    assert (report.cells_per_minute, report.seconds_left) == (None, None)


def test_cells_are_counted_by_stage_in_the_order_of_the_work() -> None:
    family = Family()
    first = family.add(stage="pretrain")
    family.add(stage="evaluate")
    family.add(first, stage="unlearn")
    family.add(first, stage="unlearn")
    report = build_report(snapshot(Plan(family.cells, done=[first.key])))
    assert list(report.stages) == ["pretrain", "unlearn", "evaluate"]
    assert report.stages["unlearn"]["ready"] == 2
    assert report.stages["pretrain"]["done"] == 1


def test_a_failed_cell_is_failed_for_people_and_ready_for_a_run() -> None:
    family = Family()
    parent, lone = family.add(), family.add()
    child = family.add(parent)
    failure = Failure(failure_class="diverged", message="NaN")
    plan = Plan(family.cells, done=[lone.key], skip_failures={parent.key: failure})
    report = build_report(snapshot(plan, failures={parent.key: failure}))
    assert (report.count("failed"), report.count("blocked"), report.result) == (1, 1, "failed")
    assert (report.counts["ready"], report.counts["waiting"], report.counts["failed"]) == (1, 1, 0)
    (failed,) = report.failures
    assert (failed.key, failed.state, failed.failure) == (parent.key, "failed", failure)
    assert plan.state(child.key) == "blocked"


@pytest.mark.parametrize(
    ("states", "result"),
    [
        ("", "done"),
        ("failed", "failed"),
        ("failed leased", "unfinished"),
        ("failed ready", "unfinished"),
        ("leased", "unfinished"),
        ("ready", "unfinished"),
    ],
)
def test_the_result_tells_whether_anything_is_left_to_run(states: str, result: str) -> None:
    family = Family()
    cells = {name: family.add().key for name in ["done", *states.split()]}
    failures = {cells["failed"]: Failure(failure_class="code", message="no")} if "failed" in cells else {}
    leased = [cells["leased"]] if "leased" in cells else []
    plan = Plan(family.cells, done=[cells["done"]], leased=leased, skip_failures=failures)
    assert build_report(snapshot(plan, failures=failures, logs=dict.fromkeys(leased, running_log()))).result == result


def test_the_latest_failure_comes_first() -> None:
    family = Family()
    cells = [family.add() for _ in range(3)]
    failures = {
        cell.key: Failure(failure_class="code", message=str(day), at=f"2026-01-0{day}T00:00:00")
        for cell, day in zip(cells, (2, 3, 1), strict=True)
    }
    report = build_report(snapshot(Plan(family.cells, skip_failures=failures), failures=failures))
    assert [cell.failure.message for cell in report.failures] == ["3", "2", "1"]


def test_cells_per_minute_are_those_of_the_last_ten_minutes_by_the_clock_of_the_storage() -> None:
    """Three cells end in the four minutes after the first; one of yesterday does not count."""
    family = Family()
    cells = [family.add() for _ in range(6)]
    times = (1440, 4, 3, 2, 1)
    logs = {cell.key: done_log(minutes) for cell, minutes in zip(cells, times, strict=False)}
    logs[cells[5].key] = running_log()
    plan = Plan(family.cells, done=keys(cells[:5]), leased=[cells[5].key])
    report = build_report(snapshot(plan, logs=logs))
    assert report.cells_per_minute == pytest.approx(3 / 4)
    elsewhen = replace(snapshot(plan, logs=logs), read_at=NOW + timedelta(days=400))
    assert build_report(elsewhen).cells_per_minute == report.cells_per_minute, "the watcher's clock plays no part"
    assert build_report(snapshot(plan, logs=logs), observed_rate=9.0).cells_per_minute == 9.0


def test_the_time_left_is_that_of_cells_of_the_kind_shared_by_those_that_run() -> None:
    family = Family()
    cells = [family.add() for _ in range(6)]
    plan = Plan(family.cells, done=keys(cells[:2]), leased=keys(cells[2:4]))
    logs = {cells[0].key: done_log(2), cells[1].key: done_log(1)} | dict.fromkeys(keys(cells[2:4]), running_log())
    commits = {cells[0].key: commit(cell_seconds=10.0), cells[1].key: commit(cell_seconds=20.0)}
    report = build_report(snapshot(plan, logs=logs, commits=commits))
    assert report.seconds_left == pytest.approx((15 * 2 + 7.5 * 2) / 2)
    assert build_report(snapshot(plan, logs=logs)).seconds_left is None


def test_nodes_and_cards_hold_cells_and_tell_the_largest_peak() -> None:
    family = Family()
    a, b, c, old = (family.add() for _ in range(4))
    on_card = {"host": "a", "gpu": 0.5, "gpu_id": "1"}
    holders = {a.key: Holder(**on_card), b.key: Holder(**on_card), c.key: Holder(host="b", gpu=0.0)}
    plan = Plan(family.cells, done=[old.key], leased=[a.key, b.key, c.key])
    report = build_report(
        snapshot(
            plan,
            logs={a.key: running_log(5), b.key: running_log(2), c.key: running_log(), old.key: done_log(9)},
            holders=holders,
            commits={old.key: commit(run_peak_bytes=4_000)},
            committers={old.key: Holder(**on_card)},
        )
    )
    card, processor = report.devices
    assert (card.host, card.gpu_id, card.cells, card.gpus_granted, card.peak_bytes) == ("a", "1", 2, 1.0, 4_000)
    assert card.silent_seconds == 120
    assert (processor.host, processor.gpu_id, processor.cells, processor.peak_bytes) == ("b", "", 1, None)
    assert [(cell.key, cell.host) for cell in report.running] == [(a.key, "a"), (b.key, "a"), (c.key, "b")]


# -- reading a store -----------------------------------------------------------------------------------------------------


class CountingObjects(Objects):
    """Counts listings, and reads by folder of the store's layout."""

    def __init__(self, objects: Objects) -> None:
        super().__init__(objects.backend, objects.location)
        self.calls: Counter[str] = Counter()

    def list(self, prefix: str) -> Any:
        self.calls["list"] += 1
        return super().list(prefix)

    def get(self, path: str) -> bytes | None:
        self.calls[path.split("/")[2]] += 1
        return super().get(path)


def begin(store: Store, cell: Cell, **options: Any) -> Any:
    attempt = store.begin(cell.key, cell.identity, owner="test", run="run", **options)
    assert attempt is not None
    return attempt


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_store_is_read_as_it_is(tmp_path: Path) -> None:
    family = Family()
    done, fails, runs, again = (family.add() for _ in range(4))
    child = family.add(fails)
    store = Store.open(tmp_path / "store")
    begin(store, done).commit({"cell_seconds": 2.0})
    begin(store, fails).fail(Failure(failure_class="diverged", message="NaN"))
    begin(store, again).fail(Failure(failure_class="preempted", message="died"))
    held = begin(store, runs, gpu=0.25), begin(store, again, gpu=0)
    report = StatusReader(family.cells, store).read()
    states = {cell.key: cell.state for cell in report.failures}
    assert states == {fails.key: "failed", again.key: "leased"}
    assert [cell.key for cell in report.running] == [runs.key, again.key]
    assert (report.running[0].gpu, report.running[1].gpu) == (0.25, 0)
    assert report.running[0].gpu_id
    assert not report.running[1].gpu_id
    assert (report.count("done"), report.count("failed"), report.count("blocked")) == (1, 1, 1)
    assert report.seconds_left == pytest.approx(1.0), "two halves of 2 s, side by side"
    assert child.key not in states
    for attempt in held:
        attempt.release()


def test_a_cell_whose_process_was_interrupted_after_a_failure_is_ready(tmp_path: Path) -> None:
    family = Family()
    cell = family.add()
    store = Store.open(tmp_path / "store")
    begin(store, cell).fail(Failure(failure_class="preempted", message="died"))
    begin(store, cell).release()
    report = StatusReader(family.cells, store).read()
    assert (report.count("ready"), report.result) == (1, "unfinished")
    assert [failed.state for failed in report.failures] == ["ready"]


def test_each_refresh_is_one_listing_and_only_what_is_new_is_read(tmp_path: Path) -> None:
    family = Family()
    cells = [family.add() for _ in range(5)]
    store = Store.open(tmp_path / "store")
    for cell in cells[:2]:
        begin(store, cell).commit({"cell_seconds": 1.0, "run_peak_bytes": 7})
    begin(store, cells[2]).fail(Failure(failure_class="code", message="no"))
    held = begin(store, cells[3])
    counting = CountingObjects(store.objects)
    reader = StatusReader(family.cells, Store(counting))
    reader.read()
    assert counting.calls["commit"] == 2
    assert counting.calls["failed"] == 1
    counting.calls.clear()
    reader.read()
    assert counting.calls == {"list": 1}
    held.commit({"cell_seconds": 1.0})
    counting.calls.clear()
    assert reader.read().count("done") == 3
    assert counting.calls["commit"] == 1
    assert set(counting.calls) == {"list", "commit"}


def test_a_watcher_takes_the_rate_that_it_has_seen_itself(tmp_path: Path) -> None:
    family = Family()
    cells = [family.add() for _ in range(4)]
    store, clock = Store.open(tmp_path / "store"), Clock()
    held = begin(store, cells[3])
    reader = StatusReader(family.cells, store, clock=clock)
    assert reader.read().cells_per_minute is None
    for cell in cells[:3]:
        begin(store, cell).commit({})
    clock.now += 2 * OBSERVED_SECONDS
    assert reader.read().cells_per_minute == pytest.approx(3 / 2)
    clock.now += 1200
    assert reader.read().cells_per_minute is not None
    held.release()
    assert reader.read().cells_per_minute is None, "nothing runs"


def test_a_dead_holder_is_not_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged as everywhere: by silence on the watcher's own clock."""
    family = Family()
    cell = family.add()
    store, clock = Store.open(tmp_path / "store"), Clock()
    held = begin(store, cell)
    reader = StatusReader(family.cells, store)
    monkeypatch.setattr(reader._leases._watcher, "_clock", clock)
    assert reader.read().count("leased") == 1
    clock.now += STALE_SECONDS + 1
    report = reader.read()
    assert (report.count("ready"), report.result) == (1, "unfinished")
    held.release()


def test_leases_name_the_first_visible_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    family = Family()
    store = Store.open(tmp_path / "store")
    expected: Mapping[str | None, str] = {"3,1": "3", "GPU-1a2b": "GPU-1a2b", "": "0", None: "0"}
    for visible, gpu_id in expected.items():
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        cell = family.add()
        attempt = begin(store, cell, gpu=0.5)
        holder = store.holder(cell.key, 1)
        assert holder is not None
        assert (holder.gpu, holder.gpu_id) == (0.5, gpu_id)
        attempt.release()
