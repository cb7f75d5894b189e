"""What the report's figures are drawn with, as inline SVG in pixels: frames, axes, intervals, and the band of retrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from adaprob_ray.reporting.records.metric_format import MetricFormat
from adaprob_ray.reporting.report.axes import Axis, bounds
from adaprob_ray.reporting.report.html import Html, element, join
from adaprob_ray.reporting.report.markers import Mark
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.model import Table

WIDTH, RIGHT, TOP = 400, 14, 6  # of every figure; left free at its right and at its top
CAP, HEAD = 3, 4  # half the stroke at the end of an interval, and the length of an arrow's head
LONGEST_NAME = 26  # characters of a row's name in a figure


@dataclass(frozen=True)
class Line:
    """One row of a table in one metric, as a figure shows it."""

    name: str
    mark: Mark
    estimate: Estimate


def lines(table: Table, column: MetricFormat, marks: Mapping[str, Mark]) -> list[Line]:
    """The rows that have a mark and a value, in the order of the table."""
    return [
        Line(row.name, marks[row.name], row.values[column.name])
        for row in table.rows
        if row.name in marks and column.name in row.values
    ]


def retrain(found: Sequence[Line]) -> Estimate | None:
    return next((line.estimate for line in found if line.name == "retrain"), None)


def figure(kind: str, title: str, note: str, height: float, *drawn: Html) -> Html:
    """A picture of `height` pixels under its title. `kind`: its class; `note`: what else must be known, or nothing."""
    box = {"viewBox": f"0 0 {WIDTH} {height:g}", "role": "img", "aria-label": f"{title}. {note}".strip()}
    note_words = [Html(" "), element("span", {}, note)] if note else []
    caption = element("figcaption", {}, element("b", {}, title), *note_words)
    return element("figure", {"class": kind}, caption, element("svg", box, *drawn))


def shortened(name: str) -> str:
    """A long name without its middle: rows of one label differ at the end."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


# -- along an axis ---------------------------------------------------------------------------------------------------------


def interval(estimate: Estimate, along: Axis, other: float) -> Html:
    """A bar with a stroke at each end, or an arrow where the axis cuts it. `other`: the pixel on the other axis."""
    low, high = bounds(estimate)
    if low == high:
        return Html("")
    first, last = along.at(low), along.at(high)
    bar = f"M{other:g} {first:g}V{last:g}" if along.upright else f"M{first:g} {other:g}H{last:g}"
    way = -1 if along.upright else 1
    ends = _end(first, other, -way, low < along.low, along.upright) + _end(
        last, other, way, high > along.high, along.upright
    )
    return element("path", {"class": "interval", "d": bar + ends})


def _end(at: float, other: float, way: int, is_cut: bool, upright: bool) -> str:
    """The end of a bar at pixel `at`. `way`: +1 or -1, where an arrow would point."""
    if upright:
        arrow = f"M{other - CAP:g} {at - HEAD * way:g}l{CAP} {HEAD * way} {CAP} {-HEAD * way}"
        return arrow if is_cut else f"M{other - CAP:g} {at:g}h{2 * CAP}"
    arrow = f"M{at - HEAD * way:g} {other - CAP:g}l{HEAD * way} {CAP} {-HEAD * way} {CAP}"
    return arrow if is_cut else f"M{at:g} {other - CAP:g}v{2 * CAP}"


def band(estimate: Estimate | None, along: Axis, low: float, high: float) -> Html:
    """What retraining gives: its interval shaded, its mean as a line, from pixel `low` to `high` of the other axis."""
    if estimate is None:
        return Html("")
    mean, (first, last) = along.at(estimate.mean), sorted(along.at(end) for end in bounds(estimate))
    if along.upright:
        box, line = (low, first, high - low, last - first), f"M{low:g} {mean:g}H{high:g}"
    else:
        box, line = (first, low, last - first, high - low), f"M{mean:g} {low:g}V{high:g}"
    places = {name: f"{pixels:g}" for name, pixels in zip(("x", "y", "width", "height"), box, strict=True)}
    return join(element("rect", {"class": "band", **places}), element("path", {"class": "retrain", "d": line}))


def scale(along: Axis, other: float) -> Html:
    """The axis itself with ticks and numbers, at pixel `other` of the other axis: below the plot, or left of it."""
    start, end = along.start, along.start + along.length
    strokes = f"M{other:g} {start:g}V{end:g}" if along.upright else f"M{start:g} {other:g}H{end:g}"
    numbers = []
    for value, words in along.ticks():
        at = along.at(value)
        strokes += f"M{other - 4:g} {at:g}h4" if along.upright else f"M{at:g} {other:g}v4"
        x, y, classes = (other - 7, at + 4, "tick left") if along.upright else (at, other + 16, "tick")
        numbers.append(element("text", {"class": classes, "x": f"{x:g}", "y": f"{y:g}"}, words))
    return element("g", {}, element("path", {"class": "axis", "d": strokes}), *numbers)
