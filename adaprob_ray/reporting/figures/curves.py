"""Curves over steps: a scalar of the models' stored series, and the residuals of solvers of the projection against passes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.figures import style
from adaprob_ray.reporting.records.archive import Series, source_of
from adaprob_ray.reporting.records.grouping import only_group_title, record_groups
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.records.provenance import provenance
from adaprob_ray.reporting.records.selection import Selection, shown_seed
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.sweep.method_choices import REFERENCES

SOLVER_SCALAR = "projection_residual"
TOLERANCE = 1e-9  # of the projection


@dataclass(frozen=True)
class Curves:
    """Name → (step, value) in order; a value that was not finite is NaN.

    `methods`: the method of each name, empty if the names are not methods. `goal`: a target value, if there is one.
    """

    step: str
    value: str
    paths: dict[str, list[tuple[float, float]]]
    methods: dict[str, str] = field(default_factory=dict)
    goal: float | None = None
    caption: list[str] = field(default_factory=list)


def build_curves(selection: Selection, out: Path, *, scalar: str | None = None, name: str = "curves") -> Output:
    """Write one scalar of the models' series against steps, row by row, at one seed, to `out`/`name`-`scalar`.

    Args:
        scalar: Its name in TensorBoard after the stage: loss, retain_error_percent, … By default the one that most unlearned
            models have; of several, loss.

    Raises:
        InputError: The Records are of several groups, or no series holds the scalar.
    """
    gathered, source = selection.gather_some(name), source_of(selection.location)
    seed = shown_seed(gathered.records)
    records = gathered.records[gathered.records["seed"] == seed].sort_values("repeat", kind="stable")
    title, (rows,) = only_group_title(records, "series"), record_groups(records).values()
    series = {row.name: source.series(str(row.records["model_key"].iloc[0])) for row in rows}
    unlearned = [row.name for row in rows if row.label not in REFERENCES]
    scalar = scalar or default_scalar([series[label] for label in unlearned] or [*series.values()])
    # If no series has it, compute_curves raises.
    with_scalar = {label: scalars for label, scalars in series.items() if scalar in scalars} or series
    without = [label for label in series if label not in with_scalar]
    notes = [f"without {scalar}: {', '.join(without)}"] if without else []
    caption = [f"{title}; seed {seed}", *notes, provenance(records)[0]]
    curves = compute_curves(with_scalar, scalar, {row.name: row.method for row in rows}, caption)
    return style.save_output(draw_curves(curves), out / f"{name}-{scalar}", gathered.missing, is_noted=False)


def default_scalar(series: Sequence[Series]) -> str:
    """The scalar that most of these series have; of several, loss, else the first in alphabetic order.

    >>> default_scalar([{"loss": [], "retain_loss": []}, {"retain_loss": []}])
    'retain_loss'
    """
    counts = Counter(name for scalars in series for name in scalars)
    return min(counts, key=lambda name: (-counts[name], name != "loss", name), default="loss")


def build_solver_curves(path: Path, out: Path) -> Output:
    """Write the residual against passes of every solver of the projection, from the file `path`, to `out`/solvers."""
    return style.save_output(draw_curves(compute_solver_curves(pd.read_csv(path))), out / "solvers", [])


def compute_curves(
    series: Mapping[str, Series], scalar: str, methods: Mapping[str, str], caption: Sequence[str] = ()
) -> Curves:
    """One scalar of several cells, by name, as their `methods` reported it at each step.

    Raises InputError for each cell whose series lacks it, with the scalars that it has.
    """
    without = {name: scalars for name, scalars in series.items() if scalar not in scalars}
    if without:
        raise InputError(*(f"{name}: {unknown_name('series', scalar, scalars)}" for name, scalars in without.items()))
    paths = {
        name: [(float(x), math.nan if value is None else float(value)) for x, value in scalars[scalar]]
        for name, scalars in series.items()
    }
    step = "step of the solver" if scalar == SOLVER_SCALAR else "epoch"
    return Curves(step, metric_format(scalar).header(), paths, dict(methods), caption=list(caption))


def compute_solver_curves(curve: pd.DataFrame) -> Curves:
    """Smallest residual so far, max_k |Σ_n g_nk − M_k| / N, against passes over the rows, solver by solver.

    `curve` has columns solver, passes, residual, as benchmarks/projection_curve.py writes them.
    """
    paths = {
        str(solver): list(zip(rows["passes"].astype(float), rows["residual"].astype(float), strict=True))
        for solver, rows in curve.groupby("solver", sort=False)
    }
    return Curves("passes over the rows", "largest column error / N", paths, goal=TOLERANCE)


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_curves(curves: Curves) -> Figure:
    """Value against step; an axis is logarithmic where its values are above 0 and span three powers of ten."""
    styles = style.plot_styles(curves.methods) if curves.methods else style.plain_styles(curves.paths)
    figure = style.new_figure(6.4, 4.4)
    axes = figure.subplots()
    for name, path in curves.paths.items():
        options: dict[str, Any] = {"linestyle": styles[name].line, "markevery": max(1, len(path) // 12)}
        axes.plot(*np.array(path).T, label=name, **options, **styles[name].markers(5))
    if curves.goal is not None:
        axes.axhline(curves.goal, color="black", linestyle=":", linewidth=1, label=f"tolerance {curves.goal:g}")
    points = np.concatenate([np.array(path) for path in curves.paths.values()])
    axes.set_xscale(_scale(points[:, 0]))
    axes.set_yscale(_scale(points[:, 1]))
    style.style_axes(axes, xlabel=curves.step, ylabel=curves.value)
    figure.legend(loc="outside right upper", fontsize=style.SMALL, handlelength=3, frameon=False)
    style.add_caption(figure, curves.caption)
    return figure


def _scale(values: NDArray[np.float64]) -> str:
    finite = values[np.isfinite(values)]
    return "log" if len(finite) and 0 < finite.min() <= finite.max() / 1000 else "linear"
