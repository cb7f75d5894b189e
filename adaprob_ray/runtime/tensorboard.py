"""TensorBoard files of a cell: an event file of its own in the folder of each run that it writes to. They are never read back.

metrics/COLUMN               of the evaluation's Record
model/COLUMN                 of the Record too, from the training or unlearning: seconds, passes, distances
per_epoch/NAME               metrics after each epoch of an unlearning, the same for every method
true_class_confidence/KIND   of the samples to forget, of held-out ones of their class, and of retain ones
outputs/tsne                 on request
STAGE/NAME                   what the training or the method itself reports, by epoch or by iteration of the solver

The hparams dashboard shows the first five metrics in alphabetical order unless one asks for more: the errors and divergences.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary

from adaprob_ray.errors import CorruptArtefact, LeaseLost, NotDone
from adaprob_ray.metrics.outputs import Evaluation
from adaprob_ray.runtime.confidence import confidences, evaluation_images
from adaprob_ray.runtime.tensorboard_events import (
    EventStream,
    confidence_summary,
    image_summary,
    scalars_summary,
    session_end,
    session_start,
)
from adaprob_ray.runtime.tensorboard_layout import TensorBoardRun
from adaprob_ray.runtime.tensorboard_mirror import CellUpload
from adaprob_ray.stages.select import SelectSettings
from adaprob_ray.sweep.cell import Cell
from adaprob_ray.sweep.cell_settings import EvaluateSettings, ModelSettings, PretrainSettings

# Of all series of a cell, so that with its images it stays below 1 MB. TensorBoard shows a thousand points of a series.
MAX_SERIES_BYTES = 700_000
# Between two writes to the files, so that curves are live and a fast training does not wait for the disk.
FLUSH_SECONDS = 2.0
# Facts about the run, which are in every commit.
NOT_RESULTS = ("cell_seconds", "threads")
# An attempt that ends so is requeued, by this run or by another that holds the cell now.
UNDECIDED = (CorruptArtefact, LeaseLost, NotDone)


def file_mark(cell: Cell) -> str:
    """What the names of a cell's event files contain, and those of no other cell."""
    return f".{cell.stage}-{cell.key}."


def file_name(cell: Cell, at: float, suffix: str) -> str:
    """The name of an event file. TensorBoard reads the files of a run in the order of their names."""
    return f"events.out.tfevents.{int(at)}{file_mark(cell)}{suffix}"


def report_tags(cell: Cell, values: Mapping[str, float]) -> dict[str, float]:
    """The values that a stage reports, by tag."""
    return {f"{cell.stage}/{name}": value for name, value in values.items()}


def fact_tags(cell: Cell, facts: Mapping[str, Any]) -> dict[str, float]:
    """The results among a cell's facts, by tag. What a stage such as relearn measures is among those of the evaluation."""
    if not isinstance(cell.settings, (PretrainSettings, ModelSettings, EvaluateSettings, SelectSettings)):
        return {}
    group = "metrics" if isinstance(cell.settings, (EvaluateSettings, SelectSettings)) else "model"
    return {f"{group}/{name}": float(value) for name, value in facts.items() if _is_result(name, value)}


def _is_result(name: str, value: Any) -> bool:
    """Whether it is a number that the settings of the cell decide, and not a number of samples or something about the run."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and not name.endswith("_rows") and not name.startswith("run_") and name not in NOT_RESULTS


def evaluation_summaries(evaluation: Evaluation, *, tsne: bool = False) -> list[Summary]:
    """Histograms and images of a model's confidence."""
    histograms = {f"true_class_confidence/{kind}": values for kind, values in confidences(evaluation).items()}
    return [
        confidence_summary(histograms),
        *(image_summary(*image) for image in evaluation_images(evaluation, tsne=tsne)),
    ]


class TensorBoardWriter:
    """Writes the files of a cell, as a `stages.base.Display`. Nothing in it raises: after an error it writes no more.

    The `with` block opens and closes the files. Those of earlier attempts at the cell are deleted, those of other cells are
    left alone.

    Args:
        folder: The folder that has those of the runs; None writes nothing.
        cell: The cell.
        runs: Those that it writes to.
        open_upload: Begins to send the files to the store, from a folder of its own, instead of writing to `folder`.
        umask: A context in which folders and files are created, such as that of a store that a group shares.
        epoch_metrics: Whether an unlearning shows metrics after each epoch.
        tsne: Whether an evaluation shows an embedding of the outputs.

    Attributes:
        error: What went wrong; None if nothing did.
    """

    def __init__(
        self,
        folder: Path | None,
        cell: Cell,
        runs: tuple[TensorBoardRun, ...],
        open_upload: Callable[[], CellUpload] | None = None,
        *,
        umask: Callable[[], AbstractContextManager[None]] = nullcontext,
        epoch_metrics: bool = True,
        tsne: bool = False,
    ) -> None:
        self.epoch_metrics = epoch_metrics
        self.error: str | None = None
        self._folder, self._cell, self._runs, self._tsne = folder, cell, runs, tsne
        self._open_upload, self._umask = open_upload, umask
        self._upload: CellUpload | None = None
        self._streams: list[EventStream] = []
        self._series_bytes, self._flushed = 0, time.monotonic()

    def _open(self, folder: Path) -> EventStream:
        with self._umask():
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob(f"*tfevents*{file_mark(self._cell)}*"):
                file.unlink()
            return EventStream((folder / file_name(self._cell, time.time(), uuid.uuid4().hex[:8])).open("xb"))

    @property
    def is_open(self) -> bool:
        """Whether anything is written."""
        return bool(self._streams)

    def report(self, step: int, **values: float) -> None:
        """A point of each series that the stage reports, by name."""
        self.scalars(step, report_tags(self._cell, values))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each series, by tag; dropped where the series are too long."""
        with self._reporting_errors():
            if self._series_bytes < MAX_SERIES_BYTES:
                summary = scalars_summary(values)
                self._series_bytes += sum(stream.add(summary, step=step) for stream in self._streams)
            if time.monotonic() - self._flushed >= FLUSH_SECONDS:
                self._flush()

    def evaluation(self, evaluation: Evaluation) -> None:
        """Histograms and images of the confidence in the true class."""
        with self._reporting_errors():
            for summary in evaluation_summaries(evaluation, tsne=self._tsne) if self._streams else ():
                for stream in self._streams:
                    stream.add(summary)

    def failed(self, error: Exception) -> None:
        """Something that was to be shown cannot be computed."""
        self.error = self.error or f"{type(error).__name__}: {error}"

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write the facts of the stage, and the success of the runs that end with this cell."""
        with self._reporting_errors():
            tags = fact_tags(self._cell, facts)
            self._each(lambda run: scalars_summary(tags))
            self._each(lambda run: session_end(time.time()) if run.ends else None)

    def __enter__(self) -> TensorBoardWriter:
        with self._reporting_errors():
            if self._open_upload is not None:
                self._upload = self._open_upload()
                self._folder = self._upload.folder
            for folder in [] if self._folder is None else [self._folder / run.folder for run in self._runs]:
                self._streams.append(self._open(folder))
            self._each(lambda run: session_start(run, time.time()))
            self._flush()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._reporting_errors():
            if isinstance(error, Exception) and not isinstance(error, UNDECIDED):
                self._each(lambda run: session_end(time.time(), failed=True))
        with self._reporting_errors():
            streams, self._streams = self._streams, []
            for stream in streams:
                stream.close()
            if self._upload is not None:
                self._upload.close()
                self.error = self.error or self._upload.error

    def _each(self, summary_of: Callable[[TensorBoardRun], Summary | None]) -> None:
        """Write a summary to each run, of which `summary_of` makes it."""
        for run, stream in zip(self._runs, self._streams, strict=False):
            summary = summary_of(run)
            if summary is not None:
                stream.add(summary)

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        for stream in self._streams:
            stream.flush()
        if self._upload is not None:
            self._upload.send_if_due()

    @contextmanager
    def _reporting_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.failed(error)
            streams, self._streams = self._streams, []
            for stream in streams:
                with suppress(Exception):
                    stream.close()
