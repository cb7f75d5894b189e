"""Metrics: plain functions of stored Outputs, so that anyone can recompute them without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from adaprob_ray.metrics.outputs import Evaluation

Compute = Callable[[Evaluation], dict[str, float | None]]


def no_computation(evaluation: Evaluation) -> dict[str, float | None]:
    """For columns that are facts of cells. These join every Record; listing such a metric asks tables to show it."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A function of an Evaluation, and the Record columns that it fills.

    Attributes:
        name: as in the `metrics` of a sweep file.
        about: one sentence for `adaprob-ray list metrics`.
        columns: the most important ones first, as tables show them; units are in their names.
        compute: fills them from an Evaluation; `no_computation` where they are facts of cells.
        needs: names of the stages whose facts fill columns, such as relearn. A sweep that lists the metric runs them.
        revision: to be raised with every change that moves numbers.
        equation: lines of text, for docs/metrics.md, as the four below.
        column_help: what each column is.
        better: which values are good.
        cost: what computing it takes.
        source: the publication or code that it follows.

    Example:
        >>> import numpy as np
        >>> def confidence(evaluation):
        ...     logits = evaluation.model.logits["test"]
        ...     return {"test_top_logit": float(np.mean(logits.max(axis=1)))}
        >>> Metric(name="confidence", columns=("test_top_logit",), compute=confidence).needs
        frozenset()
    """

    name: str
    about: str = ""
    columns: tuple[str, ...]
    compute: Compute = field(default=no_computation, repr=False)
    needs: frozenset[str] = frozenset()
    revision: int = 1
    equation: str = field(default="", repr=False)
    column_help: Mapping[str, str] = field(default_factory=dict, repr=False)
    better: str = field(default="", repr=False)
    cost: str = field(default="", repr=False)
    source: str = field(default="", repr=False)
