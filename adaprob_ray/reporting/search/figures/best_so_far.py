"""The best value so far against trials and against passes: a line for each method, with a band over search seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from adaprob_ray.reporting.figures.style import (
    TEXT,
    PlotStyle,
    add_caption,
    add_legend,
    new_figure,
    panel_grid,
    plot_styles,
)
from adaprob_ray.reporting.search.figures.value_axis import ValueAxis, draw_value_axis, value_axis
from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, caption_of, objective_words

# Passes of methods may differ by orders of magnitude; from this ratio on their axis is logarithmic.
LOG_RATIO = 30


@dataclass(frozen=True)
class BestSoFarCurve:
    """Step functions over a budget: median, least and largest over search seeds. None: no feasible trial yet."""

    label: str
    method: str
    budget: list[float]
    median: list[float | None]
    low: list[float | None]
    high: list[float | None]

    @property
    def has_band(self) -> bool:
        return self.low != self.high


@dataclass(frozen=True)
class BestSoFar:
    """The curves of one group, and the axis of their values."""

    title: str
    objective: str
    against_trials: list[BestSoFarCurve]
    against_passes: list[BestSoFarCurve]
    axis: ValueAxis


def compute_best_so_far(group: StudyGroup) -> BestSoFar:
    """The curves of a group of studies with a single objective."""
    (sign,) = group.signs
    trials = [_curve(group, label, runs, sign, by_passes=False) for label, runs in group.studies.items()]
    passes = [_curve(group, label, runs, sign, by_passes=True) for label, runs in group.studies.items()]
    # Search seeds may have no budget in common, where one has spent less in all than another in its first trial.
    passes = [curve for curve in passes if curve.budget]
    values = [value for curve in (*trials, *passes) for line in (curve.low, curve.median, curve.high) for value in line]
    (objective,) = objective_words(group.first)
    return BestSoFar(group.title, objective, trials, passes, value_axis(values, sign=sign))


def best_values(results: StudyResults, sign: float) -> list[float]:
    """After each trial the best value of the complete ones, times `sign`; infinite while none is feasible."""
    values = (
        sign * trial.values[0]
        if trial.state == "complete" and trial.values is not None and not results.study.is_beyond_margin(trial)
        else np.inf
        for trial in results.trials
    )
    return list(accumulate(values, min))


def best_at(results: StudyResults, budget: Sequence[float], sign: float, *, by_passes: bool) -> NDArray[np.float64]:
    """As `best_values`, after so many trials, or so many passes; infinite before the first trial has ended."""
    ends = list(accumulate(results.passes)) if by_passes else range(1, len(results.trials) + 1)
    values = np.array([np.inf, *best_values(results, sign)])
    return values[np.searchsorted(np.array(ends), budget, side="right")]


def _curve(
    group: StudyGroup, label: str, runs: Sequence[StudyResults], sign: float, *, by_passes: bool
) -> BestSoFarCurve:
    """Over the budget that every search seed has spent."""
    ends = [list(accumulate(run.passes)) if by_passes else list(range(1, len(run.trials) + 1)) for run in runs]
    first, last = max(each[0] for each in ends), min(each[-1] for each in ends)
    budget = sorted({float(end) for each in ends for end in each if first <= end <= last})
    best = np.array([best_at(run, budget, sign, by_passes=by_passes) for run in runs])
    low, high = (sign * best.min(0), sign * best.max(0))
    # The worse of the two middle ones where their number is even: a mean with infinity says nothing.
    median = sign * np.sort(best, axis=0)[len(runs) // 2]
    return BestSoFarCurve(label, group.methods[label], budget, *map(_finite, (median, low, high)))


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_best_so_far(groups: Sequence[StudyGroup]) -> Figure:
    """A row for each group: against trials on the left, against passes on the right."""
    styles = plot_styles({label: method for group in groups for label, method in group.methods.items()})
    figure = new_figure(7.6, 0.7 + 2.9 * len(groups))
    add_legend(figure, [_handle(label, style) for label, style in styles.items()], 4)
    for row, group in zip(panel_grid(figure, len(groups), 2), groups, strict=True):
        best = compute_best_so_far(group)
        for axes, curves in zip(row, (best.against_trials, best.against_passes), strict=True):
            for curve in curves:
                _draw_curve(axes, curve, best.axis, styles[curve.label])
            draw_value_axis(axes, best.axis)
        row[0].set_title(best.title, fontsize=TEXT, loc="left")
        row[0].set_xlabel("trials", fontsize=TEXT)
        row[0].set_ylabel(f"best so far:\n{best.objective}", fontsize=TEXT)
        row[1].set_xlabel("passes (forward + backward examples)", fontsize=TEXT)
        budgets = [x for curve in best.against_passes for x in curve.budget if x > 0]
        if budgets and max(budgets) >= LOG_RATIO * min(budgets):
            row[1].set_xscale("log")
    add_caption(figure, best_so_far_caption(groups))
    return figure


def best_so_far_caption(groups: Sequence[StudyGroup]) -> list[str]:
    """What is drawn, and the rule."""
    seeds = max(len(group.search_seeds) for group in groups)
    band = [f"line: median of {seeds} search seeds; band: from the least to the largest"] if seeds > 1 else []
    return [*band, *caption_of(groups, strip=True)]


def _handle(label: str, style: PlotStyle) -> Line2D:
    return Line2D([], [], linestyle=style.line, linewidth=1.4, label=label, **style.markers(5))


def _draw_curve(axes: Axes, curve: BestSoFarCurve, axis: ValueAxis, style: PlotStyle) -> None:
    if curve.has_band:
        low, high = ([axis.at(value) for value in line] for line in (curve.low, curve.high))
        axes.fill_between(curve.budget, low, high, step="post", color=style.colour, alpha=0.15, linewidth=0)
    values = [axis.at(value) for value in curve.median]
    options = {"linestyle": style.line, "linewidth": 1.4, "drawstyle": "steps-post", "clip_on": False}
    axes.plot(curve.budget, values, markevery=max(1, len(values) // 6), **options, **style.markers(5))
