"""Trade-off: forget error against retain error, a point for each row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures import style
from adaprob_ray.reporting.records.grouping import RowGroup, record_groups
from adaprob_ray.reporting.records.provenance import figure_notes
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.model import FORGET_ERROR, RETAIN_ERROR, Table, estimate_of
from adaprob_ray.reporting.tables.output import Output


@dataclass(frozen=True)
class TradeOffPoint:
    """Retain and forget error in percent, each with a t interval or, where events are few, Clopper-Pearson bounds."""

    name: str
    method: str
    retain: Estimate
    forget: Estimate


@dataclass(frozen=True)
class TradeOff:
    """Group's title → its points. Retrain's own, by the name `retrain`, is the target of all others."""

    panels: dict[str, list[TradeOffPoint]]
    caption: list[str]


def build_trade_off(selection: Selection, out: Path) -> Output:
    """Write the figure of the selected Records to `out`/trade_off."""
    gathered = selection.gather_some("trade_off")
    return style.save_output(draw_trade_off(compute_trade_off(gathered.records)), out / "trade_off", gathered.missing)


def compute_trade_off(records: pd.DataFrame) -> TradeOff:
    """Forget error against retain error. A method that forgets as retraining does coincides with Retrain.

    Raises:
        InputError: A row lacks one of the errors, or would average over anything but seed and repeat.
    """
    panels = {title: [_point(row) for row in rows] for title, rows in record_groups(records).items()}
    bounds = "95 % Clopper-Pearson bounds where fewer than 10 samples are wrong or right, or all seeds agree"
    return TradeOff(panels, [f"{style.INTERVAL_NOTE}; {bounds}", *figure_notes(records)])


def trade_off_points(table: Table) -> list[TradeOffPoint]:
    """The rows of a table that have both errors, in its order."""
    return [
        TradeOffPoint(row.name, row.method, row.values[RETAIN_ERROR], row.values[FORGET_ERROR])
        for row in table.rows
        if row.method and RETAIN_ERROR in row.values and FORGET_ERROR in row.values
    ]


def _point(row: RowGroup) -> TradeOffPoint:
    return TradeOffPoint(row.name, row.method, _error(row, RETAIN_ERROR), _error(row, FORGET_ERROR))


def _error(row: RowGroup, name: str) -> Estimate:
    estimate = estimate_of(row.records, name)
    if estimate is None:
        raise InputError(f"{row.name}: must have {name}, got none")
    return estimate


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_trade_off(trade_off: TradeOff) -> Figure:
    """Forget against retain error, a panel for each group; dotted lines cross at Retrain."""
    styles = style.plot_styles(style.methods_by_name(trade_off.panels))
    figure, grid = style.scatter_figure(styles, len(trade_off.panels), 4.6)
    for axes, (title, points) in zip(grid, trade_off.panels.items(), strict=True):
        for point in points:
            _draw_point(axes, point, styles[point.name])
        style.style_axes(axes, title=title, xlabel="retain error (%)", ylabel="forget error (%)")
    style.add_caption(figure, trade_off.caption)
    return figure


def _draw_point(axes: Axes, point: TradeOffPoint, plot_style: style.PlotStyle) -> None:
    x, y = point.retain.mean, point.forget.mean
    (left, right), (low, high) = (np.clip(estimate.interval, 0, 100) for estimate in (point.retain, point.forget))
    axes.plot([left, right], [y, y], color=plot_style.colour, linewidth=1, alpha=0.7)
    axes.plot([x, x], [low, high], color=plot_style.colour, linewidth=1, alpha=0.7)
    is_target = point.name == "retrain"
    if is_target:
        axes.axvline(x, color="black", linestyle=":", linewidth=0.8)
        axes.axhline(y, color="black", linestyle=":", linewidth=0.8)
    axes.plot(x, y, linestyle="", zorder=4 if is_target else 3, **plot_style.markers(11 if is_target else 7))
