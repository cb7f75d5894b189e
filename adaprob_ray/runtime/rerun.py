"""`--rerun`: revokes what was computed of some cells and of all that depends on them, so that a run computes them again."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from adaprob_ray.errors import InputError, first_names
from adaprob_ray.store import CellLog, LeaseWatcher, Store
from adaprob_ray.store.contents import StoredCells
from adaprob_ray.store.live_cells import live_cells
from adaprob_ray.sweep.registry import Registry

HELD_SHOWN = 5  # titles of held cells in one message


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """What is to be computed again.

    done: keys of the finished cells that were asked for.
    done_elsewhere: keys of other finished cells in the store that depend on them, as those of other sweeps.
    affected: the log of each of these cells and of those that depend on them and are not done, by key.
    stored: the cells of the store.
    """

    done: frozenset[str]
    done_elsewhere: frozenset[str]
    affected: Mapping[str, CellLog] = field(repr=False)
    stored: StoredCells = field(repr=False)

    @classmethod
    def find(cls, store: Store, keys: Collection[str], registry: Registry) -> Rerun:
        """These cells, and those of the whole store that depend on them. Writes nothing.

        Args:
            store: The store.
            keys: Keys of the cells that are to be computed again.
            registry: Reads the cells' documents.

        Raises:
            StoreError: If the storage fails.
        """
        logs = store.survey()
        stored = StoredCells.read(store, registry, logs)
        affected = {key: logs[key] for key in stored.descendants(set(keys) & logs.keys()) if key in logs}
        done = frozenset(key for key, log in affected.items() if log.done is not None)
        key_set = frozenset(keys)
        return cls(done=done & key_set, done_elsewhere=done - key_set, affected=affected, stored=stored)

    def revoke(
        self,
        store: Store,
        reason: str,
        *,
        watcher: LeaseWatcher | None = None,
        sleep: Callable[[float], object] = time.sleep,
        on_wait: Callable[[int], object] = lambda count: None,
    ) -> None:
        """Revoke every attempt at the affected cells.

        Children are revoked before their parents: whatever stops this, no result counts whose input does not. What another
        run computes from the old results in the same moment is revoked too, and that run computes it again.

        Args:
            store: The store.
            reason: Is stored with each revoked attempt.
            watcher: Judges leases; by default a new one.
            sleep: Waits for so many seconds.
            on_wait: Called with the number of cells that have to be watched, for up to 30 s, to know whether they are held.

        Raises:
            InputError: Another run holds one of the cells. Nothing is revoked.
            StoreError: If the storage fails.
        """
        held = live_cells(store, self.affected, watcher or LeaseWatcher(), sleep=sleep, on_wait=on_wait)
        if held:
            titles = sorted(self.stored.title(key) for key in held)
            raise InputError(
                "--rerun: must not select cells that another run is computing or needs, got "
                f"{first_names(titles, HELD_SHOWN)}; wait for that run, or stop it"
            )
        # Parents before children, and at the end those whose document, and so whose parents, cannot be read.
        order = [key for key in self.stored.documents if key in self.affected]
        order += self.affected.keys() - self.stored.documents.keys()
        for key in reversed(order):
            _revoke(store, key, self.affected[key], reason)
            store.drop_checkpoints(key)
        # What was begun between the listing and the revocation of its parent may have read that parent.
        logs = store.survey()
        for key in reversed(order):
            if self.stored.parents(key) & self.affected.keys():
                _revoke(store, key, logs.get(key, CellLog()), reason)


def _revoke(store: Store, key: str, log: CellLog, reason: str) -> None:
    """Revoke each attempt that counts, would count without that one, or may yet commit because its process only sleeps."""
    for number in sorted((log.commits | log.open_attempts) - log.revoked, reverse=True):
        store.revoke(key, number, reason)
