"""What --rerun revokes: the cells and all in the store that depends on them, but nothing while another run holds one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from adaprob_ray.errors import InputError, LeaseLost, StoreError
from adaprob_ray.runtime.rerun import Rerun
from adaprob_ray.store import Attempt, LeaseWatcher, Store
from adaprob_ray.sweep.registry import Registry

REGISTRY = Registry(datasets={}, architectures={}, recipes={}, methods={}, metrics={}, stages={})
# original ── mine ── mine_evaluated       of this sweep
#         │       └── theirs_evaluated     of another one
#         └── other ── other_evaluated
PARENTS = {
    "original": [],
    "mine": ["original"],
    "other": ["original"],
    "mine_evaluated": ["mine", "original"],
    "theirs_evaluated": ["mine", "original"],
    "other_evaluated": ["other", "original"],
}
MINE = ("mine", "mine_evaluated")


def begin(store: Store, key: str) -> Attempt:
    document = {"stage": "train", "parents": {parent: parent for parent in PARENTS[key]}}
    attempt = store.begin(key, document, owner="test", run="test")
    assert attempt is not None
    return attempt


def commit(store: Store, key: str) -> None:
    with begin(store, key) as attempt:
        attempt.write("weights", key.encode())
        attempt.commit({})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path)
    for key in PARENTS:
        commit(store, key)
    return store


def done(store: Store) -> set[str]:
    return {key for key, log in store.survey().items() if log.done is not None}


def test_the_cells_and_what_depends_on_them_in_other_sweeps_are_free_again(store: Store) -> None:
    again = Rerun.find(store, MINE, REGISTRY)
    assert (again.done, again.done_elsewhere) == (frozenset(MINE), frozenset({"theirs_evaluated"}))
    assert done(store) == PARENTS.keys(), "finding writes nothing"
    again.revoke(store, "--rerun label=mine")
    assert done(store) == {"original", "other", "other_evaluated"}
    for key in (*MINE, "theirs_evaluated"):
        assert store.objects.document(f"cells/{key}/revoked/1")["reason"] == "--rerun label=mine"  # type: ignore[index]
        commit(store, key)
    assert done(store) == PARENTS.keys()


def test_cells_that_were_never_begun_are_no_reason_to_stop(store: Store) -> None:
    again = Rerun.find(store, (*MINE, "not_begun"), REGISTRY)
    again.revoke(store, "why")
    assert done(store) == {"original", "other", "other_evaluated"}


def test_a_commit_that_a_revoked_one_would_uncover_and_checkpoints_go_too(store: Store) -> None:
    second = store.objects.document("cells/mine/commit/1")
    assert second is not None
    store.objects.create("cells/mine/commit/2", {**second, "token": "of a network cut"})
    store.objects.put("checkpoints/mine/1", b"half a training")
    Rerun.find(store, MINE, REGISTRY).revoke(store, "why")
    assert "mine" not in done(store)
    assert list(store.objects.list("checkpoints")) == []


@pytest.mark.parametrize("held", ["mine", "theirs_evaluated"])
def test_nothing_is_revoked_while_another_run_holds_one_of_them(held: str, store: Store) -> None:
    store.revoke(held, 1, "so that it can be begun")
    with begin(store, held) as attempt:
        before = done(store)
        again = Rerun.find(store, MINE, REGISTRY)
        waits: list[int] = []
        with pytest.raises(InputError, match=f"another run is computing.*, got train-{held[:8]}"):
            again.revoke(store, "why", sleep=lambda seconds: attempt.beat(), on_wait=waits.append)
        assert done(store) == before
        assert waits == [1]
        attempt.commit({})


def test_a_process_that_wakes_up_cannot_commit_what_it_computed_from_the_old_result(store: Store) -> None:
    store.revoke("theirs_evaluated", 1, "so that it can be begun")
    sleeper = begin(store, "theirs_evaluated")
    again = Rerun.find(store, MINE, REGISTRY)
    clock = iter(range(0, 10_000, 100))
    watcher = LeaseWatcher(clock=lambda: float(next(clock)))
    with mock.patch.object(store, "beat_etag", return_value=None):  # it has not written a heartbeat for 100 s
        again.revoke(store, "why", watcher=watcher, sleep=lambda seconds: None)
    with pytest.raises(LeaseLost):
        sleeper.commit({})
    sleeper.release()


def at_revocation_of(key: str, store: Store, action: Callable[[], None]) -> mock.mock._patch[Callable[..., None]]:
    """Do something in the moment before the cell is revoked."""
    revoke = store.revoke

    def acting(revoked: str, number: int, reason: str) -> None:
        if revoked == key:
            action()
        revoke(revoked, number, reason)

    return mock.patch.object(store, "revoke", acting)


def test_what_another_run_begins_meanwhile_from_the_old_result_cannot_be_committed(store: Store) -> None:
    """Its evaluation is revoked and free, its model not yet: the other run evaluates the old model."""
    rivals: list[Attempt] = []
    again = Rerun.find(store, MINE, REGISTRY)
    with at_revocation_of("mine", store, lambda: rivals.append(begin(store, "theirs_evaluated"))):
        again.revoke(store, "why")
    (rival,) = rivals
    with pytest.raises(LeaseLost):
        rival.commit({})
    rival.release()
    assert done(store) == {"original", "other", "other_evaluated"}


@pytest.mark.parametrize("revocations", range(3))
def test_wherever_it_stops_no_result_counts_whose_input_does_not(revocations: int, store: Store) -> None:
    revoke, calls = store.revoke, iter(range(10))

    def failing(*arguments: str) -> None:
        if next(calls) == revocations:
            raise StoreError("the disk is full")
        revoke(*arguments)  # type: ignore[arg-type]

    again = Rerun.find(store, MINE, REGISTRY)
    with mock.patch.object(store, "revoke", failing), pytest.raises(StoreError):
        again.revoke(store, "why")
    left = done(store)
    assert len(left) == len(PARENTS) - revocations
    assert all(set(PARENTS[key]) <= left for key in left)
