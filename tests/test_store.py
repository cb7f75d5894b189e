"""Guarantees of the store, on a local folder and on S3 as moto's server implements it."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import obstore
import pytest
from hypothesis import HealthCheck, settings
from store_contract import (
    DAMAGES,
    DOCUMENT,
    KEY,
    Clock,
    Crash,
    CrashingObjects,
    NeverHalf,
    begin,
    damage,
    finish,
    paths,
    remote_view,
    set_aws,
    try_begin,
)

from adaprob_ray.errors import CorruptArtefact, Failure, InputError, LeaseLost, StoreError
from adaprob_ray.store import HEARTBEAT_SECONDS, STALE_SECONDS, Attempt, CellLog, LeaseWatcher, Store, holder
from adaprob_ray.store import attempt as attempt_module
from adaprob_ray.store.heartbeat import HeartbeatThread
from adaprob_ray.store.holder import is_dead, this_process
from adaprob_ray.store.locations import parse_location

ROOT = Path(__file__).resolve().parents[1]


# --- commit and read


def test_commit_and_read_back(store: Store) -> None:
    attempt = begin(store)
    attempt.write("outputs.bin", b"\x00\xff" * 500)
    attempt.write("folder/metrics.json", b'{"error": 0.25}')
    attempt.commit({"seconds": 1.5, "host": "ä"})
    assert (attempt.key, attempt.number) == (KEY, 1)
    assert store.read(KEY, "outputs.bin") == b"\x00\xff" * 500
    assert store.read_json(KEY, "folder/metrics.json") == {"error": 0.25}
    assert store.cell(KEY) == DOCUMENT
    commit = store.commit(KEY)
    assert commit is not None
    assert (commit.number, commit.facts) == (1, {"seconds": 1.5, "host": "ä"})
    assert commit.files["outputs.bin"]["size"] == 1000
    assert set(commit.files) == {"outputs.bin", "folder/metrics.json"}


def test_the_layout_is_the_documented_one(store: Store) -> None:
    finish(store, weights=b"w")
    cell = f"cells/{KEY}"
    expected = [f"attempts/{KEY}/1/weights", f"{cell}/cell.json", f"{cell}/commit/1", f"{cell}/lease/1", "store.json"]
    assert paths(store) == expected
    held = store.objects.document(f"{cell}/lease/1")
    assert held.items() >= {"owner": "test", "run": "run-1", "pid": os.getpid()}.items()
    assert {"host", "boot", "pid_started", "at"} <= set(held)


def test_deleting_an_absent_object_is_not_an_error(store: Store) -> None:
    store.put_text("texts/one", "1")
    store.put_text("texts/three", "3")
    store.objects.delete(["texts/one", "texts/two", "texts/three"])
    assert paths(store) == ["store.json"]


def test_a_cell_is_not_done_until_committed(store: Store) -> None:
    assert (store.log(KEY), store.cell(KEY), store.commit(KEY)) == (CellLog(), None, None)
    attempt = begin(store)
    attempt.write("weights", b"w")
    assert (store.log(KEY).done, store.commit(KEY)) == (None, None)
    with pytest.raises(StoreError, match="no committed attempt"):
        store.read(KEY, "weights")
    attempt.commit({})
    assert store.log(KEY).done == 1
    assert try_begin(store) is None


def test_an_unknown_artefact_names_the_known_ones(store: Store) -> None:
    finish(store, weights=b"w", outputs=b"o")
    with pytest.raises(StoreError, match=r"'wieghts' \(known: outputs, weights\)"):
        store.read(KEY, "wieghts")
    assert store.log(KEY).done == 1


def test_an_artefact_that_is_not_json_stays_committed(store: Store) -> None:
    finish(store, weights=b"w")
    with pytest.raises(StoreError, match=f"weights of cell {KEY} is not JSON"):
        store.read_json(KEY, "weights")
    assert store.log(KEY).done == 1


def test_a_failure_is_stored_and_the_cell_is_not_done(store: Store) -> None:
    begin(store).fail(Failure(failure_class="diverged", message="loss is nan", traceback="Traceback …", log="epoch 3"))
    begin(store).fail(Failure(failure_class="timeout", message="too late"))
    log = store.log(KEY)
    assert (log.done, log.failed, log.leases) == (None, {1, 2}, {1, 2})
    last, first = store.failure(KEY), store.failure(KEY, 1)
    assert last is not None
    assert first is not None
    assert (last.failure_class, first.failure_class, first.log) == ("timeout", "diverged", "epoch 3")
    assert all(vars(first).values())
    assert Failure.from_document(first.document()) == first
    assert store.failure("other") is None
    assert begin(store).number == 3


def test_release_frees_at_once(store: Store) -> None:
    begin(store).release()
    with begin(store) as attempt:
        assert attempt.number == 2
    assert begin(store).number == 3
    assert store.log(KEY).released == {1, 2}


def test_later_attempts_see_checkpoints_until_the_cell_is_done(store: Store) -> None:
    assert list(store.checkpoints(KEY)) == []
    first = begin(store)
    first.save_checkpoint(b"one epoch")
    first.save_checkpoint(b"two epochs")
    assert list(store.checkpoints(KEY)) == [b"two epochs"]
    first.release()
    with pytest.raises(StoreError, match="has ended"):
        first.save_checkpoint(b"three epochs")
    for _ in range(10):  # a tenth attempt is newer than the second
        attempt = begin(store)
        attempt.save_checkpoint(f"attempt {attempt.number}".encode())
        attempt.release()
    store.objects.put(f"checkpoints/{KEY}/.nfs0001", b"not ours")
    assert next(store.checkpoints(KEY)) == b"attempt 11"
    assert len(list(store.checkpoints(KEY))) == 11
    finish(store, weights=b"w")
    store.drop_checkpoints(KEY)
    store.drop_checkpoints(KEY)
    assert [path for path in paths(store) if path.startswith("checkpoints")] == [f"checkpoints/{KEY}/.nfs0001"]


@pytest.mark.parametrize("left", [b"", b"cut", b"\xff" * 80])
def test_a_damaged_checkpoint_is_skipped(store: Store, left: bytes) -> None:
    for content in (b"older", b"newer"):
        attempt = begin(store)
        attempt.save_checkpoint(content)
        attempt.release()
    store.objects.put(f"checkpoints/{KEY}/2", left)
    assert list(store.checkpoints(KEY)) == [b"older"]


def test_an_ended_attempt_does_nothing_more(store: Store) -> None:
    done, failed, released = finish(store), begin(store, "failed"), begin(store, "released")
    failed.fail(Failure(failure_class="code", message=""))
    released.release()
    for attempt in (done, failed, released):
        for act in (
            lambda a: a.write("x", b""),
            lambda a: a.commit({}),
            lambda a: a.fail(Failure(failure_class="code", message="")),
            lambda a: a.release(),
        ):
            with pytest.raises(StoreError, match="has ended"):
                act(attempt)


def test_facts_that_json_lacks_leave_the_attempt_open(store: Store) -> None:
    attempt = begin(store)
    with pytest.raises(InputError, match="not a JSON document"):
        attempt.commit({"loss": float("nan")})
    attempt.fail(Failure(failure_class="diverged", message="loss is nan"))
    assert store.log(KEY).failed == {1}


@pytest.mark.parametrize(
    "name", ["", "..", "a/../b", "/etc/passwd", "a//b", "a/", ".hidden", "a\\b", "a#1", "a\n", "ä"]
)
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    store = Store.open(tmp_path)
    attempt = begin(store)
    for act in (
        lambda: attempt.write(name, b""),
        lambda: store.put_text(name, ""),
        lambda: store.log(name),
        lambda: store.begin(name, {}, owner="", run=""),
    ):
        with pytest.raises(InputError, match="must match"):
            act()
    assert paths(store) == [f"cells/{KEY}/cell.json", f"cells/{KEY}/lease/1", "store.json"]


def test_texts_are_stored_outside_the_cells(store: Store) -> None:
    store.put_text("sweeps/table2-ab12.yaml", "name: täble2\n")
    store.put_text("sweeps/a.yaml", "old")
    store.put_text("sweeps/a.yaml", "new")
    assert paths(store) == ["store.json", "sweeps/a.yaml", "sweeps/table2-ab12.yaml"]
    assert store.objects.get("sweeps/a.yaml") == b"new"
    assert store.objects.get("sweeps/table2-ab12.yaml") == "name: täble2\n".encode()
    for path in ("cells/x", "attempts/x", "Cells/x", "store.json"):
        with pytest.raises(InputError, match="must not begin with a reserved name"):
            store.put_text(path, "")


# --- leases


def test_of_sixteen_racers_exactly_one_wins(location: str) -> None:
    stores = [Store.open(location) for _ in range(16)]
    gate = threading.Barrier(16)

    def race(store: Store) -> Attempt | None:
        gate.wait()
        return try_begin(store)

    with ThreadPoolExecutor(16) as pool:
        winners = [attempt for attempt in pool.map(race, stores) if attempt is not None]
    assert [attempt.number for attempt in winners] == [1]
    assert stores[0].log(KEY).leases == {1}


HOLDER = """
import sys, time
from adaprob_ray.store import Store
attempt = Store.open(sys.argv[1], create=False).begin(sys.argv[2], {}, owner="child", run="r")
attempt.write("half", b"half")
print(attempt.number, flush=True)
time.sleep(60)
"""


def test_a_dead_process_of_this_host_loses_its_lease_at_once(store: Store) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.location, KEY], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "1\n"
        assert try_begin(store) is None
        child.send_signal(signal.SIGKILL)
        # Not waited for: a zombie is dead too.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert begin(store).number == 2
        child.wait()


@pytest.mark.parametrize(
    ("change", "dead"),
    [
        ({}, False),
        ({"pid_started": 1.0}, True),  # the pid belongs to another process by now
        ({"pid": 2**22 + 1}, True),
        ({"pid": 2**22 + 1, "host": "another"}, False),
        ({"pid": 2**22 + 1, "boot": "another container of that name"}, False),
        ({"pid": None}, False),
        ({"pid_started": None}, False),
    ],
)
def test_only_a_holder_of_this_host_is_judged_by_its_process(change: dict[str, Any], dead: bool) -> None:
    assert is_dead(replace(this_process(), **change)) is dead


def test_where_the_boot_is_unknown_no_holder_is_judged_by_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holder, "_boot", lambda: "")
    assert not is_dead(replace(this_process(), pid=2**22 + 1))


def test_a_silent_lease_is_taken_over_after_its_time_and_not_before(store: Store) -> None:
    clock = Clock()
    watcher = LeaseWatcher(clock=clock)
    silent = begin(store)
    away = remote_view(store)
    assert (STALE_SECONDS, HEARTBEAT_SECONDS) == (30.0, 5.0)
    assert try_begin(away, watcher) is None
    clock.now += STALE_SECONDS - 0.01
    assert try_begin(away, watcher) is None
    clock.now += 0.01
    assert begin(away, watcher=watcher).number == 2
    silent.write("weights", b"w")


def test_a_new_attempt_restarts_the_clock(store: Store) -> None:
    clock = Clock()
    watcher = LeaseWatcher(clock=clock)
    away = remote_view(store)
    held = [begin(store)]
    assert try_begin(away, watcher) is None
    clock.now += STALE_SECONDS
    held.append(begin(away, watcher=watcher))
    assert try_begin(away, watcher) is None
    clock.now += STALE_SECONDS - 0.01
    assert try_begin(away, watcher) is None


def test_a_lease_with_heartbeats_is_never_taken_over(store: Store) -> None:
    clock = Clock()
    watcher = LeaseWatcher(clock=clock)
    attempt = begin(store)
    away = remote_view(store)
    for _ in range(10):
        assert try_begin(away, watcher) is None
        clock.now += STALE_SECONDS - 1.0
        attempt.beat()
    assert len(store.log(KEY).beats) == 1


def test_a_beat_that_an_old_listing_hides_still_counts(store: Store) -> None:
    clock = Clock()
    watcher = LeaseWatcher(clock=clock)
    attempt = begin(store)
    away = remote_view(store)
    attempt.beat()
    old = store.log(KEY)
    assert watcher.is_live(away, KEY, old)
    attempt.beat()
    clock.now += STALE_SECONDS
    assert watcher.is_live(away, KEY, old)
    # Neither the old listing nor the beat that was seen already is a new one.
    clock.now += STALE_SECONDS - 0.01
    assert watcher.is_live(away, KEY, old)
    clock.now += 0.01
    assert not watcher.is_live(away, KEY, store.log(KEY))


def test_a_stores_own_watcher_remembers_between_begins(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    away, held = remote_view(store), begin(store)
    away._watcher = LeaseWatcher(stale_after=0.05)
    assert try_begin(away) is None
    time.sleep(0.06)
    assert begin(away).number == held.number + 1


def test_an_answer_lost_on_the_way_does_not_lose_the_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated request meets what its first try made: AlreadyExists, and yet it is ours."""
    put = obstore.put

    def twice(objects: Any, path: str, data: bytes, **mode: Any) -> Any:
        put(objects, path, data, **mode)
        return put(objects, path, data, **mode)

    monkeypatch.setattr(obstore, "put", twice)
    finish(store, weights=b"w")
    assert store.log(KEY).done == 1
    assert try_begin(store) is None


def test_a_commit_between_look_and_lease_is_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = begin(store)
    away, log = remote_view(store), store.log
    looks = iter([lambda: paused.commit({}), lambda: None])

    def look_then_let_the_other_commit(key: str) -> CellLog:
        cell_log = log(key)
        next(looks)()
        return cell_log

    monkeypatch.setattr(away, "log", look_then_let_the_other_commit)
    assert try_begin(away, LeaseWatcher(stale_after=0.0)) is None
    after = store.log(KEY)
    assert (after.done, after.leases, after.released) == (1, {1, 2}, {2})


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_attempts_only_the_first_to_commit_counts(store: Store, first: int) -> None:
    """A holder that was silent for too long and its successor, in either order."""
    attempts = [begin(store), begin(remote_view(store), watcher=LeaseWatcher(stale_after=0.0))]
    winner, loser = attempts[first], attempts[1 - first]
    winner.write("weights", b"winner")
    loser.write("weights", b"loser")
    winner.commit({})
    with pytest.raises(LeaseLost, match=f"attempt {winner.number} of cell {KEY} is committed, not {loser.number}"):
        loser.commit({})
    loser.fail(Failure(failure_class="storage", message="lease lost"))
    assert store.log(KEY).commits == {winner.number}
    assert store.read(KEY, "weights") == b"winner"
    store.revoke(KEY, winner.number, "test")
    finish(store, weights=b"third")
    assert store.read(KEY, "weights") == b"third"


@pytest.mark.parametrize("first", [0, 1])
def test_a_commit_between_look_and_commit_is_seen(store: Store, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = [begin(store), begin(remote_view(store), watcher=LeaseWatcher(stale_after=0.0))]
    winner, loser = attempts[first], attempts[1 - first]
    end = loser._end

    def let_the_other_commit_first(kind: str, document: Any) -> None:
        winner.commit({})
        end(kind, document)

    monkeypatch.setattr(loser, "_end", let_the_other_commit_first)
    with pytest.raises(LeaseLost, match="is committed, not"):
        loser.commit({})
    log = store.log(KEY)
    assert (log.commits, log.revoked, log.done) == ({1, 2}, {loser.number}, winner.number)


def test_of_two_commits_at_one_moment_at_most_one_counts(location: str) -> None:
    for key in ("first", "second", "third"):
        store = Store.open(location)
        rivals = [begin(store, key), begin(remote_view(store), key, watcher=LeaseWatcher(stale_after=0.0))]
        gate = threading.Barrier(2)

        def commit(attempt: Attempt, gate: threading.Barrier = gate) -> bool:
            gate.wait()
            with contextlib.suppress(LeaseLost):
                attempt.commit({})
                return True
            return False

        with ThreadPoolExecutor(2) as pool:
            succeeded = list(pool.map(commit, rivals))
        log = store.log(key)
        assert len(log.commits - log.revoked) <= 1
        assert log.done == next((a.number for a, won in zip(rivals, succeeded, strict=True) if won), None)
        assert log.done is not None or begin(store, key).number == 3


def test_a_rivals_commit_that_an_old_listing_hides_still_counts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    paused, later = begin(store), begin(remote_view(store), watcher=LeaseWatcher(stale_after=0.0))
    old = store.log(KEY)
    paused.commit({})
    monkeypatch.setattr(store, "log", lambda key: old)
    monkeypatch.setattr(later, "_store", store)
    with pytest.raises(LeaseLost, match=r"attempt 1 .* is committed, not 2"):
        later.commit({})


@pytest.mark.parametrize("content", [b"", b"null", b'{"facts": {}}', b"\xff\xfe"])
def test_a_damaged_commit_that_the_listing_hides_does_not_stop_a_later_one(
    store: Store, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to a device, for one, is an object that no listing shows: each later attempt would lose its result."""
    begin(store)
    store.objects.put(f"cells/{KEY}/commit/1", content)
    listed = store.objects.list

    def without_the_commit(prefix: str) -> list[Any]:
        return [entry for entry in listed(prefix) if not entry["path"].endswith("/commit/1")]

    monkeypatch.setattr(store.objects, "list", without_the_commit)
    later = begin(store, watcher=LeaseWatcher(stale_after=0.0))
    later.write("weights", b"later")
    later.commit({})
    assert (store.log(KEY).revoked, store.log(KEY).done) == ({1}, 2)
    assert store.read(KEY, "weights") == b"later"


def test_of_two_commits_of_an_older_store_the_lowest_is_read(store: Store) -> None:
    """Versions before this one let a silent holder commit before its successor did."""
    finish(store, weights=b"first")
    later = {"files": {"weights": {"size": 6, "sha256": hashlib.sha256(b"second").hexdigest()}}, "facts": {}, "at": ""}
    store.objects.put(f"attempts/{KEY}/2/weights", b"second")
    store.objects.create(f"cells/{KEY}/commit/2", later)
    assert store.read(KEY, "weights") == b"first"
    store.revoke(KEY, 1, "test")
    assert store.read(KEY, "weights") == b"second"


def test_a_revoked_attempt_cannot_commit(store: Store) -> None:
    attempt = begin(store)
    store.revoke(KEY, 1, "by hand")
    with pytest.raises(LeaseLost, match="was revoked"):
        attempt.commit({})
    attempt.release()
    assert store.log(KEY).done is None
    assert begin(store).number == 2


# --- heartbeat


def heartbeat_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "adaprob-heartbeat"}


def wait_for(condition: Any, seconds: float = 5.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.005)


def test_heartbeats_are_written_until_the_attempt_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    thread = HeartbeatThread(period=0.05)
    monkeypatch.setattr(attempt_module, "heartbeat_thread", lambda: thread)
    attempt = begin(store)
    assert not store.log(KEY).beats
    states: set[str] = set()
    wait_for(lambda: len(states.update(store.log(KEY).beats.values()) or states) >= 3)
    attempt.commit({})
    assert not thread._due
    thread.close()
    assert thread._thread not in heartbeat_threads()


class Flaky:
    """Fails every other beat."""

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        self.beats += 1
        if self.beats % 2:
            raise StoreError("a hiccup")


def test_heartbeats_survive_storage_errors_and_share_one_thread() -> None:
    thread = HeartbeatThread(period=0.02)
    patients = [Flaky() for _ in range(3)]
    before = heartbeat_threads()
    for patient in patients:
        thread.watch(patient)
    assert len(heartbeat_threads() - before) == 1
    wait_for(lambda: all(patient.beats >= 4 for patient in patients))
    thread.close()


def test_a_forked_child_writes_no_heartbeats_for_its_parents_attempts(store: Store) -> None:
    code = """
import os, sys
from adaprob_ray.store import Store
from adaprob_ray.store.heartbeat import heartbeat_thread
attempt = Store.open(sys.argv[1]).begin("key", {}, owner="parent", run="r")
child = os.fork()
if child == 0:
    os._exit(len(heartbeat_thread()._due) + (heartbeat_thread()._thread is not None))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or len(heartbeat_thread()._due) - 1)
"""
    assert subprocess.run([sys.executable, "-c", code, store.location], cwd=ROOT, check=False).returncode == 0


def test_a_dropped_attempt_gets_no_more_heartbeats() -> None:
    thread = HeartbeatThread(period=0.02)
    patient = Flaky()
    thread.watch(patient)
    last_beats = weakref.ref(patient)
    wait_for(lambda: (living := last_beats()) is not None and living.beats >= 1)
    del patient
    wait_for(lambda: gc.collect() >= 0 and not thread._due)
    thread.close()


# --- damage


REASONS = {
    "truncated": "has 9 bytes, not 10",
    "altered": "has another sha256 than its commit",
    "emptied": "has 0 bytes, not 10",
    "deleted": "is missing",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_artefact_is_revoked_and_the_cell_ready_again(store: Store, how: str) -> None:
    finish(store, weights=b"0123456789", outputs=b"o")
    damage(store, f"attempts/{KEY}/1/weights", how)
    assert store.read(KEY, "outputs") == b"o"
    with pytest.raises(CorruptArtefact) as caught:
        store.read(KEY, "weights")
    assert (caught.value.key, caught.value.number, caught.value.name) == (KEY, 1, "weights")
    assert caught.value.reason == REASONS[how]
    log = store.log(KEY)
    assert (log.done, log.revoked) == (None, {1})
    assert finish(store, weights=b"again").number == 2
    assert store.read(KEY, "weights") == b"again"


@pytest.mark.parametrize("how", ["truncated", "emptied"])
def test_a_damaged_commit_is_revoked(store: Store, how: str) -> None:
    finish(store, weights=b"0123456789")
    damage(store, f"cells/{KEY}/commit/1", how)
    with pytest.raises(CorruptArtefact, match="the commit"):
        store.commit(KEY)
    assert finish(store, weights=b"again").number == 2


def test_a_damaged_lease_is_judged_by_its_beats(store: Store) -> None:
    clock = Clock()
    watcher = LeaseWatcher(clock=clock)
    held = begin(store)
    damage(store, f"cells/{KEY}/lease/1", "emptied")
    damage(store, f"cells/{KEY}/cell.json", "truncated")
    with pytest.raises(StoreError, match="not JSON"):
        store.cell(KEY)
    assert try_begin(store, watcher) is None
    clock.now += STALE_SECONDS
    assert begin(store, watcher=watcher).number == held.number + 1
    assert store.cell(KEY) == DOCUMENT


def test_check_sizes_finds_exactly_the_damaged(store: Store) -> None:
    keys = ["intact", "truncated", "deleted", "emptied"]
    for key in keys:
        finish(store, key, weights=b"0123456789", outputs=b"o")
    for key in keys[1:]:
        damage(store, f"attempts/{key}/1/weights", key)
    finish(store, "torn")
    damage(store, "cells/torn/commit/1", "truncated")
    running = begin(store, "running")
    errors = store.check_sizes([*keys, "torn", running.key, "never-begun"])
    assert [(error.key, error.name) for error in errors] == [
        ("truncated", "weights"),
        ("deleted", "weights"),
        ("emptied", "weights"),
        ("torn", "the commit"),
    ]
    assert {key for key, log in store.survey().items() if log.done is not None} == {"intact"}
    assert store.check_sizes(keys) == []


def test_check_sizes_asks_for_the_object_before_it_revokes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(store, weights=b"0123456789")
    full = store.objects.list
    monkeypatch.setattr(store.objects, "list", lambda prefix: iter(()) if prefix == "attempts" else full(prefix))
    assert store.check_sizes([KEY]) == []


# --- survey and open


def test_survey_equals_the_log_of_each_cell(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(store, "done", weights=b"w")
    finish(store, "revoked")
    store.revoke("revoked", 1, "test")
    begin(store, "failed").fail(Failure(failure_class="code", message=""))
    begin(store, "released").release()
    begin(store, "failed").commit({})
    running = begin(store, "running")
    running.beat()
    store.objects.put("cells/running/lease/foreign", b"")
    store.objects.put("cells/stray", b"")
    keys = ["done", "revoked", "failed", "released", "running"]
    expected = {key: store.log(key) for key in keys}
    calls: list[str] = []
    listing = store.objects.list
    monkeypatch.setattr(store.objects, "list", lambda prefix: (calls.append(prefix), listing(prefix))[1])
    survey = store.survey()
    assert {key: survey[key] for key in keys} == expected
    assert calls == ["cells"]
    assert (survey["failed"].done, survey["failed"].last, survey["failed"].leases) == (2, 2, {1, 2})
    assert survey["running"].open_attempts == {1}
    assert set(survey["running"].beats) == {1}


def test_a_store_can_be_opened_again_and_sent_to_another_process(store: Store) -> None:
    finish(store, weights=b"w")
    for again in (Store.open(store.location, create=False), pickle.loads(pickle.dumps(store))):
        assert again.location == store.location
        assert again.read(KEY, "weights") == b"w"


def test_open_takes_a_relative_path_and_makes_it_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store.open("new/store").location == str(tmp_path / "new" / "store")


def test_open_leaves_nothing_but_its_format(store: Store) -> None:
    assert paths(store) == ["store.json"]


def test_open_for_reading_writes_nothing(location: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no"):
        Store.open(location, create=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no store here"):
        Store.open(tmp_path / "empty", create=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_open_for_reading_needs_no_right_to_write(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(obstore, "put", refuse)
    Store.open(store.location, create=False)
    with pytest.raises(InputError, match="Permission denied") as caught:
        Store.open(store.location)
    assert store.location in str(caught.value)


def one_fault(location: str | Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        Store.open(location)
    (line,) = caught.value.faults
    assert "\n" not in line
    for word in (str(location), *words):
        assert word in line


def test_open_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one_fault(tmp_path / "file", "is a file")
    one_fault(tmp_path / "file" / "store", f"{tmp_path / 'file'} is a file")
    one_fault("ftp://host/store", "got scheme 'ftp'", "s3://, gs://, az://")
    one_fault("s3://", "a bucket after its colon")
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "store.json").write_text('{"format": 99}')
    one_fault(tmp_path / "newer", "format must be 1, got 99")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "store.json").write_text("")
    one_fault(tmp_path / "torn", "store.json is damaged (0 bytes", "adaprob-ray store init --store")


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        ("s3:/bucket/x", "did you mean s3://bucket/x?"),
        ("gs:/bucket", "did you mean gs://bucket?"),
        ("az:container/x", "did you mean az://container/x?"),
        ("S3:///x", "two slashes and a bucket"),
        ("s3//bucket/x", "did you mean s3://bucket/x?"),
        (Path("s3://bucket/y"), "did you mean s3://bucket/y?"),
        (Path("gs://bucket/y").absolute(), "probably passed through pathlib.Path"),
        ("./s3:/bucket", "probably passed through pathlib.Path"),
        ("s3://bucket/x?versionId=3", "no query"),
        ("gs://bucket/x#2", "no fragment"),
        ("s3://bucket:9000/x", "no port"),
        ("s3://bucket/../x", "neither . nor .."),
        ("s3://bucket//x", "no empty part"),
        (" s3://bucket/x", "no blanks"),
        ("https://host/bucket", "got scheme 'https' (known: s3://, gs://, az://)"),
        ("s3a://bucket/x", "got scheme 's3a'"),
        ("runs:/x", "begin with ./, as in ./runs:/x"),
        ("file://host/x", "absolute path of this machine"),
        ("file:x", "got scheme 'file'"),
        ("~no-such-user/store", "no home folder"),
        ("a\0b", "NUL"),
    ],
)
def test_a_slip_in_a_location_is_refused_and_makes_no_folder(
    tmp_path: Path, slip: str | Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one_fault(slip, words)
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_a_location_is_not_repeated() -> None:
    with pytest.raises(InputError, match="no user") as caught:
        Store.open("s3://key:secret@bucket/x")
    assert "secret" not in str(caught.value)


def test_other_spellings_of_a_location_are_one_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Store.open(f"file://{tmp_path}/my%20store").location == str(tmp_path / "my store")
    assert Store.open("runs:2").location == str(tmp_path / "runs:2")
    assert parse_location("S3://bucket/x/") == parse_location("s3://bucket/x")


def test_a_bucket_that_is_not_there(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_aws(monkeypatch, s3_endpoint)
    one_fault("s3://no-such-bucket/store", "NoSuchBucket")


def test_a_storage_error_is_a_store_error_in_one_line(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    attempt = begin(store)
    attempt.write("a", b"")
    with pytest.raises(StoreError, match="Not a directory") as caught:
        attempt.write("a/b", b"")
    assert "\n" not in str(caught.value)
    attempt.commit({})


def test_the_store_loads_neither_torch_nor_ray() -> None:
    code = "import sys, adaprob_ray.store; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# --- crashes


TestNeverHalf = NeverHalf.TestCase
TestNeverHalf.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("fuse", range(7))
def test_every_crash_point_on_a_real_folder(fuse: int, after: bool) -> None:
    """Of cell.json, lease, two files and commit: only a crash past the last leaves a done cell."""
    with tempfile.TemporaryDirectory() as folder:
        objects = CrashingObjects(Store.open(folder).objects.backend, folder)
        store = Store(objects)
        objects.fuse, objects.after = fuse, after
        with contextlib.suppress(Crash):
            finish(store, weights=b"w", outputs=b"o")
        objects.fuse = None
        writes = fuse + after
        assert (store.log(KEY).done is not None) == (writes >= 5)
        if writes >= 5:
            assert (store.read(KEY, "weights"), store.read(KEY, "outputs")) == (b"w", b"o")
        else:
            assert finish_after_crash(store).read(KEY, "weights") == b"again"


def finish_after_crash(store: Store) -> Store:
    attempt = begin(remote_view(store), watcher=LeaseWatcher(stale_after=0.0))
    attempt.write("weights", b"again")
    attempt.commit({})
    return store
