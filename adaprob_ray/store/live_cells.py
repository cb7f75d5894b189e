"""Which cells of a store somebody works on now, and what of the store these runs need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from adaprob_ray.errors import InputError
from adaprob_ray.store.contents import StoredCells
from adaprob_ray.store.lease_watcher import STALE_SECONDS, LeaseWatcher
from adaprob_ray.store.log import CellLog
from adaprob_ray.store.store import Store
from adaprob_ray.store.trials import cells_by_study
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.sweep.sweep import Sweep

# Between looks at leases whose holders only their silence can tell to be dead.
POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class ProtectedCells:
    """Keys of the cells that other runs need, live ones included; why, one line each; warnings."""

    keys: frozenset[str]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def live_cells(
    store: Store,
    logs: Mapping[str, CellLog],
    watcher: LeaseWatcher,
    *,
    sleep: Callable[[float], object] = time.sleep,
    on_wait: Callable[[int], object] = lambda count: None,
) -> set[str]:
    """The cells that somebody holds.

    A holder that is not certainly dead is watched for up to STALE_SECONDS: it is alive if it writes a heartbeat, and
    its cell counts as held if anything else happens to it meanwhile. `on_wait` gets the number of such cells.
    """
    undecided = {key: log for key, log in logs.items() if watcher.is_live(store, key, log)}
    live: set[str] = set()
    if undecided:
        on_wait(len(undecided))
    waited = 0.0
    while undecided:
        sleep(POLL_SECONDS)
        waited += POLL_SECONDS
        for key, first in list(undecided.items()):
            log = store.log(key)
            is_held = watcher.is_live(store, key, log)
            if log != first or (is_held and waited > STALE_SECONDS):
                live.add(key)
            elif is_held:
                continue
            del undecided[key]
    return live


def protected_cells(
    store: Store,
    stored: StoredCells,
    logs: Mapping[str, CellLog],
    live: set[str],
    registry: Registry,
    entries: Iterable[Mapping[str, Any]],
    *,
    grace_seconds: float,
) -> ProtectedCells:
    """What other runs need, from the sweep files that `run` puts into the store, and the trials that `search` does.

    A sweep, or a study of a search, is running if a cell of it is live, and may be running (it may wait for machines) if it
    is unfinished and was started or had an event within `grace_seconds`. All cells of such a sweep are protected. Live cells
    of no readable sweep file protect everything that is connected with them.
    """
    keys, reasons, warnings = set(live), list[str](), list[str]()
    newest: dict[str, datetime] = {}
    for entry in entries:
        folder, _, rest = entry["path"].partition("/")
        name = rest.partition("/")[0] if folder == "cells" else entry["path"]
        if folder == "searches":
            name = f"searches/{rest.partition('/')[0]}"
        if folder in ("cells", "sweeps", "searches"):
            newest[name] = max(entry["last_modified"], newest.get(name, entry["last_modified"]))
    in_sweeps: set[str] = set()
    plans = {f"searches/{study}": frozenset(cells) for study, cells in cells_by_study(store).items()}
    for path in sorted(name for name in newest if name.startswith("sweeps/") and name.endswith(".yaml")):
        try:
            plans[path] = frozenset(Sweep.parse((store.objects.get(path) or b"").decode(), registry).cells)
        except (InputError, UnicodeDecodeError):
            warnings.append(f"{path} in the store cannot be read as a sweep file")
    for path, cells in plans.items():
        running = live & cells
        last = max(newest[name] for name in (path, *cells) if name in newest)
        age = max((datetime.now(UTC) - last).total_seconds(), 0.0)
        unfinished = any(key not in logs or logs[key].done is None for key in cells)
        if running:
            in_sweeps |= running
            reasons.append(f"{path} is running (held cells: {len(running)})")
        elif unfinished and age < grace_seconds:
            reasons.append(f"{path} is unfinished and was active {age / 60:.0f} min ago")
        if running or (unfinished and age < grace_seconds):
            keys |= cells
    if alone := live - in_sweeps:
        keys |= stored.connected(alone)
        reasons.append(f"held cells of no readable sweep file: {len(alone)}; all that is connected with them is kept")
    return ProtectedCells(keys=frozenset(stored.ancestors(keys)), reasons=tuple(reasons), warnings=tuple(warnings))
