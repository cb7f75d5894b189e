"""The checkpoints of one attempt, in the store until its cell is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from adaprob_ray.errors import StoreError
from adaprob_ray.runtime.provenance import fingerprint
from adaprob_ray.store import Attempt, Store

# Time between two checkpoints: a training that is stopped loses about a minute.
PERIOD_SECONDS = 60.0
# Fraction of run time that saving may take, where storage is slow or the network is large.
MAX_OVERHEAD = 0.01


class AttemptCheckpoints:
    """Implements adaprob_ray.training.training_state.Checkpoints. `provenance`: its columns of this attempt, set by the caller.

    A checkpoint begins with the fingerprint of the machine and code that wrote it: only an equal one is resumed from.
    """

    def __init__(self, store: Store, attempt: Attempt) -> None:
        self._store, self._attempt = store, attempt
        self.provenance: Mapping[str, Any] = {}
        self._has_saved = False
        self._last_save, self._save_seconds = time.monotonic(), 0.0

    def last(self) -> bytes | None:
        if self._attempt.number == 1:
            return None
        prefix = fingerprint(self.provenance).encode()
        checkpoints = self._store.checkpoints(self._attempt.key)
        return next((data[len(prefix) :] for data in checkpoints if data.startswith(prefix)), None)

    def due(self) -> bool:
        return time.monotonic() - self._last_save >= max(PERIOD_SECONDS, self._save_seconds / MAX_OVERHEAD)

    def save_checkpoint(self, make: Callable[[], bytes]) -> None:
        start = time.monotonic()
        with contextlib.suppress(StoreError):  # training continues without; the commit will fail if storage is down
            self._attempt.save_checkpoint(fingerprint(self.provenance).encode() + make())
            self._has_saved = True
        self._last_save = time.monotonic()
        self._save_seconds = self._last_save - start

    def drop_if_done(self) -> None:
        """Delete the checkpoints only if another attempt finished the cell; otherwise leave them for it."""
        with contextlib.suppress(StoreError):
            if self._store.log(self._attempt.key).done is not None:
                self.drop()

    def drop(self) -> None:
        """Delete the checkpoints: the cell is done. One that cannot be deleted now does no harm."""
        if self._has_saved or self._attempt.number > 1:
            with contextlib.suppress(StoreError):
                self._store.drop_checkpoints(self._attempt.key)
