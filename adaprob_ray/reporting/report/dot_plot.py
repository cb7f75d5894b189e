"""For each metric a figure: one line for each row of the table, a marker at its mean, a bar for its interval."""

from __future__ import annotations

from collections.abc import Mapping

from adaprob_ray.reporting.records.metric_format import MetricFormat
from adaprob_ray.reporting.report.axes import Axis, axis
from adaprob_ray.reporting.report.markers import Marker
from adaprob_ray.reporting.report.sections import format_full
from adaprob_ray.reporting.report.svg import (
    LONGEST_NAME,
    RIGHT,
    TOP,
    WIDTH,
    MarkedEstimate,
    Shape,
    SvgFigure,
    band,
    group,
    interval,
    marked_estimates,
    marker_at,
    path,
    retrain_estimate,
    scale,
    shortened,
    text,
)
from adaprob_ray.reporting.tables.model import Table

ROW, BELOW, GAP = 21, 22, 12  # pixels: of a row, of the axis' numbers, between names and plot
CHARACTER = 7.2  # pixels of one in a name, in a wide font


def dot_plot(table: Table, column: MetricFormat, markers: Mapping[str, Marker]) -> SvgFigure | None:
    """The figure of one metric, with retrain's interval shaded; None where no marked row has a value."""
    rows = marked_estimates(table, column, markers)
    if not rows:
        return None
    left = round(CHARACTER * min(LONGEST_NAME, max(len(row.name) for row in rows))) + GAP
    height = TOP + ROW * len(rows)
    along = axis([row.estimate for row in rows], column, left, WIDTH - RIGHT - left)
    # Estimates without seeds: the chance level of an attack.
    values = [row.values[column.name] for row in table.rows if column.name in row.values]
    chance = [value.mean for value in values if not value.n and along.low <= value.mean <= along.high]
    shapes = [
        *band(retrain_estimate(rows), along, 0, height),
        scale(along, height),
        *(path("reference", f"M{along.at(mean):g} 0V{height:g}") for mean in chance),
        *(_row(row, column, along, TOP + ROW * (index + 0.5)) for index, row in enumerate(rows)),
    ]
    notes = ["logarithmic axis"] * along.logarithmic + ["dashed line: chance level"] * bool(chance)
    return SvgFigure("dots", column.header(), "; ".join(notes), height + BELOW, shapes)


def _row(row: MarkedEstimate, column: MetricFormat, along: Axis, y: float) -> Shape:
    shapes = [
        path("rule", f"M{along.start:g} {y:g}H{WIDTH - RIGHT}"),
        text("name", along.start - GAP + 2, y + 4, shortened(row.name)),
        *interval(row.estimate, along, y),
        marker_at(row.marker, along.at(row.estimate.mean), y),
    ]
    return group(shapes, title=f"{row.name}: {format_full(row.estimate, column.unit)}", name=row.name)
