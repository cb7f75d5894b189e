"""Ranks of methods by their best value so far, against trials and against passes: who leads at which budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import rankdata

from adaprob_ray.reporting.figures.style import (
    TEXT,
    add_caption,
    add_legend,
    new_figure,
    panel_grid,
    plot_styles,
    style_axes,
)
from adaprob_ray.reporting.search.figures.best_so_far import best_at
from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, caption_of

# Points of the axis of passes at which ranks are taken, besides its ends.
_PASSES_STEPS = 100


@dataclass(frozen=True)
class MethodRanks:
    """Label → mean rank at each budget; 1 is the best, equal values share their mean rank.

    `comparisons`: how many rankings are averaged, one for each group and search seed.
    """

    methods: dict[str, str]
    trials: list[float]
    against_trials: dict[str, list[float]]
    passes: list[float]
    against_passes: dict[str, list[float]]
    comparisons: int


def compute_method_ranks(groups: Sequence[StudyGroup]) -> MethodRanks | None:
    """Mean ranks over groups and search seeds, up to the budget that all studies have spent; None with fewer than two methods.

    Only labels that every group has are ranked.
    """
    labels = [label for label in groups[0].studies if all(label in group.studies for group in groups)]
    rankings = [(runs, group.signs[0]) for group in groups for runs in _rankings(group, labels)]
    if len(labels) < 2 or not rankings:
        return None
    studies = [run for runs, _ in rankings for run in runs]
    trials = list(map(float, range(1, min(len(run.trials) for run in studies) + 1)))
    totals = [list(accumulate(run.passes)) for run in studies]
    first, last = max(ends[0] for ends in totals), min(ends[-1] for ends in totals)
    passes = list(map(float, np.linspace(first, last, _PASSES_STEPS))) if first < last else []
    return MethodRanks(
        {label: groups[0].methods[label] for label in labels},
        trials,
        _mean_ranks(labels, rankings, trials, by_passes=False),
        passes,
        _mean_ranks(labels, rankings, passes, by_passes=True) if passes else {},
        len(rankings),
    )


def _rankings(group: StudyGroup, labels: Sequence[str]) -> Iterator[list[StudyResults]]:
    """For each search seed that all labels have: their studies."""
    for seed in group.search_seeds:
        runs = [run for label in labels for run in group.studies[label] if run.search_seed == seed]
        if len(runs) == len(labels):
            yield runs


def _mean_ranks(
    labels: Sequence[str],
    rankings: Sequence[tuple[Sequence[StudyResults], float]],
    budget: Sequence[float],
    *,
    by_passes: bool,
) -> dict[str, list[float]]:
    ranks: list[NDArray[np.float64]] = [
        rankdata([best_at(run, budget, sign, by_passes=by_passes) for run in runs], axis=0) for runs, sign in rankings
    ]
    return dict(zip(labels, np.mean(ranks, axis=0).tolist(), strict=True))


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_method_ranks(method_ranks: MethodRanks, groups: Sequence[StudyGroup]) -> Figure:
    """Against trials on the left, against passes on the right; the best rank is at the top."""
    styles = plot_styles(method_ranks.methods)
    figure = new_figure(7.6, 3.4)
    handles = [
        Line2D([], [], linestyle=style.line, linewidth=1.4, label=label, **style.markers(5))
        for label, style in styles.items()
    ]
    add_legend(figure, handles, 4)
    panels = [("trials", method_ranks.trials, method_ranks.against_trials)]
    panels += (
        [("passes (forward + backward examples)", method_ranks.passes, method_ranks.against_passes)]
        if method_ranks.passes
        else []
    )
    for axes, (words, budget, ranks) in zip(panel_grid(figure, 1, len(panels))[0], panels, strict=True):
        for label, values in ranks.items():
            style = styles[label]
            marker_step = max(1, len(values) // 6)
            options = {"linestyle": style.line, "linewidth": 1.4, "drawstyle": "steps-post", "clip_on": False}
            axes.plot(budget, values, markevery=marker_step, **options, **style.markers(5))
        axes.set_ylim(len(styles) + 0.2, 0.8)
        axes.set_yticks(range(1, len(styles) + 1))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel(words, fontsize=TEXT)
        axes.set_ylabel("mean rank (1 = best)", fontsize=TEXT)
        style_axes(axes)
    add_caption(figure, method_ranks_caption(method_ranks, groups))
    return figure


def method_ranks_caption(method_ranks: MethodRanks, groups: Sequence[StudyGroup]) -> list[str]:
    """What is ranked, and the rule."""
    mean = f"mean over {method_ranks.comparisons} groups and search seeds; " if method_ranks.comparisons > 1 else ""
    return [
        f"ranks of the best value so far; {mean}equal values share their mean rank; up to the budget that every method has "
        "spent",
        *caption_of(groups),
    ]
