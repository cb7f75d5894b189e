"""TensorBoard files of a cell, in a folder of its own that is emptied when an attempt starts. They are never read back."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from adaprob_ray.runtime.tensorboard_mirror import CellUpload
from adaprob_ray.settings import flatten
from adaprob_ray.sweep.cell import Cell


class TensorBoardWriter:
    """Writes named scalars, and at the end the cell's settings as hparams.

    Args:
        folder: Where the cell gets a folder of its own; None writes nothing.
        cell: The cell.
        upload: Sends the files to the store; `folder` is its folder then.
    """

    def __init__(self, folder: Path | None, cell: Cell, upload: CellUpload | None = None) -> None:
        self._cell, self._writer, self._upload = cell, None, upload
        if folder is None:
            return
        cell_folder = folder / cell.title
        shutil.rmtree(cell_folder, ignore_errors=True)
        self._writer = EventFileWriter(str(cell_folder))

    def scalars(self, step: int, **values: float) -> None:
        if self._writer is not None:
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
            self._writer.add_event(Event(summary=summary, step=step, wall_time=time.time()))
            if self._upload is not None and self._upload.due():
                self._writer.flush()
                self._upload.send()

    def __enter__(self) -> TensorBoardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._upload is not None:
            self._upload.close()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Write final values as scalars, and settings as hparams."""
        if self._writer is None:
            return
        numbers = {f"final/{name}": float(value) for name, value in facts.items() if isinstance(value, (int, float))}
        self.scalars(0, **numbers)
        settings = {
            name: value if isinstance(value, (bool, int, float, str)) else str(value)
            for name, value in flatten(self._cell.settings.document()).items()
        }
        hparams = summary_v2.hparams_pb({"stage": self._cell.stage, **settings}, trial_id=self._cell.title)
        summary = Summary.FromString(hparams.SerializeToString())
        self._writer.add_event(Event(summary=summary, wall_time=time.time()))
