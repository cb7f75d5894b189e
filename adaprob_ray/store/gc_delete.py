"""Deletion of garbage, such that whatever stops it, no cell is done with files missing.

A cell is taken like one that is to be computed: its commits are revoked, then it is leased, then its files are deleted, then
its events, and the lease last. Attempts that never ended keep their revoked/N: a process that was believed dead but was only
cut off can then neither commit its attempt nor meet another attempt of the same number.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adaprob_ray.store.contents import in_threads, read_document
from adaprob_ray.store.gc import Garbage, GarbageItem
from adaprob_ray.store.holder import Holder, is_dead
from adaprob_ray.store.log import CellLog
from adaprob_ray.store.names import cell_folder, checkpoint_folder, is_uri
from adaprob_ray.store.store import Store

REVOKED_BECAUSE = "deleted by store gc"
# Deleted in this order: a commit is never without its revocation, and the document says until the end that the cell is garbage.
EVENTS = ("commit", "failed", "released", "beat", "lease", "revoked")


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Bytes deleted, and the items that were left because something happened to their cells meanwhile."""

    bytes: int
    left: tuple[GarbageItem, ...]


def delete_garbage(store: Store, garbage: Garbage) -> Deletion:
    """Delete what `find_garbage` has listed.

    Args:
        store: The store.
        garbage: What to delete. Cells whose log has changed since are left alone.

    Returns:
        What was deleted and what was left.

    Raises:
        StoreError: If the storage fails. The next call continues.
    """
    left: list[GarbageItem] = []
    groups: list[tuple[Callable[[Store, GarbageItem], bool], tuple[GarbageItem, ...]]] = [
        (delete_cell, garbage.cells),
        (delete_attempt, garbage.attempts),
        (delete_checkpoints, garbage.checkpoints),
    ]
    for delete, items in groups:
        deleted = in_threads(partial(delete, store), items)
        left += [item for item, is_deleted in zip(items, deleted, strict=True) if not is_deleted]
    store.objects.delete(garbage.probes)
    return Deletion(bytes=garbage.bytes - sum(item.bytes for item in left), left=tuple(left))


def delete_attempt(store: Store, item: GarbageItem) -> bool:
    """Delete the files of an attempt that does not count; its events stay. False if the cell has changed meanwhile."""
    log, before = store.log(item.key), item.log
    # Other attempts of the cell may have been revoked here, which leaves these as they were.
    if (log.done, log.leases, log.beats) != (before.done, before.leases, before.beats):
        return False
    ended = log.revoked | (log.failed | log.released) - log.commits
    if item.attempt not in ended:
        # It is committed behind the attempt that counts, or its process may only be cut off: it must never count.
        store.revoke(item.key, item.attempt, REVOKED_BECAUSE)
    _delete_folder(store, f"attempts/{item.key}/{item.attempt}")
    return True


def delete_checkpoints(store: Store, item: GarbageItem) -> bool:
    """Delete the checkpoints of a cell that is done. False if the cell has changed meanwhile."""
    if store.log(item.key).done != item.log.done:
        return False
    _delete_folder(store, checkpoint_folder(item.key))
    return True


def delete_cell(store: Store, item: GarbageItem) -> bool:
    """Delete a cell with its attempts and checkpoints. False if it has changed meanwhile."""
    key, log = item.key, store.log(item.key)
    if log != item.log:
        return False
    for number in sorted((log.commits | log.open_attempts) - log.revoked):
        store.revoke(key, number, REVOKED_BECAUSE)
    document = read_document(store, key) or {}
    attempt = store.begin(key, document, owner="store gc", run="store gc")
    if attempt is None:
        return False
    with attempt:
        tombstones = {number for number in _never_ended(log) if not is_dead(store.holder(key, number) or Holder())}
        _delete_folder(store, f"attempts/{key}")
        _delete_folder(store, checkpoint_folder(key))
        paths = [entry["path"] for entry in store.objects.list(cell_folder(key))]
        keep = {f"{cell_folder(key)}/revoked/{number}" for number in tombstones}
        keep |= {f"{cell_folder(key)}/{event}/{attempt.number}" for event in ("lease", "beat")}
        for event in EVENTS:
            store.objects.delete([path for path in paths if path.split("/")[2] == event and path not in keep])
        store.objects.delete([f"{cell_folder(key)}/cell.json"])
    for event in ("beat", "lease", "released"):
        store.objects.delete([f"{cell_folder(key)}/{event}/{attempt.number}"])
    _remove_empty_folders(store, cell_folder(key))
    return True


def _never_ended(log: CellLog) -> frozenset[int]:
    return (log.leases | log.revoked) - log.commits - log.failed - log.released


def _delete_folder(store: Store, folder: str) -> None:
    store.objects.delete([entry["path"] for entry in store.objects.list(folder)])
    _remove_empty_folders(store, folder)


def _remove_empty_folders(store: Store, folder: str) -> None:
    """On a file system an empty folder stays when its last file is deleted."""
    if is_uri(store.location):
        return
    top = Path(store.location) / folder
    for path in sorted((path for path in (top, *top.rglob("*")) if path.is_dir()), reverse=True):
        with suppress(OSError):  # not empty, or removed by another process
            path.rmdir()
