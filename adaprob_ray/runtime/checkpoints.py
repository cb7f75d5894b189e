"""The checkpoints of one attempt, in the store beside the cells."""

from __future__ import annotations

import contextlib
import time

from adaprob_ray.errors import StoreError
from adaprob_ray.lease import Attempt
from adaprob_ray.store import Store

PERIOD_SECONDS = 60.0
MOST_OF_TIME = 0.01  # spent on keeping them, where storage is slow or the network large


class AttemptCheckpoints:
    """See adaprob_ray.checkpoint.Checkpoints. `made_by`: a training made by another fingerprint is not gone on with."""

    made_by = ""

    def __init__(self, store: Store, attempt: Attempt) -> None:
        self._store, self._attempt = store, attempt
        self._there = False  # whether there may be something to drop
        self._kept_at, self._took = time.monotonic(), 0.0

    def last(self) -> bytes | None:
        if self._attempt.number == 1:
            return None
        data = self._store.checkpoint(self._attempt.key)
        self._there = self._there or data is not None
        mark = self.made_by.encode()
        return data[len(mark) :] if data is not None and data.startswith(mark) else None

    def due(self) -> bool:
        return time.monotonic() - self._kept_at >= max(PERIOD_SECONDS, self._took / MOST_OF_TIME)

    def keep(self, data: bytes) -> None:
        start = time.monotonic()
        with contextlib.suppress(StoreError):  # a training does not end for want of one; the commit will tell
            self._attempt.keep(self.made_by.encode() + data)
            self._there = True
        self._kept_at = time.monotonic()
        self._took = self._kept_at - start

    def drop(self) -> None:
        """The cell is done. What cannot be deleted now stays and harms nobody."""
        if self._there:
            with contextlib.suppress(StoreError):
                self._store.drop_checkpoints(self._attempt.key)
