"""TensorBoard files of cells that are done and have none: they ran in another sweep, before, or where no file could be written.

Whatever they would show is in the store, except metrics after each epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from threading import Event

from tensorboard.compat.proto.summary_pb2 import Summary

from adaprob_ray.metrics.outputs import Outputs, make_evaluation
from adaprob_ray.runtime.tensorboard import (
    MAX_SERIES_BYTES,
    evaluation_summaries,
    fact_tags,
    file_mark,
    file_name,
    report_tags,
)
from adaprob_ray.runtime.tensorboard_events import event_file, scalars_summary, session_end, session_start
from adaprob_ray.runtime.tensorboard_layout import Layout, TensorBoardRun
from adaprob_ray.runtime.tensorboard_mirror import mirror_folder
from adaprob_ray.store import Commit, Store
from adaprob_ray.store.contents import in_threads, read_commit
from adaprob_ray.store.names import OUTPUTS, SERIES
from adaprob_ray.store.side_files import SideFiles
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import EvaluateSettings

# Cells between two looks at whether to stop.
BATCH = 64
# Outputs are large: so many bytes of them are read for histograms, which the rest of the evaluations then lack.
MAX_OUTPUTS_BYTES = 500_000_000


def write_missing(
    cells: Mapping[str, Cell], layout: Layout, store: Store, sweep: str, stop: Event | None = None
) -> set[str]:
    """Write a file for each cell that is done and has none in a folder of its runs.

    Args:
        cells: Of the sweep, by key.
        layout: Of these cells.
        store: Where their results are, and where the files are written. No damage is revoked.
        sweep: Its name.
        stop: Ends the work before all is written.

    Returns:
        Keys of the cells that are done.

    Raises:
        StoreError: If the storage fails.
    """
    # A cell leaves its file before it is done: this order finds the files of all cells that are.
    attempts = {key: log.done for key, log in store.survey().items() if log.done is not None}
    files = SideFiles(store, mirror_folder(sweep))
    present = set()
    for name in files.sizes():
        folder, _, file = name.rpartition("/")
        present |= {(folder, f".{segment}.") for segment in file.split(".")}
    missing = [
        (cell, run)
        for key, cell in cells.items()
        if key in attempts
        for run in layout.runs(cell)
        if (run.folder, file_mark(cell)) not in present
    ]
    history = _History(store, attempts)

    def write(item: tuple[Cell, TensorBoardRun]) -> None:
        cell, run = item
        for name, data in history.files(cell, run).items():
            files.put(f"{run.folder}/{name}", data)

    start = 0
    while start < len(missing) and not (stop is not None and stop.is_set()):
        in_threads(write, missing[start : start + BATCH])
        start += BATCH
    return attempts.keys() & cells.keys()


class _History:
    """Event files of cells that are done, from what the store has of them."""

    def __init__(self, store: Store, attempts: Mapping[str, int]) -> None:
        self._store, self._attempts = store, attempts
        self._outputs_bytes = 0

    def files(self, cell: Cell, run: TensorBoardRun) -> dict[str, bytes]:
        """The file of a cell in one of its runs, by name; none if its commit is damaged.

        The name is that of the attempt, so that two drivers that write it at the same time write one file.
        """
        commit = self._commit(cell.key)
        if commit is None:
            return {}
        at = datetime.fromisoformat(commit.at).timestamp()
        summaries = [(0, session_start(run, at)), *self._series(cell, commit)]
        summaries += [(0, summary) for summary in self._evaluation(cell)]
        summaries.append((0, scalars_summary(fact_tags(cell, commit.facts))))
        if run.ends:
            summaries.append((0, session_end(at)))
        return {file_name(cell, at, f"attempt{commit.number}"): event_file(summaries, at)}

    def _series(self, cell: Cell, commit: Commit) -> Iterator[tuple[int, Summary]]:
        data = self._artefact(cell.key, commit, SERIES)
        size = 0
        for name, points in json.loads(data or b"{}").items():
            for step, value in points:
                if value is not None and size < MAX_SERIES_BYTES:
                    summary = scalars_summary(report_tags(cell, {name: value}))
                    size += summary.ByteSize()
                    yield step, summary

    def _evaluation(self, cell: Cell) -> list[Summary]:
        """Histograms and images of an evaluation."""
        settings, model = cell.settings, cell.parents.get("model", "")
        if not isinstance(settings, EvaluateSettings) or self._outputs_bytes > MAX_OUTPUTS_BYTES:
            return []
        commit = self._commit(model)
        data = None if commit is None else self._artefact(model, commit, OUTPUTS)
        if data is None:
            return []
        self._outputs_bytes += len(data)
        outputs = Outputs.from_bytes(data)
        roles = ("model", "original", "retrain", "retrain_independent")  # only the first is shown
        return evaluation_summaries(make_evaluation(dict.fromkeys(roles, outputs), settings.forget, settings.seed))

    def _commit(self, key: str) -> Commit | None:
        return read_commit(self._store, key, self._attempts[key]) if key in self._attempts else None

    def _artefact(self, key: str, commit: Commit, name: str) -> bytes | None:
        if name not in commit.files:
            return None
        data = self._store.objects.get(f"attempts/{key}/{commit.number}/{name}")
        return data if commit.fault(name, data) is None else None
