"""Shared by the tests of the store: calls in one line each, damage, crashes, and the state machine NeverHalf."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from obstore.store import MemoryStore

from adaprob_ray.errors import CorruptArtefact, Failure, LeaseLost
from adaprob_ray.store import Attempt, Holder, LeaseWatcher, Store
from adaprob_ray.store.objects import Objects

KEY = "ab12" * 8
DOCUMENT = {"stage": "train", "seed": 1}


class Clock:
    """A monotonic clock that a test moves, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def set_aws(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    words = {"ENDPOINT_URL": endpoint, "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    for name, word in {**words, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(f"AWS_{name}", word)


def begin(store: Store, key: str = KEY, watcher: LeaseWatcher | None = None) -> Attempt:
    attempt = store.begin(key, DOCUMENT, owner="test", run="run-1", watcher=watcher)
    assert attempt is not None
    return attempt


def try_begin(store: Store, watcher: LeaseWatcher | None = None) -> Attempt | None:
    return store.begin(KEY, DOCUMENT, owner="other", run="run-2", watcher=watcher)


def finish(store: Store, key: str = KEY, **files: bytes) -> Attempt:
    attempt = begin(store, key)
    for name, data in files.items():
        attempt.write(name, data)
    attempt.commit({"seconds": 1.5})
    return attempt


def paths(store: Store) -> list[str]:
    return sorted(entry["path"] for entry in store.objects.list(""))


class RemoteStore(Store):
    """A store whose leases look as if another host held them, so that only heartbeats can tell whether they are live."""

    def holder(self, key: str, number: int) -> Holder | None:
        return replace(super().holder(key, number) or Holder(), host="another")


def remote_view(store: Store) -> Store:
    return RemoteStore(store.objects)


DAMAGES = {
    "truncated": lambda data: data[:-1],
    "altered": lambda data: data[:-1] + b"!",
    "emptied": lambda data: b"",
    "deleted": lambda data: None,
}


def damage(store: Store, path: str, how: str) -> None:
    held = store.objects.get(path)
    assert held is not None
    data = DAMAGES[how](held)
    if data is None:
        store.objects.delete([path])
    else:
        store.objects.put(path, data)


class Crash(BaseException):
    """The process stops here."""


class CrashingObjects(Objects):
    """Dies at a chosen write, counted down, before the write or just after it."""

    fuse: int | None = None
    after = False

    def _step(self, write: Any, *arguments: Any) -> Any:
        if self.fuse is None:
            return write(*arguments)
        self.fuse -= 1
        if self.fuse < 0 and not self.after:
            raise Crash
        result = write(*arguments)
        if self.fuse < 0:
            raise Crash
        return result

    def put(self, path: str, data: bytes) -> None:
        self._step(super().put, path, data)

    def create(self, path: str, document: Any) -> bool:
        return bool(self._step(super().create, path, document))


class NeverHalf(RuleBasedStateMachine):
    """Processes begin, write, pause, crash and find damage in any order; a done cell is complete, any other is ready."""

    NAMES = ("weights", "outputs")

    @initialize()
    def start(self) -> None:
        self.objects = CrashingObjects(MemoryStore(), "memory")
        self.store = Store(self.objects)
        self.open: list[Attempt] = []
        self.written = 0

    def contents(self) -> dict[str, bytes]:
        self.written += 1
        return {name: f"{name} {self.written:09d}".encode() * 3 for name in self.NAMES}

    def take(self) -> Attempt | None:
        """Begin as one for whom every present holder has been silent for long."""
        away = Store(self.objects)
        away.holder = lambda key, number: Holder()  # type: ignore[method-assign]
        return try_begin(away, LeaseWatcher(stale_after=0.0))

    def work(self, attempt: Attempt) -> None:
        for name, data in self.contents().items():
            attempt.write(name, data)
        attempt.commit({"written": self.written})

    @rule(fuse=st.integers(0, 6), after=st.booleans())
    def run_and_crash(self, fuse: int, after: bool) -> None:
        self.objects.fuse, self.objects.after = fuse, after
        try:
            attempt = self.take()
            if attempt is not None:
                self.work(attempt)
        except Crash:
            pass
        finally:
            self.objects.fuse = None

    @rule()
    def begin_and_pause(self) -> None:
        attempt = self.take()
        if attempt is not None:
            self.open.append(attempt)

    @rule(which=st.integers(0, 5), how=st.sampled_from(["work", "fail", "release", "part"]))
    def continue_attempt(self, which: int, how: str) -> None:
        if not self.open:
            return
        attempt = self.open.pop(which % len(self.open))
        if how == "fail":
            attempt.fail(Failure(failure_class="code", message=""))
        elif how == "release":
            attempt.release()
        elif how == "part":
            attempt.write("weights", b"half")
        else:
            try:
                self.work(attempt)
            except LeaseLost:
                attempt.release()

    @rule(how=st.sampled_from(sorted(DAMAGES)), name=st.sampled_from(NAMES))
    def damage(self, how: str, name: str) -> None:
        done = self.store.log(KEY).done
        path = f"attempts/{KEY}/{done}/{name}"
        if done is None or not self.objects.get(path):
            return
        damage(self.store, path, how)
        with pytest.raises(CorruptArtefact):
            self.store.read(KEY, name)

    @invariant()
    def done_is_whole(self) -> None:
        if self.store.log(KEY).done is None:
            return
        weights, outputs = (self.store.read(KEY, name) for name in self.NAMES)
        assert weights.replace(b"weights", b"outputs") == outputs
        assert len(weights) == 51
        assert self.take() is None

    @invariant()
    def one_commit_counts(self) -> None:
        log = self.store.log(KEY)
        assert len(log.commits - log.revoked) <= 1

    @invariant()
    def not_done_is_ready(self) -> None:
        log = self.store.log(KEY)
        if log.done is None:
            attempt = self.take()
            assert attempt is not None
            assert attempt.number > max(log.leases, default=0)
            attempt.release()
