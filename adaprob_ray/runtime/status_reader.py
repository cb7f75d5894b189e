"""Reads the state of a sweep from its store, again and again: one listing, and of what is new one small object each."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from adaprob_ray.errors import Failure
from adaprob_ray.runtime.cell_seconds import cell_kind
from adaprob_ray.runtime.leases import Leases
from adaprob_ray.runtime.method_source import changed_methods, oldest_method_cells
from adaprob_ray.runtime.planning import lacking_weights
from adaprob_ray.runtime.status_report import RATE_WINDOW, Snapshot, StatusReport, build_report
from adaprob_ray.store import CellLog, Commit, Holder, Store
from adaprob_ray.store.contents import in_threads
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.plan import Plan
from adaprob_ray.sweep.registry import Registry

# Commits read of each kind of cell, the newest: enough for a mean, few enough for a store of 10,000 cells on S3.
COMMITS_PER_KIND = 8
# What a watcher has seen itself tells cells per minute better than the times of objects, once it has watched this long.
OBSERVED_SECONDS = 60.0

Attempt = tuple[str, int]  # key and number
Document = TypeVar("Document")


class StatusReader:
    """Reports how far a sweep is. Writes nothing; keep one reader and ask it repeatedly.

    Args:
        cells: The cells of the sweep, by key, parents before children.
        store: Where their results are.
        registry: The methods, to tell whose source has changed; None does not look.
        clock: A monotonic clock.
    """

    def __init__(
        self,
        cells: Mapping[str, Cell],
        store: Store,
        registry: Registry | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cells, self._store, self._registry, self._clock = cells, store, registry, clock
        self._leases = Leases(store)
        self._commits: dict[Attempt, Commit | None] = {}
        self._holders: dict[Attempt, Holder | None] = {}
        self._failures: dict[Attempt, Failure | None] = {}
        self._observed: deque[tuple[float, int]] = deque()  # time by `clock`, cells done

    def read(self) -> StatusReport:
        """The present state. Raises StoreError if the store cannot be read."""
        snapshot = self._snapshot()
        now = self._clock()
        self._observed.append((now, snapshot.plan.counts()["done"]))
        while now - self._observed[0][0] > RATE_WINDOW.total_seconds():
            self._observed.popleft()
        start, done = self._observed[0]
        rate = None
        if now - start >= OBSERVED_SECONDS:
            rate = 60 * max(self._observed[-1][1] - done, 0) / (now - start)
        return build_report(snapshot, observed_rate=rate)

    def _snapshot(self) -> Snapshot:
        logs = {key: log for key, log in self._store.survey().items() if key in self._cells}
        done = {key: log.done for key, log in logs.items() if log.done is not None}
        self._read(self._commits, lambda key, _: self._store.peek(key), self._wanted_commits(done, logs))
        commits = {key: commit for key, n in done.items() if (commit := self._commits.get((key, n))) is not None}
        finished = set(done) - lacking_weights(self._cells, set(done), commits.get)
        leased = {key for key, log in logs.items() if key not in finished and self._leases.is_live(key, log)}
        held = {key: number for key in leased if (number := logs[key].last) is not None}
        on_gpu = {key: done[key] for key, commit in commits.items() if "run_peak_bytes" in commit.facts}
        self._read(self._holders, self._store.holder, [*held.items(), *on_gpu.items()])
        failed = {key: max(log.failed) for key, log in logs.items() if key not in finished and log.failed}
        self._read(self._failures, self._store.failure, failed.items())
        failures = {key: self._failures[key, n] or Failure.from_document({}) for key, n in failed.items()}
        return Snapshot(
            plan=Plan(
                self._cells,
                done=finished,
                leased=leased,
                past_failures=failures,
                # Not those of cells that were begun once more: their process died or was interrupted, and did not fail.
                skip_failures={key: failures[key] for key, n in failed.items() if n == logs[key].last},
            ),
            logs=logs,
            failures=failures,
            holders={key: holder for key, n in held.items() if (holder := self._holders[key, n]) is not None},
            commits=commits,
            committers={key: holder for key, n in on_gpu.items() if (holder := self._holders[key, n]) is not None},
            read_at=datetime.now(UTC),
            changed_methods={} if self._registry is None else changed_methods(self._cells, self._registry, commits.get),
        )

    def _wanted_commits(self, done: Mapping[str, int], logs: Mapping[str, CellLog]) -> list[Attempt]:
        """The newest of each kind of cell, and those that say whether weights were kept, or what source a method had."""
        kinds: dict[object, list[str]] = defaultdict(list)
        for key in done:
            kinds[cell_kind(self._cells[key])].append(key)
        wanted = {key for key in done if self._cells[key].stage == "unlearn" and self._cells[key].keep == "weights"}
        if self._registry is not None:
            wanted.update(oldest_method_cells(self._cells, self._registry, logs))
        oldest = datetime.min.replace(tzinfo=UTC)
        for keys in kinds.values():
            keys.sort(key=lambda key: logs[key].last_modified or oldest, reverse=True)
            wanted.update(keys[:COMMITS_PER_KIND])
        return [(key, done[key]) for key in wanted]

    @staticmethod
    def _read(
        cache: dict[Attempt, Document | None],
        read: Callable[[str, int], Document | None],
        attempts: Iterable[Attempt],
    ) -> None:
        """Read what the cache lacks. Events of an attempt never change, so that each is read once."""
        missing = [attempt for attempt in attempts if attempt not in cache]
        cache.update(zip(missing, in_threads(lambda attempt: read(*attempt), missing), strict=True))
