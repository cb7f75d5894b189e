"""For each metric a figure: one line for each row of the table, a mark at its mean, a bar for its interval."""

from __future__ import annotations

from collections.abc import Mapping

from adaprob_ray.reporting.records.metric_format import MetricFormat
from adaprob_ray.reporting.report.axes import Axis, axis
from adaprob_ray.reporting.report.drawing import (
    LONGEST_NAME,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    band,
    figure,
    interval,
    lines,
    retrain,
    scale,
    shortened,
)
from adaprob_ray.reporting.report.html import Html, element
from adaprob_ray.reporting.report.markers import Mark
from adaprob_ray.reporting.report.sections import exact
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.model import Table

ROW, BELOW, GAP = 21, 22, 12  # pixels: of a line, of the axis' numbers, between names and plot
CHARACTER = 7.2  # pixels of one in a name, in a wide font


def dots(table: Table, column: MetricFormat, marks: Mapping[str, Mark]) -> Html | None:
    """The figure of one metric, what retraining gives shaded; None where no marked row has a value."""
    found = lines(table, column, marks)
    if not found:
        return None
    left = round(CHARACTER * min(LONGEST_NAME, max(len(line.name) for line in found))) + GAP
    height = TOP + ROW * len(found)
    along = axis([line.estimate for line in found], column, left, WIDTH - RIGHT - left)
    known = [estimate for estimate in _without_seeds(table, column) if along.low <= estimate.mean <= along.high]
    drawn = [band(retrain(found), along, 0, height), scale(along, height)]
    drawn += [_broken_line(along.at(estimate.mean), height) for estimate in known]
    drawn += [_line(line, column, along, TOP + ROW * (at + 0.5)) for at, line in enumerate(found)]
    notes = ["logarithmic axis"] * along.logarithmic + ["broken line: no signal"] * bool(known)
    return figure("dots", column.header(), "; ".join(notes), height + BELOW, *drawn)


def _line(line: Line, column: MetricFormat, along: Axis, y: float) -> Html:
    name = {"class": "name", "x": f"{along.start - GAP + 2:g}", "y": f"{y + 4:g}"}
    return element(
        "g",
        {"data-name": line.name},
        element("title", {}, f"{line.name}: {exact(line.estimate, column.unit)}"),
        element("path", {"class": "rule", "d": f"M{along.start:g} {y:g}H{WIDTH - RIGHT}"}),
        element("text", name, shortened(line.name)),
        interval(line.estimate, along, y),
        line.mark.at(along.at(line.estimate.mean), y),
    )


def _without_seeds(table: Table, column: MetricFormat) -> list[Estimate]:
    """What is known without any seed: the value of an attack that finds nothing."""
    return [
        row.values[column.name] for row in table.rows if column.name in row.values and not row.values[column.name].n
    ]


def _broken_line(x: float, height: float) -> Html:
    return element("path", {"class": "no-signal", "d": f"M{x:g} 0V{height:g}"})
