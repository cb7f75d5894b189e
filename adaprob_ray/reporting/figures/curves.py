"""Curves over steps: a scalar of cells' stored series, and solvers' residuals against passes (results/projection_curve.csv)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.records.metric_format import column

Series = Mapping[str, Sequence[tuple[int, float | None]]]  # as `series.json` of a cell: scalar → [step, value or null]


@dataclass(frozen=True)
class Trajectory:
    """Name → (step, value) in order; a value that was not finite is NaN.

    `methods`: which method each name stands for, empty if they are none. `goal`: a value to be reached, if there is one.
    """

    step: str
    value: str
    paths: dict[str, list[tuple[float, float]]]
    methods: dict[str, str] = field(default_factory=dict)
    goal: float | None = None
    caption: list[str] = field(default_factory=list)


def trajectory(
    series: Mapping[str, Series],
    scalar: str,
    methods: Mapping[str, str],
    *,
    step: str = "epoch",
    caption: Sequence[str] = (),
) -> Trajectory:
    """One scalar of several cells, by the names that they are given: what their `methods` reported, step by step.

    Raises InputError for each cell whose series does not hold it, saying what it does hold.
    """
    faults = [f"{name}: {unknown_name('series', scalar, held)}" for name, held in series.items() if scalar not in held]
    if faults:
        raise InputError(*faults)
    paths = {
        name: [(float(at), math.nan if value is None else float(value)) for at, value in held[scalar]]
        for name, held in series.items()
    }
    return Trajectory(step, column(scalar).header(), paths, dict(methods), caption=list(caption))


def solver_trajectory(curve: pd.DataFrame, *, goal: float = 1e-9, caption: Sequence[str] = ()) -> Trajectory:
    """Smallest residual so far, max_k |Σ_n g_nk − M_k| / N, against passes over the rows, solver by solver.

    `curve` has columns solver, passes, residual, as benchmarks/projection_curve.py writes them; `goal` is the tolerance.
    """
    paths = {
        str(solver): list(zip(part["passes"].astype(float), part["residual"].astype(float), strict=True))
        for solver, part in curve.groupby("solver", sort=False)
    }
    return Trajectory("passes over the rows", "largest column error / N", paths, goal=goal, caption=list(caption))
