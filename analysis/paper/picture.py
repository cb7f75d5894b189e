"""The picture of the README: confidence on forgotten and on unseen samples, next to distance to Retrain over cost.

Confidence is the probability of the true class. After exact unlearning the model is as confident on the forgotten samples as on
test samples of their classes, which it has not seen either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from adaprob_ray.errors import InputError
from adaprob_ray.metrics.auc import members_and_others
from adaprob_ray.reporting.figures import style
from adaprob_ray.reporting.figures.cost import COST, DISTANCE, CostPanel, compute_cost, draw_cost_panel
from adaprob_ray.reporting.records.archive import evaluations, source_of
from adaprob_ray.reporting.records.grouping import only_group_title, row_groups
from adaprob_ray.reporting.records.provenance import figure_notes
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.output import Output

UNSEEN = "0.78"  # of test samples, lighter than the grey of Original
MIDDLE, MOST = (25.0, 75.0), (5.0, 95.0)  # percentiles that the thick and the thin line span


@dataclass(frozen=True)
class Confidence:
    """Probabilities of the true class in percent, of all seeds together: [F] of forget samples, [T] of test samples."""

    name: str
    method: str
    forget: NDArray[np.float64]
    test: NDArray[np.float64]


def build_picture(selection: Selection, out: Path, *, labels: Sequence[str] = (), name: str = "picture") -> Output:
    """Write the figure to `out`/`name`, from Outputs in a store or an archive.

    Args:
        labels: The rows of the left panel, from the top; all of the sweep by default. The right panel has those that unlearn.
    """
    gathered = selection.gather_some(name)
    title = only_group_title(gathered.records, "outputs")
    shown = list(labels) or list(dict.fromkeys(map(str, gathered.records["label"])))
    if unknown := [label for label in shown if label not in set(gathered.records["label"])]:
        raise InputError(f"{name}: must have Records of {', '.join(unknown)}, got none")
    if several := [label for label in shown if len(row_groups(gathered.records, [label])) > 1]:
        words = f"got several of {', '.join(several)}; select with --only"
        raise InputError(f"{name}: must have one setting of each label, {words}")
    rows = confidences(gathered.records, shown, selection.location)
    (panel,) = compute_cost(gathered.records).values()
    points = [point for point in panel.points if point.name in (*shown, "retrain")]
    figure = draw_picture(rows, CostPanel(points, panel.floor, panel.original), title, figure_notes(gathered.records))
    return style.save_output(figure, out / name, gathered.missing)


def confidences(records: pd.DataFrame, labels: Sequence[str], location: str) -> list[Confidence]:
    """Of each label, in their order. Raises InputError for a location without Outputs."""
    losses: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {label: [] for label in labels}
    methods = dict(zip(records["label"], map(str, records["method"]), strict=True))
    for record, evaluation in evaluations(records, source_of(location)):
        if record["label"] in losses:
            losses[record["label"]].append(members_and_others(evaluation))
    return [
        Confidence(label, methods[label], *(100 * np.exp(-np.concatenate(each)) for each in zip(*pairs, strict=True)))
        for label, pairs in losses.items()
    ]


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_picture(rows: Sequence[Confidence], panel: CostPanel, title: str, notes: Sequence[str]) -> Figure:
    """Both panels with one style for each label."""
    styles = style.plot_styles(style.methods_by_name({"left": rows, "right": panel.points}))
    figure = style.new_figure(9.2, max(3.4, 0.42 * len(rows) + 1.4))
    left, right = style.panel_grid(figure, 1, 2)[0]
    _draw_confidences(left, rows, styles)
    draw_cost_panel(right, panel, styles)
    style.style_axes(
        left,
        title="forgotten samples (colour), unseen ones of the class (grey)",
        xlabel="probability of the true class (%)",
        ylabel="",
        grid="x",
    )
    style.style_axes(right, title="distance to Retrain, and its cost", xlabel=COST, ylabel=DISTANCE.header())
    lines = [
        f"{title}. Left: median, middle half and 5 to 95 % of the forgotten samples (colour) and of test samples of their "
        "class (light grey) over all seeds. Right, shaded: at most the KL between two independent retrained models; "
        f"{style.INTERVAL_NOTE}; markers of equal cost are shifted so that all can be seen",
        *notes,
    ]
    style.add_caption(figure, lines)
    return figure


def _draw_confidences(axes: Axes, rows: Sequence[Confidence], styles: style.Styles) -> None:
    for place, row in enumerate(rows):
        colour = styles[row.name].colour
        # The markers of the right panel, next to the names of the rows.
        axes.plot(-4, place, linestyle="", clip_on=False, **styles[row.name].markers(7))
        for offset, values, shown in ((-0.16, row.forget, colour), (0.16, row.test, UNSEEN)):
            y = place + offset
            for (low, high), width in ((MOST, 1.0), (MIDDLE, 5.0)):
                ends = np.percentile(values, (low, high))
                axes.plot(ends, [y, y], color=shown, linewidth=width, solid_capstyle="butt")
            axes.plot(np.median(values), y, "|", color="white", markersize=6, markeredgewidth=1.4)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", length=0, pad=16)
    axes.set_xlim(0, 100)
    axes.invert_yaxis()
