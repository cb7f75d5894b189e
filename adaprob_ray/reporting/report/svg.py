"""Shapes of the report's figures, in pixels: axes, intervals and the band of retrain. Templates write them as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from adaprob_ray.reporting.report.axes import Axis
from adaprob_ray.reporting.report.markers import Marker
from adaprob_ray.reporting.stats.intervals import Estimate

WIDTH, RIGHT, TOP = 400, 14, 6  # of every figure; left free at its right and at its top
CAP, ARROWHEAD = 3, 4  # half the stroke at the end of an interval, and the length of an arrow's head
LONGEST_NAME = 26  # characters of a row's name in a figure


@dataclass(frozen=True)
class Shape:
    """One element. Attributes of None are left out; `title` is its tooltip."""

    tag: str
    attributes: Mapping[str, object] = field(default_factory=dict)
    text: str = ""
    title: str = ""
    children: Sequence[Shape] = ()


@dataclass(frozen=True)
class SvgFigure:
    """A picture of `height` pixels under its title. `kind`: its class; `note`: what else must be known, or nothing."""

    kind: str
    title: str
    note: str
    height: float
    shapes: Sequence[Shape]
    width: float = WIDTH


def shorten_name(name: str) -> str:
    """A long name without its middle: rows of one label differ at the end."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


# -- shapes ------------------------------------------------------------------------------------------------------------


def path(classes: str, d: str) -> Shape:
    return Shape("path", {"class": classes, "d": d})


def text(classes: str, x: float, y: float, words: str) -> Shape:
    return Shape("text", {"class": classes, "x": f"{x:g}", "y": f"{y:g}"}, words)


def group(children: Sequence[Shape], *, title: str = "", name: str | None = None, classes: str | None = None) -> Shape:
    """`name`: of the row of a table, by which the search finds it."""
    return Shape("g", {"class": classes, "data-name": name}, title=title, children=children)


def marker_at(marker: Marker, x: float, y: float) -> Shape:
    """The marker with its middle at a point."""
    place = f"translate({x:g} {y:g})"
    shapes = [Shape("path", {"class": classes, "d": d, "transform": place}) for classes, d in marker.paths]
    return shapes[0] if len(shapes) == 1 else Shape("g", children=shapes)


# -- along an axis -----------------------------------------------------------------------------------------------------


def interval(estimate: Estimate, along: Axis, other: float) -> list[Shape]:
    """A bar with a stroke at each end, or an arrow where the axis cuts it. `other`: the pixel on the other axis."""
    low, high = estimate.interval
    if low == high:
        return []
    first, last = along.at(low), along.at(high)
    bar = f"M{other:g} {first:g}V{last:g}" if along.is_upright else f"M{first:g} {other:g}H{last:g}"
    way = -1 if along.is_upright else 1
    start = _end(first, other, -way, low < along.low, along.is_upright)
    end = _end(last, other, way, high > along.high, along.is_upright)
    return [path("interval", bar + start + end)]


def _end(pixel: float, other: float, way: int, is_cut: bool, is_upright: bool) -> str:
    """The end of a bar at `pixel`. `way`: +1 or -1, where an arrow would point."""
    if is_upright:
        arrow = f"M{other - CAP:g} {pixel - ARROWHEAD * way:g}l{CAP} {ARROWHEAD * way} {CAP} {-ARROWHEAD * way}"
        return arrow if is_cut else f"M{other - CAP:g} {pixel:g}h{2 * CAP}"
    arrow = f"M{pixel - ARROWHEAD * way:g} {other - CAP:g}l{ARROWHEAD * way} {CAP} {-ARROWHEAD * way} {CAP}"
    return arrow if is_cut else f"M{pixel:g} {other - CAP:g}v{2 * CAP}"


def band(estimate: Estimate, along: Axis, low: float, high: float) -> list[Shape]:
    """Retrain's interval, shaded, and its mean as a line, from pixel `low` to `high` of the other axis."""
    mean, (first, last) = along.at(estimate.mean), sorted(along.at(end) for end in estimate.interval)
    if along.is_upright:
        box, line = (low, first, high - low, last - first), f"M{low:g} {mean:g}H{high:g}"
    else:
        box, line = (first, low, last - first, high - low), f"M{mean:g} {low:g}V{high:g}"
    places = {name: f"{pixels:g}" for name, pixels in zip(("x", "y", "width", "height"), box, strict=True)}
    return [Shape("rect", {"class": "band", **places}), path("retrain", line)]


def scale(along: Axis, other: float) -> Shape:
    """The axis itself with ticks and numbers, at pixel `other` of the other axis: below the plot, or left of it."""
    start, end = along.start, along.start + along.length
    strokes = f"M{other:g} {start:g}V{end:g}" if along.is_upright else f"M{start:g} {other:g}H{end:g}"
    numbers = []
    for value, words in along.ticks():
        pixel = along.at(value)
        strokes += f"M{other - 4:g} {pixel:g}h4" if along.is_upright else f"M{pixel:g} {other:g}v4"
        x, y, classes = (other - 7, pixel + 4, "tick left") if along.is_upright else (pixel, other + 16, "tick")
        numbers.append(text(classes, x, y, words))
    return group([path("axis", strokes), *numbers])
