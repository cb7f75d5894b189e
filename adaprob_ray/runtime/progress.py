"""What is shown while a sweep runs: cells done, running, waiting and failed, and the remaining time."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from adaprob_ray.runtime.cell_seconds import remaining_seconds
from adaprob_ray.runtime.cell_source import CellSource
from adaprob_ray.sweep.cell import Cell

# Between refreshes on a terminal: counting ten thousand cells takes 30 ms.
REFRESH_SECONDS = 0.25
# Between lines where the output is not a terminal.
LINE_SECONDS = 10.0
# A console that is gone, closed or cannot encode a title: what is shown must never cost a cell.
DISPLAY_ERRORS = (OSError, ValueError)


def announce(line: str, console: Console | None = None) -> None:
    """Print a line, on standard error unless there is a console."""
    with contextlib.suppress(*DISPLAY_ERRORS):
        (console or Console(stderr=True)).print(line, highlight=False, soft_wrap=True)


class ProgressReporter:
    """A live line on a terminal; elsewhere a line every ten seconds, and one at the end.

    `slots`: how many cells can run at once; set it when the cluster changes.
    """

    def __init__(self, source: CellSource, *, slots: int = 1, console: Console | None = None) -> None:
        self._source, self.slots = source, slots
        self._console = console or Console(stderr=True)
        self._live: Live | None = None
        self._start = self._last_line = time.monotonic()
        self._shown_failures: set[str] = set()

    def __enter__(self) -> ProgressReporter:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            with contextlib.suppress(*DISPLAY_ERRORS):
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            with contextlib.suppress(*DISPLAY_ERRORS):
                self._live.stop()
        self._print(self.line())

    def _print(self, line: str) -> None:
        announce(line, self._console)

    def update(self, cell: Cell | None = None) -> None:
        """Refresh what is shown; `cell` has just ended."""
        if cell is not None and cell.key in self._source.failures and cell.key not in self._shown_failures:
            self._shown_failures.add(cell.key)
            self._print(f"failed: {cell.title}: {self._source.failures[cell.key]}")
        now = time.monotonic()
        if self._live is not None:
            if now - self._last_line < REFRESH_SECONDS:
                return
            self._last_line = now
            titles = [f"  {cell.title}" for cell in self._source.running()[: self.slots]]
            with contextlib.suppress(*DISPLAY_ERRORS):
                self._live.update(Text("\n".join([self.line(), *titles])))
        elif now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            self._print(self.line())

    def line(self) -> str:
        """One line: counts, seconds so far, time left."""
        counts = self._source.counts()
        working = min(counts["running"], self.slots)  # cells beyond the slots wait for an actor
        running = working + counts["leased"]
        waiting = counts["ready"] + counts["waiting"] + counts["running"] - working
        items = [f"{counts['done']} done", f"{running} running", f"{waiting} waiting", f"{counts['failed']} failed"]
        if counts["blocked"]:
            items.append(f"{counts['blocked']} blocked")
        remaining = self.seconds_left()
        items.append(f"{time.monotonic() - self._start:.0f} s so far")
        if waiting + running:
            items.append("time left not known yet" if remaining is None else f"about {remaining:.0f} s left")
        remark = self._source.remark()
        return f"{remark + ', ' if remark else ''}{len(self._source.cells)} cells: " + ", ".join(items)

    def seconds_left(self) -> float | None:
        """Seconds of the unfinished cells, shared by the slots; see `remaining_seconds`. None before any cell has ended."""
        source = self._source
        executed = [(source.cells[key], spent) for key, spent in source.executed]
        unfinished = {
            source.cells[key]: 0.5 if source.state(key) == "running" else 1.0
            for key in source.cells
            if source.state(key) in ("ready", "waiting", "running")
        }
        total = remaining_seconds(unfinished, executed)
        if total is None:
            return None
        total += source.cells_to_come * sum(seconds for _, seconds in executed) / len(executed)
        return total / self.slots
