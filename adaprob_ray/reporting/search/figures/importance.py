"""Importance of parameters by PED-ANOVA: which ones the best trials of a method have in common."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adaprob_ray.reporting.figures.style import (
    GREY,
    SMALL,
    TEXT,
    add_caption,
    new_figure,
    panel_grid,
    plot_styles,
    shade,
    style_axes,
)
from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, caption_of

# The share of trials that count as the best (Optuna's default), and how many those should be at least by its documentation.
TARGET_QUANTILE, STABLE_BEST_TRIALS = 0.1, 5
# Fewer trials do not tell a best tenth from the others.
MIN_TRIALS = 10


@dataclass(frozen=True)
class Importance:
    """Parameter → its share for each search seed, the largest mean first."""

    label: str
    method: str
    trials: int
    shares: dict[str, list[float]]


def compute_importance(group: StudyGroup, label: str) -> Importance | None:
    """The importance of a method's parameters; None where a study has fewer than MIN_TRIALS results, or one parameter only.

    With several objectives it is that for being on the Pareto front.
    """
    runs = group.studies[label]
    counts = [sum(trial.ended for trial in run.trials) for run in runs]
    if min(counts) < MIN_TRIALS or len(runs[0].study.target.space) < 2:
        return None
    shares_by_run = [_shares(run) for run in runs]
    shares = {name: [each.get(name, 0.0) for each in shares_by_run] for name in runs[0].study.target.space}
    ordered = sorted(shares, key=lambda name: -statistics.fmean(shares[name]))
    return Importance(label, group.methods[label], min(counts), {name: shares[name] for name in ordered})


def _shares(results: StudyResults) -> dict[str, float]:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    evaluator = PedAnovaImportanceEvaluator(
        target_quantile=TARGET_QUANTILE, region_quantile=1.0, evaluate_on_local=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_param_importances(results.study.optuna_study(results.trials), evaluator=evaluator)


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_importance(groups: Sequence[StudyGroup]) -> Figure | None:
    """A row for each group, a panel for each method; None where no study has enough trials."""
    labels = list(dict.fromkeys(label for group in groups for label in group.studies))
    rows = [{label: compute_importance(group, label) for label in labels if label in group.studies} for group in groups]
    if not any(importance for row in rows for importance in row.values()):
        return None
    max_parameters = max(len(group.studies[label][0].study.target.space) for group in groups for label in group.studies)
    figure = new_figure(max(6.0, 0.6 + 2.3 * len(labels)), 1.2 + (1.1 + 0.25 * max_parameters) * len(groups))
    for row, group, importances in zip(panel_grid(figure, len(groups), len(labels)), groups, rows, strict=True):
        for axes, label in zip(row, labels, strict=True):
            importance = importances.get(label)
            if importance is None:
                axes.set_axis_off()
                axes.text(0, 0.5, "too few trials or parameters", fontsize=SMALL, color=GREY)
            else:
                _draw_bars(axes, importance)
            axes.set_title(label, fontsize=SMALL, loc="left")
        row[0].set_title(f"{group.title}\n{labels[0]}", fontsize=SMALL, loc="left")
    dots = (
        ["bars: mean over search seeds; dots: each of them"]
        if max(len(group.search_seeds) for group in groups) > 1
        else []
    )
    add_caption(figure, [*importance_caption(), *dots, *caption_of(groups)])
    return figure


def importance_caption() -> list[str]:
    """What importance is, and how much it can be trusted."""
    return [
        f"PED-ANOVA: how much the best {round(100 * TARGET_QUANTILE)} % of the trials differ from all in each parameter, as a "
        f"share of the sum; unstable below {round(STABLE_BEST_TRIALS / TARGET_QUANTILE)} trials"
    ]


def _draw_bars(axes: Axes, importance: Importance) -> None:
    colour = plot_styles({importance.label: importance.method})[importance.label].colour
    for position, shares in enumerate(importance.shares.values()):
        axes.barh(position, statistics.fmean(shares), 0.7, color=shade(colour, 0.5), edgecolor=colour)
        if len(shares) > 1:
            axes.plot(
                shares, [position] * len(shares), linestyle="", marker="o", markersize=3, color="black", clip_on=False
            )
    axes.set_yticks(range(len(importance.shares)), list(importance.shares))
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"importance (n = {importance.trials})", fontsize=TEXT)
    style_axes(axes, grid="x")
