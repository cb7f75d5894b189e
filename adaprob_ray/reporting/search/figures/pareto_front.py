"""Searches with several objectives: the trials of each method and their Pareto front, two objectives at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from adaprob_ray.reporting.figures.style import (
    TEXT,
    PlotStyle,
    add_caption,
    add_legend,
    new_figure,
    panel_grid,
    plot_styles,
    style_axes,
)
from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, caption_of, objective_words
from adaprob_ray.search.study import Trial


def front_steps(front: Sequence[Trial], first: int, second: int, signs: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of the front of two objectives: what lies beyond the line is dominated.

    Args:
        front: Its trials.
        first: The objective on the horizontal axis.
        second: The objective on the vertical axis.
        signs: For each objective 1 where less is better, else −1.

    Returns:
        Points along the line, from the best of the first objective to the best of the second.
    """
    points = sorted(
        ((trial.values[first], trial.values[second]) for trial in front if trial.values is not None),
        key=lambda point: (signs[first] * point[0], signs[second] * point[1]),
    )
    corners = points[:1]
    for x, y in points[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return corners


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_pareto_fronts(groups: Sequence[StudyGroup]) -> Figure:
    """A row for each group, a panel for each pair of objectives; diverged trials have no values and are not shown."""
    styles = plot_styles({label: method for group in groups for label, method in group.methods.items()})
    pairs = list(combinations(range(len(groups[0].signs)), 2))
    figure = new_figure(0.9 + 4.2 * len(pairs), 0.8 + 3.6 * len(groups))
    handles = [
        Line2D([], [], linestyle=style.line, linewidth=1.2, label=label, **style.markers(6))
        for label, style in styles.items()
    ]
    add_legend(figure, handles, 3)
    for row, group in zip(panel_grid(figure, len(groups), len(pairs)), groups, strict=True):
        words = [
            f"{each} ({direction})"
            for each, direction in zip(objective_words(group.first), group.first.directions, strict=True)
        ]
        for axes, pair in zip(row, pairs, strict=True):
            for label, runs in group.studies.items():
                for results in runs:
                    _draw_front(axes, results, pair, group.signs, styles[label])
            axes.set_xlabel(words[pair[0]], fontsize=TEXT)
            axes.set_ylabel(words[pair[1]], fontsize=TEXT)
            style_axes(axes)
        row[0].set_title(group.title, fontsize=TEXT, loc="left")
    lines = ["large: trials on the Pareto front of their study; small: the others; a ring: default settings"]
    lines += ["with more than two objectives no line is drawn"] if len(pairs) > 1 else []
    add_caption(figure, [*lines, *caption_of(groups)])
    return figure


def _draw_front(
    axes: Axes, results: StudyResults, pair: tuple[int, int], signs: Sequence[float], style: PlotStyle
) -> None:
    first, second = pair
    if len(signs) == 2 and results.best:
        corners = front_steps(results.best, first, second, signs)
        axes.plot(*zip(*corners, strict=True), linestyle=style.line, linewidth=1.2, color=style.colour)
    best = {trial.number for trial in results.best}
    for trial in results.trials:
        if trial.values is None:
            continue
        x, y = trial.values[first], trial.values[second]
        is_best = trial.number in best
        axes.plot(x, y, linestyle="", alpha=1 if is_best else 0.35, zorder=3, **style.markers(7 if is_best else 3.5))
        if trial is results.default:
            axes.plot(x, y, linestyle="", marker="o", markersize=11, markerfacecolor="none", markeredgecolor="black")
