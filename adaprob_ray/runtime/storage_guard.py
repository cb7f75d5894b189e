"""Stops a run whose storage fails again and again: what it would still compute could not be stored."""

from __future__ import annotations

from adaprob_ray.errors import StoreError
from adaprob_ray.sweep.outcome import Outcome

# A cell is tried three times after a storage failure, so that one failure that passes by itself ends no run.
MAX_FAILURES_IN_A_ROW = 3


class StorageGuard:
    """Counts cells that ended one after the other with a storage failure.

    Example:
        >>> from adaprob_ray.errors import Failure
        >>> guard, failed = StorageGuard(), Outcome("failed", failure=Failure(failure_class="storage", message="disk full"))
        >>> for outcome in (failed, failed, Outcome("done"), failed, failed):
        ...     guard.observe(outcome)
        >>> guard.is_tripped
        False
        >>> guard.observe(failed)
        >>> guard.check("/data/store")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        adaprob_ray.errors.StoreError: store /data/store: stopped after 3 storage failures in a row: disk full; completed ...
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._last = ""

    @property
    def is_tripped(self) -> bool:
        """Whether nothing more should start."""
        return self._in_a_row >= MAX_FAILURES_IN_A_ROW

    def observe(self, outcome: Outcome) -> None:
        """Count the end of one execution. Once tripped, the guard stays so."""
        if self.is_tripped:
            return
        if outcome.failure is not None and outcome.failure.failure_class == "storage":
            self._in_a_row, self._last = self._in_a_row + 1, outcome.failure.message
        elif outcome.status == "done":
            self._in_a_row = 0

    def check(self, location: str) -> None:
        """Raise StoreError in one line, with what to do, if the guard is tripped."""
        if self.is_tripped:
            raise StoreError(
                f"store {location}: stopped after {self._in_a_row} storage failures in a row: {self._last}; completed cells "
                "are saved: free space or repair the storage, then run the same command again"
            )
