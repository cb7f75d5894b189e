"""Leases of other runs: which cells of a plan they hold. Whether a lease has expired is decided in store/lease_watcher.py."""

from __future__ import annotations

import socket
from contextlib import suppress

from adaprob_ray.errors import Failure, StoreError
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.store import Attempt, CellLog, LeaseWatcher, Store
from adaprob_ray.sweep.cell import Cell


class Leases:
    """Which cells other runs hold, as a LeaseWatcher judges.

    `expired_attempts`: for each cell, the attempt that was judged dead, so that a worker need not watch it for 30 s again.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._watcher = store, LeaseWatcher()
        self.expired_attempts: dict[str, int] = {}

    def is_live(self, key: str, log: CellLog) -> bool:
        """Whether another run holds the cell; an attempt judged dead is noted in `expired_attempts`."""
        if not log.open_attempts:
            return False
        live = self._watcher.is_live(self._store, key, log)
        if not live and log.last is not None:
            self.expired_attempts[key] = log.last
        return live

    def refresh_leases(self, source: CellSource) -> None:
        """Note which of the leased cells are done, or free again."""
        for cell in source.leased():
            log = self._store.log(cell.key)
            if log.done is not None:
                source.observe(cell, "done")
            elif not self.is_live(cell.key, log):
                source.observe(cell, "free")

    def share_this_host(self, source: CellSource) -> bool:
        """Whether another process of this host executes one of the cells that `source` knows to be leased."""
        open_attempts = ((cell.key, self._store.log(cell.key).last) for cell in source.leased())
        holders = (self._store.holder(key, number) for key, number in open_attempts if number is not None)
        return any(holder.host == socket.gethostname() for holder in holders if holder)

    def release_run(self, source: CellSource, run: str) -> None:
        """Release what the workers of this run held when they were stopped, so that nobody waits for them."""
        for cell in source.running():
            with suppress(StoreError):  # the lease expires instead
                for attempt in self._attempts_of(cell, run):
                    attempt.release()

    def fail_attempts(self, cell: Cell, run: str, failure: Failure) -> None:
        """Store the failure of what a dead worker of this run held: the cell is free at once, wherever the worker ran.

        If the worker is alive after all, cut off from the cluster, it may still commit: only one attempt can.
        """
        with suppress(StoreError):  # the lease expires instead
            for attempt in self._attempts_of(cell, run):
                attempt.fail(failure)

    def _attempts_of(self, cell: Cell, run: str) -> list[Attempt]:
        """The open attempts of this run at a cell."""
        holders = {n: self._store.holder(cell.key, n) for n in self._store.log(cell.key).open_attempts}
        return [Attempt(self._store, cell.key, n) for n, holder in holders.items() if holder and holder.run == run]
