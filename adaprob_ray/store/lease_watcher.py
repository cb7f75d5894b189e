"""Whether the holder of a lease still lives: judged by its heartbeats, or by its process if that ran on this host.

    lease/N exists ── beat/N every 5 s ──> a watcher that sees the heartbeats change knows that attempt N runs
                └─ no new heartbeat for 30 s of the watcher's own clock, or its process is dead ──> the cell is free

Wall clocks of two hosts are never compared: a watcher only asks whether a heartbeat differs from those that it saw
before, and times that with its own monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaprob_ray.store.holder import Holder, is_dead
from adaprob_ray.store.log import CellLog

if TYPE_CHECKING:
    from adaprob_ray.store.store import Store

STALE_SECONDS = 30.0


@dataclass(slots=True)
class _Observation:
    number: int
    holder: Holder
    etags: set[str | None]  # all that were seen: an old listing must not pass for a new heartbeat
    changed_at: float


class LeaseWatcher:
    """Judges leases by what it has observed itself: keep one watcher and ask it repeatedly.

    Args:
        stale_after: Seconds of `clock` without a new heartbeat after which a holder counts as dead.
        clock: A monotonic clock.
    """

    def __init__(self, stale_after: float = STALE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_after = stale_after
        self._clock = clock
        self._observations: dict[tuple[str, str], _Observation] = {}

    def is_live(self, store: Store, key: str, log: CellLog) -> bool:
        """Whether somebody holds the cell now. Raises StoreError if the lease cannot be read.

        Only the last attempt counts: whoever began it saw that the earlier ones had ended or were dead.
        """
        number = log.last
        if number is None or number not in log.open_attempts:
            self._observations.pop((store.location, key), None)
            return False
        etag = log.beats.get(number)
        observation = self._observations.get((store.location, key))
        if observation is None or observation.number != number:
            observation = _Observation(number, store.holder(key, number) or Holder(), {etag}, self._clock())
            self._observations[store.location, key] = observation
        self._is_new(observation, etag)
        if is_dead(observation.holder):
            return False
        if self._clock() - observation.changed_at < self._stale_after:
            return True
        # A listing may be old: NFS caches folders for longer than a lease lasts. Opening the object itself does not.
        return self._is_new(observation, store.beat_etag(key, number))

    def _is_new(self, observation: _Observation, etag: str | None) -> bool:
        """Whether this heartbeat was not seen before; notes it and the time."""
        if etag in observation.etags:
            return False
        observation.etags.add(etag)
        observation.changed_at = self._clock()
        return True


class AssumeExpired(LeaseWatcher):
    """Takes the judgement of another process that attempt `number` is dead, and any other holder for alive."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def is_live(self, store: Store, key: str, log: CellLog) -> bool:
        return log.last in log.open_attempts and log.last != self._number
