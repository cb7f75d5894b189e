"""Ablations: metrics against one setting of a method, such as λ or η, with references that do not have the setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.figures import style
from adaprob_ray.reporting.records.grouping import RowGroup, columns_with_prefix, columns_with_values, record_groups
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.provenance import figure_notes, unique_strings
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.model import FORGET_ERROR, RETAIN_ERROR, estimate_of
from adaprob_ray.reporting.tables.output import Output

# Drawn where no columns are asked for, if the curves have values of them; the last two are AdaProb's own.
COLUMNS = (RETAIN_ERROR, FORGET_ERROR, "kl_forget_nats", "target_shift", "projection_residual")
AXIS_LABELS = {"target_shift": "target shift (0 to 1)"}  # where a metric's own header has no unit
LOGARITHMIC = ("projection_residual",)
DOTTED = (0, (1, 1.5))
# Longer tick labels, as of step sizes, run into one another: the axis then has a tick for each power of ten.
MAX_TICK_CHARACTERS = 5
PUBLISHED: dict[str, Any] = {"color": style.GREY, "linestyle": "", "marker": "+", "markersize": 9, "mew": 1.6}
PREFIX = "method."  # of the columns of settings
SETTINGS = {"method.lam": "λ", "method.lr": "learning rate γ", "method.eta": "step size η"}
PublishedValues = Mapping[str, Mapping[float, float]]  # column → setting → the published value


@dataclass(frozen=True)
class Curve:
    """MetricFormat → setting → its mean and interval over seeds."""

    name: str
    method: str
    values: dict[str, dict[float, Estimate]]


@dataclass(frozen=True)
class ReferenceLine:
    """MetricFormat → mean and interval of a row that does not have the setting."""

    name: str
    method: str
    values: dict[str, Estimate]


@dataclass(frozen=True)
class Ablation:
    """Group's title → its curves, and its reference lines: Retrain, and rows of the curves' methods without the setting."""

    over: str
    columns: list[MetricFormat]
    panels: dict[str, list[Curve]]
    references: dict[str, list[ReferenceLine]]
    caption: list[str]


def build_ablation(
    selection: Selection,
    out: Path,
    *,
    over: str,
    columns: Sequence[str] | None = None,
    published: Mapping[str, PublishedValues] | None = None,
    name: str = "ablation",
) -> Output:
    """Write the figure of the selected Records to `out`/`name`.

    Args:
        over: The setting of the x-axis, such as `lam`, or its column, `method.lam`.
        columns: The metrics, a panel each; by default errors, KL and AdaProb's own metrics, as far as the Records have them.
        published: Data set → published values, which are shown if all Records are of that data set.
    """
    gathered = selection.gather_some(name)
    ablation = compute_ablation(gathered.records, over, columns)
    datasets = unique_strings(gathered.records["dataset"])
    values = (published or {}).get(datasets[0]) if len(datasets) == 1 else None
    return style.save_output(draw_ablation(ablation, values), out / name, gathered.missing)


def compute_ablation(records: pd.DataFrame, over: str, columns: Sequence[str] | None = None) -> Ablation:
    """Each column against a setting, such as `lam` (λ), `lr` (γ of Eq. 9) or `eta` (η of Eq. 7).

    A row is a curve if it has two values of the setting, and is left out if it has one. Without `columns`, those of COLUMNS
    of which a curve has a value.

    Raises:
        InputError: There is no such setting, or no curve.
    """
    over = _setting_column(records, over)
    groups = record_groups(records, along=over)
    varying = {title: [row for row in rows if row.records[over].nunique() > 1] for title, rows in groups.items()}
    methods = {row.method for rows in varying.values() for row in rows}
    if not methods:
        labels = ", ".join(unique_strings(records["label"]))
        raise InputError(f"--over: must be a setting of which a label has two values, got {over} (labels: {labels})")
    columns = columns_with_values(records[records[over].notna()], COLUMNS) if columns is None else columns
    panels = {title: [_curve(row, over, columns) for row in rows] for title, rows in varying.items() if rows}
    references = {
        title: [
            ReferenceLine(row.name, row.method, _estimates(row.records, columns))
            for row in groups[title]
            if row.records[over].isna().all() and (row.label == "retrain" or row.method in methods)
        ]
        for title in panels
    }
    caption = [style.INTERVAL_NOTE, *figure_notes(records)]
    return Ablation(over, [metric_format(name) for name in columns], panels, references, caption)


def _setting_column(records: pd.DataFrame, over: str) -> str:
    """The Record column of a setting that is given by its name or by its column."""
    column = over if over in records or over.startswith(PREFIX) else PREFIX + over
    if column not in records:
        columns = columns_with_prefix(records, PREFIX)
        known = columns if column == over else [name.removeprefix(PREFIX) for name in columns]
        raise InputError(f"--over: {unknown_name('setting', over, known)}")
    return column


def _curve(row: RowGroup, over: str, columns: Sequence[str]) -> Curve:
    estimates = {float(str(x)): _estimates(members, columns) for x, members in row.records.groupby(over)}
    values = {name: {x: each[name] for x, each in estimates.items() if name in each} for name in columns}
    return Curve(row.name, row.method, values)


def _estimates(records: pd.DataFrame, columns: Sequence[str]) -> dict[str, Estimate]:
    """Column → estimate; columns without a value, such as AdaProb's own metrics for other methods, are left out."""
    return {name: estimate for name in columns if (estimate := estimate_of(records, name)) is not None}


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_ablation(ablation: Ablation, published: PublishedValues | None = None) -> Figure:
    """A row for each group, a panel for each column: means with intervals as bands, reference lines, published values."""
    methods, references = style.methods_by_name(ablation.panels), style.methods_by_name(ablation.references)
    styles = style.plot_styles(methods | references)
    rows, columns = len(ablation.panels), len(ablation.columns)
    lines = [*((name, styles[name].line) for name in methods), *((name, DOTTED) for name in references)]
    handles = [Line2D([], [], ls=line, lw=1.2, label=name, **styles[name].markers()) for name, line in lines]
    handles += [Line2D([], [], label="paper, Table 5", **PUBLISHED)] if published else []
    figure = style.new_figure(0.6 + 2.9 * columns, 0.8 + 2.7 * rows)
    style.add_legend(figure, handles, min(len(handles), 1 + columns))
    xlabel = SETTINGS.get(ablation.over, ablation.over.removeprefix(PREFIX))
    for panels, (title, curves) in zip(style.panel_grid(figure, rows, columns), ablation.panels.items(), strict=True):
        for axes, column in zip(panels, ablation.columns, strict=True):
            _draw_curves(axes, column, curves, styles)
            _draw_references(axes, column, ablation.references[title], styles)
            values = (published or {}).get(column.name, {})
            axes.plot(list(values), list(values.values()), zorder=4, **PUBLISHED)
            _settings_axis(axes, curves)
            style.style_axes(axes, xlabel=xlabel, ylabel=AXIS_LABELS.get(column.name, column.header()))
        panels[0].set_title(title, fontsize=style.TEXT, loc="left")
    style.add_caption(figure, ablation.caption)
    return figure


def _draw_curves(axes: Axes, column: MetricFormat, curves: Sequence[Curve], styles: style.Styles) -> None:
    for curve in curves:
        estimates, plot_style = curve.values[column.name], styles[curve.name]
        ends = np.array([estimate.interval for estimate in estimates.values()]).reshape(-1, 2)
        ends = ends.clip(0, 100) if column.is_share else ends
        axes.fill_between(list(estimates), *ends.T, color=plot_style.colour, alpha=0.13, linewidth=0)
        means = [estimate.mean for estimate in estimates.values()]
        options: dict[str, Any] = {"linestyle": plot_style.line, "linewidth": 1.2, "clip_on": False, "zorder": 3}
        axes.plot(list(estimates), means, **options, **plot_style.markers())
    if column.name in LOGARITHMIC:
        axes.set_yscale("log")
    elif column.is_share or column.name in AXIS_LABELS:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def _draw_references(axes: Axes, column: MetricFormat, lines: Sequence[ReferenceLine], styles: style.Styles) -> None:
    """Dotted, with the marker at the right edge."""
    for line in lines:
        plot_style, estimate = styles[line.name], line.values.get(column.name)
        if estimate is None or (column.name in LOGARITHMIC and estimate.mean <= 0):
            continue
        axes.axhline(estimate.mean, color=plot_style.colour, linestyle=DOTTED, linewidth=1.2)
        edge = axes.get_yaxis_transform()
        axes.plot(1, estimate.mean, transform=edge, linestyle="", clip_on=False, zorder=4, **plot_style.markers(7))


def _settings_axis(axes: Axes, curves: Sequence[Curve]) -> None:
    """Ticks where there are values, if these are short enough to print; logarithmic where they span a power of ten."""
    settings = sorted({x for curve in curves for estimates in curve.values.values() for x in estimates})
    if settings[-1] >= 10 * settings[0] > 0:
        axes.set_xscale("log")
    labels = [f"{x:g}" for x in settings]
    if axes.get_xscale() == "linear" or max(map(len, labels)) <= MAX_TICK_CHARACTERS:
        axes.set_xticks(settings, labels)
    axes.xaxis.set_minor_formatter(NullFormatter())
