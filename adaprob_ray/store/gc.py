"""Garbage: what no sweep needs that is to be kept. `find_garbage` only reads; gc_delete.py deletes what it lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adaprob_ray.store.contents import StoredCells
from adaprob_ray.store.lease_watcher import LeaseWatcher
from adaprob_ray.store.live_cells import live_cells, protected_cells
from adaprob_ray.store.log import CellLog
from adaprob_ray.store.names import CELL_KEY
from adaprob_ray.store.store import Store
from adaprob_ray.sweep.registry import Registry

# An unfinished sweep that was active within this time may be running although no cell of it is held: it may wait for machines.
GRACE_SECONDS = 3600.0
UNNEEDED = "no sweep needs it"


@dataclass(frozen=True, kw_only=True)
class GarbageItem:
    """A cell with all that it has, the files of one attempt of a needed cell, or its checkpoints.

    attempt: its number; 0 for a whole cell or for checkpoints.
    log: the cell's log when the garbage was looked for. A cell whose log has changed since is left alone.
    """

    key: str
    title: str
    attempt: int
    reason: str
    bytes: int
    log: CellLog = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """What may be deleted: whole cells, attempts and checkpoints of needed cells, probes (path and size).

    kept: what other runs need, one line each. warnings: what could not be read.
    """

    cells: tuple[GarbageItem, ...]
    attempts: tuple[GarbageItem, ...]
    checkpoints: tuple[GarbageItem, ...]
    probes: Mapping[str, int]
    kept: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes of everything."""
        items = (*self.cells, *self.attempts, *self.checkpoints)
        return sum(item.bytes for item in items) + sum(self.probes.values())


@dataclass
class _Sizes:
    """Bytes of one cell's objects: of its files by attempt, of its checkpoints, and of its document and events."""

    attempts: dict[int, int] = field(default_factory=dict)
    checkpoints: int = 0
    events: int = 0
    is_tombstone: bool = True  # nothing but revoked/N, which gc_delete.py leaves where an attempt never ended


def find_garbage(
    store: Store,
    needed: Iterable[str],
    registry: Registry,
    *,
    watcher: LeaseWatcher | None = None,
    grace_seconds: float = GRACE_SECONDS,
    sleep: Callable[[float], object] = time.sleep,
    on_wait: Callable[[int], object] = lambda count: None,
) -> Garbage:
    """List what is not needed. Writes nothing.

    Args:
        store: The store.
        needed: Keys of the cells to keep, with all their ancestors.
        registry: Reads the cells' documents, and the sweep files that runs left in the store.
        watcher: Judges leases; by default a new one.
        grace_seconds: For how long an unfinished sweep without held cells counts as running.
        sleep: Waits for so many seconds.
        on_wait: Called with the number of cells that have to be watched, for up to 30 s, to know whether they are held.

    Returns:
        The garbage. Nothing of a cell that another run needs is in it.

    Raises:
        StoreError: If the storage fails.
    """
    before = store.survey()
    live = live_cells(store, before, watcher or LeaseWatcher(), sleep=sleep, on_wait=on_wait)
    # The listing comes before the logs: an attempt whose files are in it has its lease in them.
    entries = list(store.objects.list(""))
    logs = store.survey()
    live |= {key for key, log in logs.items() if log.open_attempts and log.last != before.get(key, CellLog()).last}
    sizes = _sizes_by_cell(entries)
    stored = StoredCells.read(store, registry, logs)
    protected = protected_cells(store, stored, logs, live, registry, entries, grace_seconds=grace_seconds)
    keys_to_keep = frozenset(needed) | protected.keys
    cells, attempts, checkpoints = list[GarbageItem](), list[GarbageItem](), list[GarbageItem]()
    for key, size in sizes.items():
        log = logs.get(key, CellLog())

        def item(attempt: int, reason: str, count: int, key: str = key, log: CellLog = log) -> GarbageItem:
            return GarbageItem(key=key, title=stored.title(key), attempt=attempt, reason=reason, bytes=count, log=log)

        if key not in keys_to_keep:
            if not size.is_tombstone:
                cells.append(item(0, UNNEEDED, sum(size.attempts.values()) + size.checkpoints + size.events))
        elif key not in protected.keys:
            for number in sorted(size.attempts.keys() - {log.done}):
                attempts.append(item(number, _reason(log, number), size.attempts[number]))
            if size.checkpoints and log.done is not None:
                checkpoints.append(item(0, "the cell is done", size.checkpoints))
    probes = {e["path"]: e["size"] for e in entries if e["path"].startswith("writable-") and "/" not in e["path"]}
    return Garbage(
        cells=tuple(cells),
        attempts=tuple(attempts),
        checkpoints=tuple(checkpoints),
        probes=probes,
        kept=protected.reasons,
        warnings=protected.warnings,
    )


def _sizes_by_cell(entries: Iterable[Mapping[str, Any]]) -> dict[str, _Sizes]:
    sizes: dict[str, _Sizes] = {}
    for entry in entries:
        folder, *rest = entry["path"].split("/")
        if folder not in ("attempts", "cells", "checkpoints") or len(rest) < 2 or not CELL_KEY.fullmatch(rest[0]):
            continue
        cell = sizes.setdefault(rest[0], _Sizes())
        cell.is_tombstone &= folder == "cells" and rest[1] == "revoked"
        if folder == "checkpoints":
            cell.checkpoints += entry["size"]
        elif folder == "cells":
            cell.events += entry["size"]
        elif rest[1].isdecimal():
            cell.attempts[int(rest[1])] = cell.attempts.get(int(rest[1]), 0) + entry["size"]
    return sizes


def _reason(log: CellLog, number: int) -> str:
    """Why the files of an attempt that does not count are not needed."""
    if number in log.revoked:
        return "revoked"
    if number in log.commits:
        return f"attempt {log.done} counts"
    if number in log.failed:
        return "failed"
    return "released" if number in log.released else "interrupted"
