"""The value of every trial in order, method by method, with the best so far as a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from adaprob_ray.reporting.figures.style import (
    SMALL,
    TEXT,
    PlotStyle,
    add_caption,
    add_legend,
    new_figure,
    panel_grid,
    plot_styles,
)
from adaprob_ray.reporting.search.figures.best_so_far import best_values
from adaprob_ray.reporting.search.figures.value_axis import ValueAxis, draw_value_axis, value_axis
from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, caption_of, objective_words

# Markers of trials by state; complete ones have that of their method.
PRUNED: dict[str, Any] = {"marker": "v", "markerfacecolor": "white"}
DIVERGED: dict[str, Any] = {"marker": "x", "markeredgewidth": 1.2}
CHOSEN: dict[str, Any] = {"marker": "*", "markersize": 12, "markerfacecolor": "gold", "markeredgecolor": "black"}
DEFAULT: dict[str, Any] = {"marker": "D", "markersize": 7, "markerfacecolor": "none", "markeredgecolor": "black"}


@dataclass(frozen=True)
class TrialPoint:
    """A trial in a figure. `value`: None where it is beyond the margin, diverged, or has none yet."""

    number: int
    state: str
    value: float | None
    is_best: bool
    is_default: bool


def trial_points(results: StudyResults, objective: int = 0) -> list[TrialPoint]:
    """The trials that have ended."""
    best = {trial.number for trial in results.best}
    return [
        TrialPoint(
            number=trial.number,
            state=trial.state,
            value=None if trial.values is None or results.study.is_beyond_margin(trial) else trial.values[objective],
            is_best=trial.number in best,
            is_default=trial is results.default,
        )
        for trial in results.trials
        if trial.ended
    ]


def state_handles(objectives: int = 1) -> list[Line2D]:
    """The legend of the markers, for studies with so many objectives."""
    styles: list[tuple[str, dict[str, Any]]] = [
        ("complete", {"marker": "o", "color": "0.4"}),
        ("pruned", {"color": "0.4", **PRUNED}),
        ("diverged", {"color": "0.4", **DIVERGED}),
        ("default settings", DEFAULT),
        ("chosen" if objectives == 1 else "on the Pareto front", CHOSEN),
    ]
    return [Line2D([], [], linestyle="", label=words, **style) for words, style in styles]


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_history(groups: Sequence[StudyGroup]) -> Figure:
    """A row for each group, a panel for each method; groups have a single objective."""
    styles = plot_styles({label: method for group in groups for label, method in group.methods.items()})
    figure = new_figure(0.8 + 2.1 * len(styles), 0.7 + 2.6 * len(groups))
    add_legend(figure, [*state_handles(), Line2D([], [], color="0.4", linewidth=1, label="best so far")], 3)
    for row, group in zip(panel_grid(figure, len(groups), len(styles)), groups, strict=True):
        points = [point for runs in group.studies.values() for run in runs for point in trial_points(run)]
        axis = value_axis((point.value for point in points), sign=group.signs[0])
        for axes, (label, style) in zip(row, styles.items(), strict=True):
            for results in group.studies.get(label, ()):
                _draw_study(axes, results, axis, style, group.signs[0])
            draw_value_axis(axes, axis)
            axes.set_title(label, fontsize=SMALL, loc="left")
            axes.set_xlabel("trial", fontsize=TEXT)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        row[0].set_title(f"{group.title}\n{next(iter(styles))}", fontsize=SMALL, loc="left")
        row[0].set_ylabel(objective_words(group.first)[0], fontsize=TEXT)
    add_caption(figure, caption_of(groups, strip=True))
    return figure


def _draw_study(axes: Axes, results: StudyResults, axis: ValueAxis, style: PlotStyle, sign: float) -> None:
    best = [sign * value if np.isfinite(value) else None for value in best_values(results, sign)]
    line = [axis.at(value) for value in best]
    axes.plot(range(len(line)), line, color=style.colour, linewidth=1, drawstyle="steps-post")
    for point in trial_points(results):
        draw_point(axes, point.number, point, axis, style.colour)


def draw_point(axes: Axes, x: float, point: TrialPoint, axis: ValueAxis, colour: Any) -> None:
    """One trial, marked by its state, and once more where it is chosen or the default."""
    y = axis.at(point.value)
    style: dict[str, Any] = {"linestyle": "", "clip_on": False, "zorder": 3}
    state = {"pruned": PRUNED, "diverged": DIVERGED}.get(point.state, {"marker": "o"})
    if point.is_best:
        axes.plot(x, y, **{**style, "zorder": 5}, **CHOSEN)
    else:
        axes.plot(x, y, **style, color=colour, markersize=4.5, **state)
    if point.is_default:
        axes.plot(x, y, **{**style, "zorder": 4}, **DEFAULT)
