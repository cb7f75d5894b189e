"""For each metric a figure: one line for each row of the table, a marker at its mean, a bar for its interval."""

from __future__ import annotations

from collections.abc import Mapping

from adaprob_ray.reporting.records.metric_format import MetricFormat
from adaprob_ray.reporting.report import svg
from adaprob_ray.reporting.report.axes import axis
from adaprob_ray.reporting.report.content import format_full
from adaprob_ray.reporting.report.markers import Marker
from adaprob_ray.reporting.tables.model import Table

ROW, BELOW, GAP = 21, 22, 12  # pixels: of a row, of the axis' numbers, between names and plot
CHARACTER = 7.2  # pixels of one in a name, in a wide font


def dot_plot(table: Table, column: MetricFormat, markers: Mapping[str, Marker]) -> svg.SvgFigure | None:
    """The figure of one metric, with retrain's interval shaded; None where no marked row has a value."""
    values = {row.name: row.values[column.name] for row in table.rows if column.name in row.values}
    estimates = {name: value for name, value in values.items() if name in markers}
    if not estimates:
        return None
    left = round(CHARACTER * min(svg.LONGEST_NAME, max(map(len, estimates)))) + GAP
    height, right = svg.TOP + ROW * len(estimates), svg.WIDTH - svg.RIGHT
    along = axis(list(estimates.values()), column, left, right - left)
    # Estimates without seeds: the chance level of an attack.
    chance = [value.mean for value in values.values() if not value.n and along.low <= value.mean <= along.high]
    shapes = svg.band(estimates["retrain"], along, 0, height) if "retrain" in estimates else []
    shapes.append(svg.scale(along, height))
    shapes += [svg.path("reference", f"M{along.at(mean):g} 0V{height:g}") for mean in chance]
    for index, (name, estimate) in enumerate(estimates.items()):
        y = svg.TOP + ROW * (index + 0.5)
        row = [
            svg.path("rule", f"M{left:g} {y:g}H{right}"),
            svg.text("name", left - GAP + 2, y + 4, svg.shorten_name(name)),
            *svg.interval(estimate, along, y),
            svg.marker_at(markers[name], along.at(estimate.mean), y),
        ]
        shapes.append(svg.group(row, title=f"{name}: {format_full(estimate, column.unit)}", name=name))
    notes = ["logarithmic axis"] * along.logarithmic + ["dashed line: chance level"] * bool(chance)
    return svg.SvgFigure("dots", column.header(), "; ".join(notes), height + BELOW, shapes)
