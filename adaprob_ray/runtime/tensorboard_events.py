"""The contents of TensorBoard's event files: scalars, histograms, images, and the start and end of a session of hparams."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.metadata import create_summary_metadata
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2, summary_v2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from adaprob_ray.runtime.tensorboard_layout import TensorBoardRun

# Of a confidence, from 0 to 1.
BUCKETS = 40


def scalars_summary(values: Mapping[str, float]) -> Summary:
    """One point of each series, by tag."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def confidence_summary(confidences: Mapping[str, NDArray[np.float64]]) -> Summary:
    """A histogram of each array of confidences, by tag, in the same buckets in every run."""
    edges = np.linspace(0, 1, BUCKETS + 1)
    summary = Summary()
    for tag, values in confidences.items():
        counts, _ = np.histogram(values, edges)
        buckets = np.stack([edges[:-1], edges[1:], counts], axis=1)
        metadata = create_summary_metadata(display_name=None, description="")
        summary.value.add(tag=tag, metadata=metadata, tensor=make_tensor_proto(buckets, dtype=np.float64))
    return summary


def image_summary(tag: str, png: bytes, size: tuple[int, int]) -> Summary:
    """A PNG image of `size` (width, height)."""
    image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def session_start(run: TensorBoardRun, at: float) -> Summary:
    """The settings of a run, under its folder as the trial's name."""
    hparams = summary_v2.hparams_pb(dict(run.hparams), trial_id=run.folder, start_time_secs=at)
    return Summary.FromString(hparams.SerializeToString())


def session_end(at: float, *, failed: bool = False) -> Summary:
    """The end of a run, with its status."""
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=at)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    metadata = hparams_metadata.create_summary_metadata(data)
    summary = Summary()
    summary.value.add(tag=hparams_metadata.SESSION_END_INFO_TAG, metadata=metadata, tensor=hparams_metadata.NULL_TENSOR)
    return summary


class EventStream:
    """Writes events to a binary file, beginning with the version of the format."""

    def __init__(self, sink: BinaryIO, *, at: float | None = None) -> None:
        self._sink, self._records = sink, RecordWriter(sink)
        self._write(Event(file_version="brain.Event:2", wall_time=time.time() if at is None else at))

    def add(self, summary: Summary, *, step: int = 0, at: float | None = None) -> int:
        """Write a summary, by default of now. Returns its bytes."""
        return self._write(Event(summary=summary, step=step, wall_time=time.time() if at is None else at))

    def flush(self) -> None:
        self._sink.flush()

    def close(self) -> None:
        self._sink.close()

    def _write(self, event: Event) -> int:
        data = event.SerializeToString()
        self._records.write(data)
        return len(data)


def event_file(summaries: Iterable[tuple[int, Summary]], at: float) -> bytes:
    """A whole event file of (step, summary), all of one time."""
    sink = io.BytesIO()
    stream = EventStream(sink, at=at)
    for step, summary in summaries:
        stream.add(summary, step=step, at=at)
    return sink.getvalue()
