"""Ranks: the mean rank of each row by its distance to Retrain, in each metric and over all of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures import style
from adaprob_ray.reporting.records.grouping import RowGroup, columns_with_values, record_groups, seed_means
from adaprob_ray.reporting.records.metric_format import MetricFormat, metric_format
from adaprob_ray.reporting.records.provenance import figure_notes
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.output import Output

# Ranked by where no columns are asked for, if the Records have values of them.
COLUMNS = (
    "test_error_percent", "retain_error_percent", "forget_error_percent", "membership_accuracy_percent", "kl_forget_nats",
    "kl_test_nats",
)  # fmt: skip
# Distances are compared after rounding to so many decimals: without it, sums in another order would break ties.
RANK_DECIMALS = 9


@dataclass(frozen=True)
class Ranks:
    """Mean ranks by name, 1 being nearest to Retrain; `methods` in the order of `overall`, the mean over a name's metrics.

    A cell is one group and seed, in which all names are ranked; `independent` is the reference's name, if it is there.
    """

    methods: dict[str, str]
    columns: list[MetricFormat]
    by_column: dict[str, dict[str, float]]
    overall: dict[str, float]
    cells: int
    independent: str | None
    caption: list[str]


def build_ranks(selection: Selection, out: Path, *, columns: Sequence[str] | None = None) -> Output:
    """Write the figure of the selected Records to `out`/ranks.

    Args:
        columns: The metrics to rank by; by default errors, the attack's accuracy and KL, as far as the Records have them.
    """
    gathered = selection.gather_some("ranks")
    columns = columns_with_values(gathered.records, COLUMNS) if columns is None else columns
    return style.save_output(draw_ranks(compute_ranks(gathered.records, columns)), out / "ranks", gathered.missing)


def compute_ranks(records: pd.DataFrame, columns: Sequence[str]) -> Ranks:
    """Rank names by |value − Retrain's| in each cell and metric, ties sharing their mean rank, and average over cells.

    Original and Retrain are not ranked. The independent retraining is: no method can be expected to come closer
    than that. A name without any value of a metric is not ranked in it.

    Raises:
        InputError: A name has some values of a metric, but not all.
    """
    groups = record_groups(records).values()
    ranked = {row.name: row for rows in groups for row in rows if row.label not in ("original", "retrain")}
    by_column = {name: _mean_ranks(groups, name, ranked) for name in columns}
    by_name = {name: [ranks[name] for ranks in by_column.values() if name in ranks] for name in ranked}
    overall = {name: statistics.fmean(ranks) for name, ranks in by_name.items() if ranks}
    cells = sum(len(set(row.records["seed"])) for rows in groups for row in rows if row.label == "retrain")
    note = (
        f"rank of |difference from Retrain| among {len(overall)}, mean over {cells} cells (groups × seeds); ties share a rank; "
        "bars: mean over the metrics that a row has"
    )
    return Ranks(
        methods={name: ranked[name].method for name in sorted(overall, key=lambda name: overall[name])},
        columns=[metric_format(name) for name in columns],
        by_column=by_column,
        overall=overall,
        cells=cells,
        independent=next((name for name, row in ranked.items() if row.label == "retrain_independent"), None),
        caption=[note, *figure_notes(records)],
    )


def _mean_ranks(groups: Iterable[Sequence[RowGroup]], name: str, ranked: Iterable[str]) -> dict[str, float]:
    distances = [pd.DataFrame()]
    for rows in groups:
        values = pd.DataFrame({row.name: seed_means(row.records, name) for row in rows}, dtype=float)
        if "retrain" in values:  # a line for each seed that Retrain has
            distances.append(values.sub(values["retrain"], axis=0).abs().dropna(subset="retrain"))
    cells = pd.concat(distances).reindex(columns=list(ranked)).dropna(axis="columns", how="all")
    faults = [
        f"{name}: must have a value of {row} in all {len(cells)} cells, got {len(cells) - count}"
        for row, count in cells.isna().sum().items()
        if count
    ]
    if faults or cells.empty:
        raise InputError(*(faults or [f"{name}: must have values for Retrain and for a row to rank, got none"]))
    means = cells.round(RANK_DECIMALS).rank(axis="columns").mean()
    return {str(row): float(mean) for row, mean in means.items()}


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_ranks(ranks: Ranks) -> Figure:
    """A row for each name, the nearest to Retrain on top: its mean rank in each metric, and over all as a bar."""
    names = list(ranks.methods)
    styles = style.plot_styles(ranks.methods)
    figure = style.new_figure(6.6, 1.3 + 0.36 * len(names))
    axes = figure.subplots()
    for position, name in enumerate(names):
        colour = style.shade(styles[name].colour, 0.6)
        axes.barh(position, ranks.overall[name] - 1, 0.8, 1, color=colour, edgecolor="black", linewidth=0.6)
    handles = _draw_metrics(axes, ranks, names)
    if ranks.independent in ranks.overall:
        label = f"{ranks.independent}, over all metrics"
        handles.append(axes.axvline(ranks.overall[ranks.independent], color="black", ls="--", lw=1, label=label))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    style.style_axes(axes, grid="x", xlabel="mean rank (1 = nearest to retrain)")
    style.add_legend(figure, handles, 3)
    style.add_caption(figure, ranks.caption)
    return figure


def _draw_metrics(axes: Axes, ranks: Ranks, names: Sequence[str]) -> list[Line2D]:
    """A marker for each metric, one below the other in a name's row; legend handles."""
    offsets = np.linspace(-0.27, 0.27, len(ranks.columns)) if len(ranks.columns) > 1 else [0.0]
    handles: list[Line2D] = []
    styles = style.plain_styles(ranks.by_column).values()
    for column, offset, plot_style in zip(ranks.columns, offsets, styles, strict=True):
        means = ranks.by_column[column.name]
        places = [(means[name], position + offset) for position, name in enumerate(names) if name in means]
        marker: dict[str, Any] = {"marker": plot_style.marker, "mfc": "white", "mec": "black", "mew": 0.9}
        handles += axes.plot(*np.array(places).T, linestyle="", label=column.words, zorder=3, markersize=4.5, **marker)
    return handles
