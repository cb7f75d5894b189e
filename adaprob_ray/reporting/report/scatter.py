"""Scatter plots: distance to Retrain against cost, and forget against retain error. A mark is named where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adaprob_ray.reporting.figures.cost import COST, DISTANCE, CostPanel, cost_panel, spread_costs
from adaprob_ray.reporting.figures.trade_off import TradeOffPoint, trade_off_points
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.report.axes import Axis, axis
from adaprob_ray.reporting.report.markers import SIZE, Marker
from adaprob_ray.reporting.report.sections import format_full
from adaprob_ray.reporting.report.svg import (
    RIGHT,
    TOP,
    WIDTH,
    Shape,
    SvgFigure,
    band,
    group,
    interval,
    marker_at,
    path,
    scale,
    shortened,
    text,
)
from adaprob_ray.reporting.tables.model import FORGET_ERROR, RETAIN_ERROR, Table

RETAIN, FORGET = metric_format(RETAIN_ERROR), metric_format(FORGET_ERROR)
LEFT, HEIGHT, BELOW = 44, 300, 38  # pixels: left of the plot, down to its end, and for numbers and title under it
MAX_ROWS_TWO_LINES = 9  # rows up to which this figure takes two lines of the grid, next to two other figures
COST_MARGIN = 1.5  # factor of the cost left free at both ends
CHARACTER, LETTERS, SIDE = 6.6, 12, 9  # pixels: of a name's letters across and upright, and from a mark to its name


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels that a name or a mark takes."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def cost_chart(table: Table, markers: Mapping[str, Marker]) -> SvgFigure | None:
    """KL forget against passes, with the noise floor shaded; None where a table has no such points."""
    panel = cost_panel(table)
    if panel is None:
        return None
    points = [point for point in panel.points if point.name in markers]
    costs = dict(zip((point.name for point in panel.points), spread_costs(panel.points), strict=True))
    across = Axis(
        min(costs.values()) / COST_MARGIN, max(costs.values()) * COST_MARGIN, True, LEFT, WIDTH - RIGHT - LEFT
    )
    distances = [point.distance for point in panel.points] + ([panel.original] if panel.original else [])
    upwards = axis(distances, DISTANCE, HEIGHT, TOP - HEIGHT)
    places = {point.name: (across.at(costs[point.name]), upwards.at(point.distance.mean)) for point in points}
    names, unnamed = _names(places)
    marks = []
    for point in points:
        x, y = places[point.name]
        words = f"KL forget {format_full(point.distance, 'nats')}; {point.cost:.3g} × Retrain's passes"
        shapes = [*interval(point.distance, upwards, x), marker_at(markers[point.name], x, y)]
        marks.append(group(shapes, title=f"{point.name}: {words}", name=point.name))
    shifted = "; marks of equal cost are shifted" if any(costs[p.name] != p.cost for p in panel.points) else ""
    note = "shaded: at most the noise floor" + shifted + _omitted(unnamed)
    shapes = [*_cost_frame(panel, across, upwards), *marks, *names]
    return SvgFigure("trade-off", f"{DISTANCE.header()} against {COST}", note, HEIGHT + BELOW, shapes)


def _cost_frame(panel: CostPanel, across: Axis, upwards: Axis) -> list[Shape]:
    """The noise floor, the original model's distance, axes and the title of the axis below."""
    right, top, bottom = WIDTH - RIGHT, upwards.at(panel.floor.mean), upwards.start
    box = {"x": LEFT, "y": f"{top:g}", "width": right - LEFT, "height": f"{bottom - top:g}"}
    shapes = [Shape("rect", {"class": "band", **box})]
    if panel.original is not None:
        y = upwards.at(panel.original.mean)
        shapes += [path("reference", f"M{LEFT} {y:g}H{right}"), text("tick left", right, y - 4, "original")]
    title = text("tick", across.start + across.length / 2, HEIGHT + 34, COST)
    return [*shapes, scale(across, HEIGHT), scale(upwards, LEFT), title]


def trade_off(table: Table, markers: Mapping[str, Marker]) -> SvgFigure | None:
    """The figure; None where fewer than two marked rows have both errors."""
    points = [point for point in trade_off_points(table) if point.name in markers]
    if len(points) < 2:
        return None
    across = axis([point.retain for point in points], RETAIN, LEFT, WIDTH - RIGHT - LEFT)
    upwards = axis([point.forget for point in points], FORGET, HEIGHT, TOP - HEIGHT)
    places = {point.name: (across.at(point.retain.mean), upwards.at(point.forget.mean)) for point in points}
    names, unnamed = _names(places)
    note = "shaded: retrain" + _omitted(unnamed)
    shapes = [*_frame(points, across, upwards), *(_point(point, markers, across, upwards) for point in points), *names]
    kind = "trade-off two-lines" if len(points) <= MAX_ROWS_TWO_LINES else "trade-off"
    return SvgFigure(kind, f"{FORGET.header()} against {RETAIN.header()}", note, HEIGHT + BELOW, shapes)


def _omitted(names: int) -> str:
    return f"; {names} label{'s' * (names > 1)} omitted" if names else ""


def _frame(points: Sequence[TradeOffPoint], across: Axis, upwards: Axis) -> list[Shape]:
    """Bands, axes and the title of the axis below; that of the other is the figure's."""
    retrain = next((point for point in points if point.name == "retrain"), None)
    bands = []
    if retrain is not None:
        bands = [*band(retrain.retain, across, TOP, HEIGHT), *band(retrain.forget, upwards, LEFT, WIDTH - RIGHT)]
    title = text("tick", across.start + across.length / 2, HEIGHT + 34, RETAIN.header())
    return [*bands, scale(across, HEIGHT), scale(upwards, LEFT), title]


def _point(point: TradeOffPoint, markers: Mapping[str, Marker], across: Axis, upwards: Axis) -> Shape:
    x, y = across.at(point.retain.mean), upwards.at(point.forget.mean)
    shapes = [
        *interval(point.retain, across, y),
        *interval(point.forget, upwards, x),
        marker_at(markers[point.name], x, y),
    ]
    words = f"retain error {format_full(point.retain, '%')}; forget error {format_full(point.forget, '%')}"
    return group(shapes, title=f"{point.name}: {words}", name=point.name)


# -- names -----------------------------------------------------------------------------------------------------------------


def _names(places: Mapping[str, tuple[float, float]]) -> tuple[list[Shape], int]:
    """Each name next to its marker if it overlaps no marker and no other name; and the number of names omitted."""
    taken = [Box(x - SIZE, y - SIZE, x + SIZE, y + SIZE) for x, y in places.values()]
    drawn = []
    for name, (x, y) in places.items():
        words = shortened(name)
        for anchor, left, middle in _label_positions(x, y, CHARACTER * len(words)):
            box = Box(left, middle - LETTERS / 2, left + CHARACTER * len(words), middle + LETTERS / 2)
            if _is_free(box, taken):
                taken.append(box)
                drawn.append(_name(name, words, anchor, box))
                break
    return drawn, len(places) - len(drawn)


def _label_positions(x: float, y: float, width: float) -> Iterator[tuple[str, float, float]]:
    """Where a name may stand: its anchor, left end and middle height. Right, left, above, below, then the corners."""
    yield "start", x + SIDE, y
    yield "end", x - SIDE - width, y
    yield "middle", x - width / 2, y - SIDE - LETTERS / 2
    yield "middle", x - width / 2, y + SIDE + LETTERS / 2
    for height in (y - SIDE - 2, y + SIDE + 2):
        yield "start", x + SIDE / 2, height
        yield "end", x - SIDE / 2 - width, height


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    inside = box.left >= LEFT and box.right <= WIDTH and box.top >= 0 and box.bottom <= HEIGHT
    return inside and not any(box.meets(other) for other in taken)


def _name(name: str, words: str, anchor: str, box: Box) -> Shape:
    x = {"start": box.left, "middle": (box.left + box.right) / 2, "end": box.right}[anchor]
    place = {"class": f"point-name {anchor}", "x": f"{x:.1f}", "y": f"{box.bottom - 2:.1f}", "data-name": name}
    return Shape("text", place, words)
