"""Copy: finished cells from one store to another, each checked against its commit on the way.

A cell is copied like one that is computed: under a lease, its files first, its commit last. Whatever stops a copy, a cell is
either done in the target with all its files or not done there, and the next copy completes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from adaprob_ray.errors import LeaseLost
from adaprob_ray.store.contents import Corruption, in_threads, read_commit, read_document
from adaprob_ray.store.lease_watcher import STALE_SECONDS
from adaprob_ray.store.store import Store

# Between looks at cells that another process holds in the target.
POLL_SECONDS = 1.0


@dataclass(kw_only=True)
class CopyResult:
    """What became of each cell, by key. `held`: another process works on it in the target."""

    copied: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    corrupt: list[Corruption] = field(default_factory=list)
    bytes: int = 0


def copy_cells(
    source: Store,
    target: Store,
    keys: Collection[str],
    *,
    on_cell: Callable[[], object] = lambda: None,
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> CopyResult:
    """Copy the finished cells among `keys`, and the sweep files.

    Args:
        source: Where they are; nothing is written there, not even about corrupt artefacts.
        target: Where they go. A cell that is done there is left as it is.
        keys: The cells, parents before children. Those that are not done in `source` are ignored.
        on_cell: Called after each cell, in any thread.
        sleep: Waits for so many seconds.
        clock: A monotonic clock, in seconds.

    Returns:
        What became of each cell. A corrupt one is not copied.

    Raises:
        StoreError: If a storage fails. What was copied so far stays, and the next call continues.
    """
    result = CopyResult()
    done, there = source.survey(), target.survey()
    attempts = {key: number for key in keys if key in done and (number := done[key].done) is not None}
    result.present = [key for key in attempts if key in there and there[key].done is not None]
    waiting = [key for key in attempts if key not in set(result.present)]
    for _ in result.present:
        on_cell()

    def copy(key: str) -> int | Corruption | Literal["held", "present"]:
        outcome = copy_cell(source, target, key, attempts[key])
        if outcome != "held":
            on_cell()
        return outcome

    # The lease of a copy that died on another host is free after 30 s of silence, which the target's own watcher observes.
    end = clock() + STALE_SECONDS + POLL_SECONDS
    while waiting:
        outcomes = dict(zip(waiting, in_threads(copy, waiting), strict=True))
        result.copied += [key for key, outcome in outcomes.items() if isinstance(outcome, int)]
        result.bytes += sum(outcome for outcome in outcomes.values() if isinstance(outcome, int))
        result.corrupt += [outcome for outcome in outcomes.values() if isinstance(outcome, Corruption)]
        result.present += [key for key, outcome in outcomes.items() if outcome == "present"]
        waiting = [key for key, outcome in outcomes.items() if outcome == "held"]
        if waiting and clock() > end:
            result.held, waiting = waiting, []
        if waiting:
            sleep(POLL_SECONDS)
    copy_sweep_files(source, target)
    return result


def copy_cell(source: Store, target: Store, key: str, number: int) -> int | Corruption | Literal["held", "present"]:
    """Copy attempt `number` of a cell.

    Returns:
        The bytes copied, or what is corrupt, or why there was nothing to copy.
    """

    def corrupt(name: str, reason: str) -> Corruption:
        return Corruption(key=key, attempt=number, name=name, reason=reason)

    document, commit = read_document(source, key), read_commit(source, key, number)
    if document is None:
        return corrupt("cell.json", "is missing or cannot be read")
    if commit is None:
        return corrupt("the commit", "cannot be read")
    attempt = target.begin(key, document, owner="store copy", run=f"copy of {source.location}")
    if attempt is None:
        return "present" if target.log(key).done is not None else "held"
    size = 0
    with attempt:
        for name in sorted(commit.files):
            data = source.objects.get(f"attempts/{key}/{number}/{name}")
            fault = commit.fault(name, data)
            if data is None or fault is not None:
                target.objects.delete(f"attempts/{key}/{attempt.number}/{written}" for written in commit.files)
                return corrupt(name, fault or "is missing")
            attempt.write(name, data)
            size += len(data)
        try:
            attempt.commit(commit.facts, at=commit.at)
        except LeaseLost:
            return "held"
    return size


def copy_sweep_files(source: Store, target: Store) -> None:
    """Copy the sweep files that runs left, which `store gc` reads, and the trials of searches."""
    for entry in (*source.objects.list("sweeps"), *source.objects.list("searches")):
        path = entry["path"]
        data = source.objects.get(path)
        present = target.objects.get(path)
        # A trial that the target has already is part of its searches.
        if data is not None and present != data and (present is None or not path.startswith("searches/")):
            target.objects.put(path, data)
