"""The checkpoints of one attempt, in the store beside the cells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from adaprob_ray.errors import StoreError
from adaprob_ray.runtime.provenance import fingerprint
from adaprob_ray.store import Store
from adaprob_ray.store.attempt import Attempt

PERIOD_SECONDS = 60.0
MOST_OF_TIME = 0.01  # spent on keeping them, where storage is slow or the network large


class AttemptCheckpoints:
    """See adaprob_ray.training.checkpoint.Checkpoints. `where`: what `provenance` says of this attempt, once it is known.

    A checkpoint begins with the fingerprint of what made it: only one's own kind is gone on with.
    """

    def __init__(self, store: Store, attempt: Attempt) -> None:
        self._store, self._attempt = store, attempt
        self.where: Mapping[str, Any] = {}
        self._kept = False
        self._kept_at, self._took = time.monotonic(), 0.0

    def last(self) -> bytes | None:
        if self._attempt.number == 1:
            return None
        mark = fingerprint(self.where).encode()
        found = (data[len(mark) :] for data in self._store.checkpoints(self._attempt.key) if data.startswith(mark))
        return next(found, None)

    def due(self) -> bool:
        return time.monotonic() - self._kept_at >= max(PERIOD_SECONDS, self._took / MOST_OF_TIME)

    def keep(self, make: Callable[[], bytes]) -> None:
        start = time.monotonic()
        with contextlib.suppress(StoreError):  # a training does not end for want of one; the commit will tell
            self._attempt.keep(fingerprint(self.where).encode() + make())
            self._kept = True
        self._kept_at = time.monotonic()
        self._took = self._kept_at - start

    def drop_if_done(self) -> None:
        """Where another attempt may have finished the cell; where it has not, it may go on with these."""
        with contextlib.suppress(StoreError):
            if self._store.log(self._attempt.key).done is not None:
                self.drop()

    def drop(self) -> None:
        """The cell is done. What cannot be deleted now stays and harms nobody."""
        if self._kept or self._attempt.number > 1:
            with contextlib.suppress(StoreError):
                self._store.drop_checkpoints(self._attempt.key)
