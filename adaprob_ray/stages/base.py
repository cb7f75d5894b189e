"""What every stage gets and returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from adaprob_ray.data.batches import Subsets, load_subsets
from adaprob_ray.data.dataset import Dataset
from adaprob_ray.errors import NotDone
from adaprob_ray.methods.context import check_deadline
from adaprob_ray.metrics.outputs import Evaluation
from adaprob_ray.sweep.cell import Cell, canonical
from adaprob_ray.sweep.cell_settings import CellSettings
from adaprob_ray.sweep.registry import Registry
from adaprob_ray.training.training_state import Checkpoints

# Bytes of a cell's small files: series, record, lease and commit.
SMALL_FILE_BYTES = 4_000


class Reader(Protocol):
    """The read-only store interface that stages use."""

    def read(self, key: str, name: str) -> bytes: ...
    def cell(self, key: str) -> dict[str, Any] | None: ...
    def commit(self, key: str) -> Any: ...


class Display(Protocol):
    """Shows what no cell and no Record reads. It raises nothing: a view never fails the work.

    epoch_metrics: whether an unlearning shows its metrics after each epoch.
    """

    epoch_metrics: bool

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each series, by tag."""

    def evaluation(self, evaluation: Evaluation) -> None:
        """What a model says of the samples to forget, and of others."""

    def failed(self, error: Exception) -> None:
        """Something that was to be shown cannot be computed."""


@dataclass(kw_only=True)
class StageContext:
    """Where a cell runs.

    registry: the names that its settings use.
    report: is called as `report(step, **scalars)` for every point of a series.
    display: shows what is not part of the series; None shows nothing.
    deadline: on the monotonic clock, None for none.
    checkpoints: where interrupted training resumes from; None disables resuming.
    """

    store: Reader
    registry: Registry
    data_root: Path
    device: torch.device
    report: Callable[..., None]
    display: Display | None = None
    deadline: float | None = None
    checkpoints: Checkpoints | None = None
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def record_series(self, step: int, **scalars: float) -> None:
        """Add a point to the cell's series and report it. Raises DeadlineExceeded once the deadline has passed."""
        check_deadline(self.deadline)
        for name, value in scalars.items():
            self.series.setdefault(name, []).append((step, float(value)))
        self.report(step, **scalars)

    def resume_series(self, series: Mapping[str, list[tuple[int, float]]]) -> None:
        """Take over the series of an earlier attempt, and report it again."""
        for name, points in series.items():
            self.series[name] = list(points)
            for step, value in points:
                self.report(step, **{name: value})

    def serialize_series(self) -> bytes:
        """The series as JSON; what is not finite becomes null."""
        finite = {
            name: [(step, value if math.isfinite(value) else None) for step, value in points]
            for name, points in self.series.items()
        }
        return canonical(finite).encode()

    def subsets(self, settings: CellSettings) -> Subsets:
        """The training, validation and test subsets of a cell's data set and seed, on the device."""
        return load_subsets(
            cast(Dataset, self.registry.dataset(settings.dataset)),
            self.data_root,
            settings.seed,
            test_pool=settings.dataset.test_pool,
            device=self.device,
        )

    def parent(self, key: str) -> Cell:
        """The cell that a parent is. Raises NotDone for one that was never started."""
        document = self.store.cell(key)
        if document is None:
            raise NotDone(key)
        return self.registry.cell(document)

    def facts(self, key: str) -> dict[str, Any]:
        """The facts that a parent's cell committed. Raises NotDone if it is not done."""
        commit = self.store.commit(key)
        if commit is None:
            raise NotDone(key)
        return dict(commit.facts)


@dataclass(frozen=True)
class StageOutput:
    """Artefacts by file name, and facts: flat numbers and words that join every Record of the model."""

    files: dict[str, bytes]
    facts: dict[str, Any]
