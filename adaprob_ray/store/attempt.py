"""Who holds a cell: the log of its attempts, heartbeats, and the judgement whether a holder still lives.

    lease/N held ──beat/N every 5 s──> a watcher that sees them change knows that attempt N runs
                └─ no new beat for 30 s of the watcher's own clock, or its process is dead ──> the cell is free

Wall clocks of two hosts are never compared: a watcher only asks whether a beat differs from the one it saw before,
and times that with its own monotonic clock. What a holder is: host name, boot and pid namespace (two containers may
share a host name), pid, and the start of that process (a pid is used again).
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import psutil

from adaprob_ray.errors import InputError, LeaseLost, StoreError
from adaprob_ray.store.objects import Objects, json_bytes

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 30.0

_FIELDS = {"lease": "leases", "commit": "commits", "failed": "failed", "released": "released", "revoked": "revoked"}
# No leading dot, '#', '%' or backslash: obstore and the systems below it each read some of them in their own way.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@+-]*(/[A-Za-z0-9_][A-Za-z0-9_.=@+-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLog:
    """The attempts of one cell, by number (from 1). `beats`: number -> a token that changes with every heartbeat."""

    leases: frozenset[int] = frozenset()
    commits: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    released: frozenset[int] = frozenset()
    revoked: frozenset[int] = frozenset()
    beats: Mapping[int, str] = field(default_factory=dict, hash=False)

    @property
    def done(self) -> int | None:
        """The lowest committed attempt that is not revoked; None if the cell is not done."""
        return min(self.commits - self.revoked, default=None)

    @property
    def open_attempts(self) -> frozenset[int]:
        """Attempts that hold a lease and have not ended: they run, or their holder is dead."""
        return self.leases - self.commits - self.failed - self.released - self.revoked

    @property
    def last(self) -> int | None:
        """The highest attempt number that stands in any object; None if there was no attempt."""
        return max(self.leases | self.commits | self.failed | self.released | self.revoked, default=None)

    @property
    def attempts(self) -> int:
        """How many attempts were begun."""
        return len(self.leases)


def group(entries: Iterable[Mapping[str, Any]]) -> dict[str, CellLog]:
    """Group the objects under cells/; what is no part of the layout is passed over."""
    numbers: dict[str, dict[str, list[int]]] = {}
    beats: dict[str, dict[int, str]] = {}
    for entry in entries:
        _, key, *rest = entry["path"].split("/")
        cell = numbers.setdefault(key, {})
        if len(rest) == 2 and rest[1].isdecimal():
            kind, number = rest[0], int(rest[1])
            if kind == "beat":
                beats.setdefault(key, {})[number] = token_of(entry) or ""
            elif kind in _FIELDS:
                cell.setdefault(_FIELDS[kind], []).append(number)
    return {
        key: CellLog(beats=beats.get(key, {}), **{name: frozenset(found) for name, found in cell.items()})
        for key, cell in numbers.items()
    }


def token_of(entry: Mapping[str, Any] | None) -> str | None:
    """What changes with every write of an object: its etag, where the storage has them. None for no object."""
    return None if entry is None else str(entry["e_tag"] or f"{entry['last_modified']} {entry['size']}")


def process_started(pid: int) -> float | None:
    """When process `pid` of this host started, as its system counts it; None if there is no such live process.

    Linux: clock ticks since boot, read directly, because psutil adds a boot time that moves when the clock is set.
    Elsewhere: seconds since 1970. A zombie counts as dead.
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else float(fields[19])
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _boot() -> str:
    """Boot id and pid namespace; empty where the system does not tell, and then no holder is judged by its pid."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{namespace}"
    except OSError:
        return "" if Path("/proc/self").exists() else f"{psutil.boot_time():.0f}"


def this_process() -> dict[str, Any]:
    """What a lease says of its holder: host, boot, pid, pid_started."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": _boot(), "pid": pid, "pid_started": process_started(pid)}


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether `holder` is certainly dead: a process of this boot and pid namespace that no longer exists.

    False for a process of elsewhere, and for a holder that does not say enough: only silence can tell there.
    """
    here = this_process()
    if not here["boot"] or (holder.get("host"), holder.get("boot")) != (here["host"], here["boot"]):
        return False
    pid, started = holder.get("pid"), holder.get("pid_started")
    if not isinstance(pid, int) or started is None:
        return False
    return process_started(pid) != started


class Beating(Protocol):
    """What a heart keeps alive."""

    def beat(self) -> None: ...


class Heart:
    """Beats for every watched attempt of this process, `period` seconds apart, from one daemon thread.

    It holds attempts weakly: one that its owner dropped without ending it goes silent and is taken over.
    """

    def __init__(self, period: float = HEARTBEAT_SECONDS) -> None:
        self._period = period
        self._due: weakref.WeakKeyDictionary[Beating, float] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, attempt: Beating) -> None:
        """Beat for `attempt` from one period on, until `forget`."""
        with self._lock:
            self._due[attempt] = time.monotonic() + self._period
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="adaprob-heartbeat", daemon=True)
                self._thread.start()

    def forget(self, attempt: Beating) -> None:
        """Beat no more for `attempt`."""
        with self._lock:
            self._due.pop(attempt, None)

    def close(self) -> None:
        """Stop for good. Called at exit: a daemon thread inside a storage call may abort a dying interpreter."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._stop.wait(self._period / 10):
            self._beat()

    def _beat(self) -> None:
        """Not part of the loop, whose variables would keep the last attempt alive for ever."""
        for attempt in self._take_due(time.monotonic()):
            # Storage may fail for a moment: the next beat is tried one period later.
            with contextlib.suppress(Exception):
                attempt.beat()

    def _take_due(self, now: float) -> list[Beating]:
        with self._lock:
            due = [attempt for attempt, at in self._due.items() if at <= now]
            self._due.update((attempt, now + self._period) for attempt in due)
        return due


HEART = Heart()
atexit.register(lambda: HEART.close())


def _new_heart() -> None:
    """In a forked child: its parent's attempts are the parent's to keep alive, and no thread came along."""
    global HEART
    HEART = Heart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_heart)


class Below(Protocol):
    """What leases need of the store below them."""

    location: str
    objects: Objects

    def log(self, key: str) -> CellLog: ...
    def holder(self, key: str, number: int) -> dict[str, Any] | None: ...
    def beat_token(self, key: str, number: int) -> str | None: ...


class Attempt:
    """The right to make cell `key`, as its attempt `number`. End it by commit, fail or release; a `with` releases."""

    def __init__(self, store: Below, key: str, number: int) -> None:
        self.key, self.number = key, number
        self._store = store
        self._files: dict[str, dict[str, Any]] = {}
        self._ended = ""
        self._beats = 0

    def write(self, name: str, data: bytes) -> None:
        """Write artefact `name` (it may contain folders). Nobody sees it before the commit, nor half of it ever.

        Raises InputError for a name that is not plain, StoreError if the attempt has ended.
        """
        self._require_open()
        require(NAME, name, "artefact name")
        self._store.objects.put(f"attempts/{self.key}/{self.number}/{name}", data)
        self._files[name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def keep(self, checkpoint: bytes) -> None:
        """Put or replace what this attempt leaves to the next one, should it not end itself: no artefact, see the store."""
        self._require_open()
        self._store.objects.put(f"checkpoints/{self.key}/{self.number}", _sealed(checkpoint))

    def commit(self, facts: Mapping[str, Any]) -> None:
        """Make the cell done with the files written so far and `facts` (JSON).

        Raises LeaseLost if this attempt was revoked or a later one is committed. After any error the attempt is still
        open: commit again, or fail, or release.
        """
        self._require_open()
        log = self._store.log(self.key)
        if self.number in log.revoked:
            raise LeaseLost(f"attempt {self.number} of cell {self.key} was revoked")
        later = [number for number in log.commits - log.revoked if number > self.number]
        if later:
            raise LeaseLost(f"attempt {later[0]} of cell {self.key} is committed, later than {self.number}")
        self._end("commit", {"files": self._files, "facts": facts})

    def fail(self, failure_class: str, message: str, traceback: str, log: str = "") -> None:
        """Keep the failure; the cell is not done and free again. `failure_class`: see errors.py."""
        self._end("failed", {"class": failure_class, "message": message, "traceback": traceback, "log": log})

    def release(self) -> None:
        """Give the cell up without a result; it is free at once."""
        self._end("released", {})

    def beat(self) -> None:
        """Say that this attempt still runs. The count makes each beat differ even where a token is a hash of bytes."""
        self._beats += 1
        path = f"cells/{self.key}/beat/{self.number}"
        self._store.objects.put(path, json_bytes({"count": self._beats, "at": now()}))

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            self.release()

    def _end(self, kind: str, document: Mapping[str, Any]) -> None:
        self._require_open()
        # Only the owner creates these: one that is there already is its own, from a try whose answer was lost.
        self._store.objects.create(f"cells/{self.key}/{kind}/{self.number}", {**document, "at": now()})
        self._ended = kind
        HEART.forget(self)

    def _require_open(self) -> None:
        if self._ended:
            raise StoreError(f"attempt {self.number} of cell {self.key} has ended ({self._ended})")


@dataclass(slots=True)
class _Sight:
    number: int
    holder: dict[str, Any]
    tokens: set[str | None]  # all that were seen: an old listing must not pass for a new beat
    since: float


class LeaseWatcher:
    """Judges leases by what it has seen itself; keep one and ask it again and again.

    `stale_after`: seconds of `clock` without a new beat after which a holder is dead.
    """

    def __init__(self, stale_after: float = STALE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_after = stale_after
        self._clock = clock
        self._sights: dict[tuple[str, str], _Sight] = {}

    def is_live(self, store: Below, key: str, log: CellLog) -> bool:
        """Whether somebody holds the cell now. Raises StoreError if the lease cannot be read.

        Only the last attempt counts: whoever began it found the earlier ones ended or dead.
        """
        number = log.last
        if number is None or number not in log.open_attempts:
            self._sights.pop((store.location, key), None)
            return False
        sight = self._look(store, key, number, log.beats.get(number))
        return not is_dead(sight.holder) and not self._is_silent(store, key, sight)

    def _look(self, store: Below, key: str, number: int, token: str | None) -> _Sight:
        sight = self._sights.get((store.location, key))
        if sight is None or sight.number != number:
            sight = _Sight(number, store.holder(key, number) or {}, {token}, self._clock())
            self._sights[store.location, key] = sight
        self._heard(sight, token)
        return sight

    def _heard(self, sight: _Sight, token: str | None) -> bool:
        if token in sight.tokens:
            return False
        sight.tokens.add(token)
        sight.since = self._clock()
        return True

    def _is_silent(self, store: Below, key: str, sight: _Sight) -> bool:
        if self._clock() - sight.since < self._stale_after:
            return False
        # A listing may be old: NFS caches folders for longer than a lease lasts. Opening the object itself does not.
        return not self._heard(sight, store.beat_token(key, sight.number))


def _sealed(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode() + data


def unsealed(data: bytes) -> bytes | None:
    """What was sealed; None if it is not whole."""
    content = data[64:]
    return content if _sealed(content) == data else None


def require(pattern: re.Pattern[str], text: str, what: str) -> str:
    """`text`, if all of it fits `pattern`. Raises InputError."""
    if not pattern.fullmatch(text):
        raise InputError(f"{what} {text!r} is not plain (possible: {pattern.pattern})")
    return text


def now() -> str:
    """For people only: nothing is decided by it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
