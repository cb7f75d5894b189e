"""Distance to Retrain against cost: which methods are as close as another retrained model, and for how many passes.

Distance is KL forget, the divergence from an independent retrained model on the forget set; cost is forward and backward passes
relative to Retrain's, which depend on no machine. A row is *within the noise floor* in a metric if its mean distance to Retrain
over seeds is at most that of a second retrained model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures import style
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.records.provenance import figure_notes
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.stats.intervals import EQUAL_TOLERANCE, Estimate, paired_distance
from adaprob_ray.reporting.tables.model import FLOOR, FORGET_ERROR, RETAIN_ERROR, Row, Table, tables
from adaprob_ray.reporting.tables.output import Output
from adaprob_ray.sweep.method_choices import REFERENCES

PASSES = ("forward_examples", "backward_examples")
DISTANCE = metric_format("kl_forget_nats")
ERRORS = tuple(map(metric_format, ("test_error_percent", RETAIN_ERROR, FORGET_ERROR)))
COST = "passes relative to Retrain"
# Costs whose logarithms differ by less than the first are drawn this far from each other.
EQUAL_COST, SPREAD = 0.02, 0.04


@dataclass(frozen=True)
class CostPoint:
    """A row of a table. `cost`: passes relative to Retrain's; `distance`: KL forget in nats."""

    name: str
    method: str
    cost: float
    distance: Estimate


@dataclass(frozen=True)
class CostPanel:
    """The points of a table, Retrain's among them at the noise floor; `original`: the model before unlearning."""

    points: list[CostPoint]
    floor: Estimate
    original: Estimate | None


@dataclass(frozen=True)
class FloorVerdict:
    """The metrics, in words, in which a row is within the noise floor, and the others. `cost`: None if unknown."""

    name: str
    within: tuple[str, ...]
    outside: tuple[str, ...]
    cost: float | None
    distance: float


def build_cost(selection: Selection, out: Path) -> Output:
    """Write the figure of the selected Records to `out`/cost."""
    gathered = selection.gather_some("cost")
    figure = draw_cost(compute_cost(gathered.records), gathered.records)
    return style.save_output(figure, out / "cost", gathered.missing)


def compute_cost(records: pd.DataFrame) -> dict[str, CostPanel]:
    """Heading of a table → its panel.

    Raises:
        InputError: No table has retrain, retrain_independent and a method with passes and KL forget.
    """
    columns = [DISTANCE, *ERRORS, *map(metric_format, PASSES)]
    labels = dict.fromkeys(map(str, records["label"]))
    panels = {table.heading: cost_panel(table) for table in tables(records, columns, labels)}
    complete = {heading: panel for heading, panel in panels.items() if panel is not None}
    if not complete:
        needed = f"{DISTANCE.name}, {' and '.join(PASSES)} of retrain, retrain_independent and a method"
        raise InputError(f"cost: must have {needed}, got none in {len(panels)} tables")
    return complete


def cost_panel(table: Table) -> CostPanel | None:
    """The panel of a table; None where Retrain or its distance is missing, or no method has both numbers."""
    rows = {row.name: row for row in table.rows if DISTANCE.name in row.values}
    distances = {name: row.values[DISTANCE.name] for name, row in rows.items()}
    if "retrain" not in rows:
        return None
    points = [
        CostPoint(row.name, row.method, cost, distances[row.name])
        for row in rows.values()
        if row.label not in (*REFERENCES, FLOOR) and (cost := relative_cost(row, rows["retrain"])) is not None
    ]
    if not points:
        return None
    retrain = CostPoint("retrain", rows["retrain"].method, 1.0, distances["retrain"])
    return CostPanel([retrain, *points], retrain.distance, distances.get("original"))


def relative_cost(row: Row, retrain: Row) -> float | None:
    """Forward and backward passes relative to Retrain's; None where one of them is unknown or zero."""
    own, reference = _passes(row), _passes(retrain)
    return own / reference if own and reference else None


def _passes(row: Row) -> float | None:
    counts = [row.values[name].mean for name in PASSES if name in row.values]
    return math.fsum(counts) if len(counts) == len(PASSES) else None


# -- the noise floor ---------------------------------------------------------------------------------------------------


def floor_verdicts(table: Table) -> list[FloorVerdict]:
    """Each row but Retrain's against the noise floor, in the order of the table; empty without a noise floor."""
    rows = {row.name: row for row in table.rows}
    if not {"retrain", "retrain_independent", FLOOR} <= rows.keys():
        return []
    own = [row for row in table.rows if row.method and row.label not in ("retrain", "retrain_independent")]
    return [_verdict(row, rows["retrain"], rows[FLOOR]) for row in own]


def _verdict(row: Row, retrain: Row, floor: Row) -> FloorVerdict:
    """Metrics without a noise floor are left out."""
    is_within = {}
    for column in ERRORS:
        limit = floor.differences.get(column.name)
        difference = paired_distance(row.seeds.get(column.name, {}), retrain.seeds.get(column.name, {}))
        if limit is not None and difference is not None:
            is_within[column.words] = difference.mean <= limit.mean + EQUAL_TOLERANCE
    distance = row.values[DISTANCE.name].mean if DISTANCE.name in row.values else math.inf
    if DISTANCE.name in row.values and DISTANCE.name in floor.values:
        is_within[DISTANCE.words] = distance <= floor.values[DISTANCE.name].mean
    within, outside = (tuple(words for words in is_within if is_within[words] == flag) for flag in (True, False))
    return FloorVerdict(row.name, within, outside, relative_cost(row, retrain), distance)


def floor_summary(table: Table) -> str:
    """One or two sentences: the methods that are within the noise floor in every metric, else the closest one."""
    verdicts = floor_verdicts(table)
    methods = [verdict for verdict in verdicts if verdict.name not in REFERENCES and verdict.within + verdict.outside]
    if not methods:
        return "There is no noise floor to compare with: it needs retrain, retrain_independent and a method."
    known = {*methods[0].within, *methods[0].outside}
    metrics = _listed([column.words for column in (*ERRORS, DISTANCE) if column.words in known])
    inside = [verdict for verdict in methods if verdict.within and not verdict.outside]
    if inside:
        names = _listed([f"{verdict.name}{_cost(verdict)}" for verdict in inside])
        sentence = f"Within the noise floor in {metrics}: {names}."
    else:
        is_any_within = any(verdict.within for verdict in methods)
        sentence = f"No method is within the noise floor in {'all of' if is_any_within else 'any of'} {metrics}."
        closest = _closest(methods, next((verdict for verdict in verdicts if verdict.name == "original"), None))
        if closest is not None:
            sentence += f" Closest: {closest.name}{_cost(closest)}, in all but {_listed(closest.outside)}."
        elif is_any_within:
            sentence += " No method with fewer passes than Retrain is within it in forget error or KL forget."
    if any(verdict.name == "original" and verdict.within and not verdict.outside for verdict in verdicts):
        sentence += " So is the original model: this setting cannot tell unlearning from doing nothing."
    return sentence


def _closest(methods: Sequence[FloorVerdict], original: FloorVerdict | None) -> FloorVerdict | None:
    """The method within the floor in most metrics, in forget error or KL forget among them, that costs less than Retrain.

    A method that leaves the forgotten samples as they are stays near Retrain in all other metrics, and is not close.
    """
    about_forgetting = {metric_format(FORGET_ERROR).words, DISTANCE.words}
    # Those of them in which the original is far from Retrain, if there are any.
    decisive = about_forgetting & set(original.outside if original else ()) or about_forgetting
    candidates = [
        verdict for verdict in methods if (verdict.cost is None or verdict.cost < 1) and decisive & set(verdict.within)
    ]
    return min(candidates, key=lambda verdict: (len(verdict.outside), verdict.distance), default=None)


def _cost(verdict: FloorVerdict) -> str:
    return "" if verdict.cost is None else f" ({verdict.cost:.2g} × Retrain's passes)"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_cost(panels: dict[str, CostPanel], records: pd.DataFrame) -> Figure:
    """KL forget against passes, a panel for each table; the shaded area is at or below the noise floor."""
    styles = style.plot_styles(style.methods_by_name({heading: panel.points for heading, panel in panels.items()}))
    figure, grid = style.scatter_figure(styles, len(panels), 4.0)
    for axes, (heading, panel) in zip(grid, panels.items(), strict=True):
        draw_cost_panel(axes, panel, styles)
        title, ylabel = heading.replace(" · ", "\n"), f"{DISTANCE.header()}: closer to 0 is better"
        style.style_axes(axes, title=title, xlabel=COST, ylabel=ylabel)
    note = (
        "shaded: at most the noise floor, the mean KL between two independent retrained models; "
        f"{style.INTERVAL_NOTE}; markers of equal cost are shifted so that all can be seen"
    )
    style.add_caption(figure, [note, *figure_notes(records)])
    return figure


def draw_cost_panel(axes: Axes, panel: CostPanel, styles: style.Styles) -> None:
    """The points of one panel, without titles. `styles`: by the name of a point."""
    axes.axhspan(0, panel.floor.mean, color="0.92", zorder=0)
    if panel.original is not None:
        axes.axhline(panel.original.mean, color=style.GREY, linestyle="--", linewidth=0.8)
        options: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": style.SMALL, "color": style.GREY}
        options |= {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
        axes.annotate("original", (0.99, panel.original.mean), (0, 2), bbox=box, **options)
    for point, cost in zip(panel.points, spread_costs(panel.points), strict=True):
        low, high = point.distance.interval
        axes.plot([cost] * 2, [max(low, 0), high], color=styles[point.name].colour, linewidth=1, alpha=0.6)
        axes.plot(cost, point.distance.mean, linestyle="", zorder=3, **styles[point.name].markers(8))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(bottom=0)


def spread_costs(points: Sequence[CostPoint]) -> list[float]:
    """The costs, where equal ones differ by a few percent so that no marker hides another."""
    costs = pd.Series([point.cost for point in points])
    equal = costs.groupby((np.log(costs) / EQUAL_COST).round())
    return list(costs * np.exp(SPREAD * (equal.cumcount() - (equal.transform("size") - 1) / 2)))
