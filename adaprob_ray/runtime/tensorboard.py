"""TensorBoard files: a view of a cell, in a folder of its own, emptied when an attempt starts. Never read back."""

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

from adaprob_ray.settings import flatten
from adaprob_ray.sweep.cell import Cell


class TensorBoardWriter:
    """Writes named scalars, and at the end the cell's settings as hparams. With folder None it does nothing."""

    def __init__(self, folder: Path | None, cell: Cell) -> None:
        self._cell, self._writer = cell, None
        if folder is None:
            return
        own = folder / cell.title
        shutil.rmtree(own, ignore_errors=True)
        self._writer = EventFileWriter(str(own))

    def scalars(self, step: int, **values: float) -> None:
        if self._writer is not None:
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
            self._writer.add_event(Event(summary=summary, step=step, wall_time=time.time()))

    def __enter__(self) -> TensorBoardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Last values as scalars, settings as hparams."""
        if self._writer is None:
            return
        numbers = {name: float(value) for name, value in facts.items() if isinstance(value, (int, float))}
        self.scalars(0, **{f"final/{name}": value for name, value in numbers.items()})
        hparams = summary_v2.hparams_pb(_hyperparameters(self._cell), trial_id=self._cell.title)
        summary = Summary.FromString(hparams.SerializeToString())
        self._writer.add_event(Event(summary=summary, wall_time=time.time()))


def _hyperparameters(cell: Cell) -> dict[str, bool | float | str]:
    """Settings under dotted names, as the hparams plugin takes them."""
    values = {"stage": cell.stage, **flatten(cell.settings.document())}
    return {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in values.items()}
