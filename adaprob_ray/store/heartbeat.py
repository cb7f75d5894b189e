"""Heartbeats: one daemon thread in each process that holds attempts."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaprob_ray.store.attempt import Attempt

HEARTBEAT_SECONDS = 5.0


class HeartbeatThread:
    """Writes a heartbeat for every watched attempt of this process, `period` seconds apart.

    It holds attempts weakly: one that its owner dropped without ending it falls silent and is taken over.
    """

    def __init__(self, period: float = HEARTBEAT_SECONDS) -> None:
        self._period = period
        self._due: weakref.WeakKeyDictionary[Attempt, float] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def watch(self, attempt: Attempt) -> None:
        """Write heartbeats for `attempt`, the first one period from now, until `unwatch`."""
        with self._lock:
            self._due[attempt] = time.monotonic() + self._period
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="adaprob-heartbeat", daemon=True)
                self._thread.start()

    def unwatch(self, attempt: Attempt) -> None:
        """Write no more heartbeats for `attempt`."""
        with self._lock:
            self._due.pop(attempt, None)

    def close(self) -> None:
        """Stop for good. Called at exit: a daemon thread inside a storage call may abort a dying interpreter."""
        if self._thread is not None and self._pid == os.getpid():  # a forked child has no such thread
            self._stop.set()
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._stop.wait(self._period / 10):
            self._beat()

    def _beat(self) -> None:
        """A method of its own, because local variables of the loop would keep the last attempt alive for ever."""
        now = time.monotonic()
        with self._lock:
            due = [attempt for attempt, deadline in self._due.items() if deadline <= now]
            self._due.update((attempt, now + self._period) for attempt in due)
        for attempt in due:
            # Storage may fail for a moment: the next heartbeat is tried one period later.
            with contextlib.suppress(Exception):
                attempt.beat()


def heartbeat_thread() -> HeartbeatThread:
    """The thread of this process. A forked child gets one of its own, without its parent's attempts."""
    return _thread_of(os.getpid())


@functools.cache
def _thread_of(pid: int) -> HeartbeatThread:
    thread = HeartbeatThread()
    atexit.register(thread.close)
    return thread
