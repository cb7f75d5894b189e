"""TensorBoard on the side of the driver: which runs each cell writes to, what is missing, and one warning if writing fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from adaprob_ray.runtime.tensorboard_layout import Layout, RunLayout, TensorBoardRun, tensorboard_folder
from adaprob_ray.runtime.tensorboard_mirror import Mirror
from adaprob_ray.store import Store
from adaprob_ray.store.names import is_uri
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.outcome import Outcome


@dataclass(frozen=True, kw_only=True)
class TensorBoardOptions:
    """What is written for TensorBoard.

    enabled: anything at all.
    epoch_metrics: metrics after each epoch of an unlearning.
    tsne: an image of each evaluated model's outputs in the plane.
    """

    enabled: bool = True
    epoch_metrics: bool = True
    tsne: bool = False


DEFAULT_OPTIONS = TensorBoardOptions()


class TensorBoardDriver:
    """For the time of a run, in a `with` block: files that are missing are written, and copied from a store at a URI.

    Args:
        store: The store.
        sweep: The name of the sweep.
        cells: All cells of the sweep, by key.
        options: What is written.
        warn: Gets at most one line, about the first error.
        layout: The runs that cells write to; by default those of a sweep with these cells.
    """

    def __init__(
        self,
        store: Store,
        sweep: str,
        cells: Mapping[str, Cell],
        options: TensorBoardOptions,
        warn: Callable[[str], None],
        *,
        layout: Layout | None = None,
    ) -> None:
        self._store, self._sweep, self._cells, self._options, self._warn = store, sweep, cells, options, warn
        self._layout: Layout = RunLayout(cells) if layout is None else layout
        self._warned = False
        self._shown: set[str] = set()  # keys of cells whose files are written, here or by workers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_missing, name="adaprob-tensorboard-history", daemon=True)
        self.folder = tensorboard_folder(store.location, sweep)
        self._is_remote = is_uri(store.location)
        self._mirror = Mirror(store, sweep, self.folder) if self._is_remote and options.enabled else None

    def run_config(self) -> dict[str, Any]:
        """The fields of `RunConfig` that say where and what workers write."""
        options = self._options
        return {
            "tensorboard_dir": self.folder if options.enabled and not self._is_remote else None,
            "tensorboard_sweep": self._sweep if options.enabled and self._is_remote else None,
            "epoch_metrics": options.epoch_metrics,
            "tsne": options.tsne,
        }

    def runs(self, cell: Cell) -> tuple[TensorBoardRun, ...]:
        """The runs that a cell writes to, which is about to be executed."""
        self._shown.add(cell.key)
        return self._layout.runs(cell)

    def observe(self, outcome: Outcome) -> None:
        """Warn of the first cell whose files could not be written."""
        if outcome.display_error is not None:
            self._warn_once(outcome.display_error)

    def __enter__(self) -> TensorBoardDriver:
        if self._mirror is not None:
            self._mirror.__enter__()
        if self._options.enabled:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._options.enabled:
            if error is not None:
                self._stop.set()
            self._thread.join()
            if self._cells.keys() - self._shown:  # another run may have executed them meanwhile
                self._write_missing()
        if self._mirror is not None:
            self._mirror.__exit__(kind, error, trace)
            if self._mirror.error is not None:
                self._warn_once(f"{self._mirror.error} (they are in the store)")

    def _write_missing(self) -> None:
        from adaprob_ray.runtime.tensorboard_history import write_missing

        try:
            if not self._stop.is_set():
                cells = dict(self._cells)  # a search adds cells at any time
                self._shown |= write_missing(cells, self._layout, self._store, self._sweep, self._stop)
        except Exception as error:  # a view never fails the work
            self._warn_once(f"{type(error).__name__}: {error}")

    def _warn_once(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(f"some TensorBoard files could not be written, the results are not affected: {reason}")
