"""Metrics: plain functions of stored Outputs, so that anyone can recompute them without a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from adaprob_ray.metrics.outputs import Evaluation


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A function of an Evaluation and the Record columns that it fills, the first ones first in tables."""

    name: str
    columns: tuple[str, ...]
    compute: Callable[[Evaluation], dict[str, float | None]] = field(repr=False)
    revision: int = 1
