"""Scatter plots: distance to Retrain against cost, and forget against retain error. A mark is named where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.transforms import Bbox

from adaprob_ray.reporting.figures.cost import COST, DISTANCE, cost_panel, spread_costs
from adaprob_ray.reporting.figures.trade_off import trade_off_points
from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.report import svg
from adaprob_ray.reporting.report.axes import Axis, axis
from adaprob_ray.reporting.report.content import format_full
from adaprob_ray.reporting.report.markers import SIZE, Marker
from adaprob_ray.reporting.stats.intervals import Estimate
from adaprob_ray.reporting.tables.model import FORGET_ERROR, RETAIN_ERROR, Table

RETAIN, FORGET = metric_format(RETAIN_ERROR), metric_format(FORGET_ERROR)
# Pixels: left of the plot, its right end, down to its end, and for numbers and title under it.
LEFT, END, HEIGHT, BELOW = 44, svg.WIDTH - svg.RIGHT, 300, 38
MAX_ROWS_TWO_LINES = 9  # rows up to which this figure takes two lines of the grid, next to two other figures
COST_MARGIN = 1.5  # factor of the cost left free at both ends
CHARACTER, LETTERS, SIDE = 6.6, 12, 9  # pixels: of a name's letters across and upright, and from a mark to its name


def cost_chart(table: Table, markers: Mapping[str, Marker]) -> svg.SvgFigure | None:
    """KL forget against passes, with the noise floor shaded; None where a table has no such points."""
    panel = cost_panel(table)
    if panel is None:
        return None
    costs = spread_costs(panel.points)
    across = Axis(min(costs) / COST_MARGIN, max(costs) * COST_MARGIN, True, LEFT, END - LEFT)
    distances = [point.distance for point in panel.points] + ([panel.original] if panel.original else [])
    upwards = axis(distances, DISTANCE, HEIGHT, svg.TOP - HEIGHT)
    floor = upwards.at(panel.floor.mean)
    box = {"x": LEFT, "y": f"{floor:g}", "width": END - LEFT, "height": f"{HEIGHT - floor:g}"}
    behind = [svg.Shape("rect", {"class": "band", **box})]
    if panel.original is not None:
        y = upwards.at(panel.original.mean)
        behind += [svg.path("reference", f"M{LEFT} {y:g}H{END}"), svg.text("tick left", END, y - 4, "original")]
    marks = {}
    for point, cost in zip(panel.points, costs, strict=True):
        words = f"KL forget {format_full(point.distance, 'nats')}; {point.cost:.3g} × Retrain's passes"
        marks[point.name] = (Estimate(cost, None, 1), point.distance, words)
    is_shifted = any(cost != point.cost for point, cost in zip(panel.points, costs, strict=True))
    note = "shaded: at most the noise floor" + "; marks of equal cost are shifted" * is_shifted
    return _chart("trade-off", (DISTANCE.header(), COST), note, (across, upwards), behind, marks, markers)


def trade_off(table: Table, markers: Mapping[str, Marker]) -> svg.SvgFigure | None:
    """The figure; None where fewer than two marked rows have both errors."""
    points = {point.name: point for point in trade_off_points(table) if point.name in markers}
    if len(points) < 2:
        return None
    across = axis([point.retain for point in points.values()], RETAIN, LEFT, END - LEFT)
    upwards = axis([point.forget for point in points.values()], FORGET, HEIGHT, svg.TOP - HEIGHT)
    behind = []
    if retrain := points.get("retrain"):
        behind = [*svg.band(retrain.retain, across, svg.TOP, HEIGHT), *svg.band(retrain.forget, upwards, LEFT, END)]
    marks = {}
    for name, point in points.items():
        words = f"retain error {format_full(point.retain, '%')}; forget error {format_full(point.forget, '%')}"
        marks[name] = (point.retain, point.forget, words)
    kind = "trade-off two-lines" if len(points) <= MAX_ROWS_TWO_LINES else "trade-off"
    headers = (FORGET.header(), RETAIN.header())
    return _chart(kind, headers, "shaded: retrain", (across, upwards), behind, marks, markers)


def _chart(
    kind: str,
    headers: tuple[str, str],
    note: str,
    axes: tuple[Axis, Axis],
    behind: Sequence[svg.Shape],
    marks: Mapping[str, tuple[Estimate, Estimate, str]],
    markers: Mapping[str, Marker],
) -> svg.SvgFigure:
    """The first of the headers against the second, which is below the axis.

    `axes`: across, then upwards; `marks`: row name → where it is along both, and its tooltip after its name.
    """
    title = svg.text("tick", axes[0].start + axes[0].length / 2, HEIGHT + 34, headers[1])
    shapes, places = [*behind, svg.scale(axes[0], HEIGHT), svg.scale(axes[1], LEFT), title], {}
    for name, (right, up, words) in marks.items():
        if name in markers:
            x, y = places[name] = axes[0].at(right.mean), axes[1].at(up.mean)
            bars = [*svg.interval(right, axes[0], y), *svg.interval(up, axes[1], x)]
            shapes.append(svg.group([*bars, svg.marker_at(markers[name], x, y)], title=f"{name}: {words}", name=name))
    names, unnamed = _names(places)
    note += f"; {unnamed} label{'s' * (unnamed > 1)} omitted" if unnamed else ""
    return svg.SvgFigure(kind, " against ".join(headers), note, HEIGHT + BELOW, [*shapes, *names])


# -- names -----------------------------------------------------------------------------------------------------------------


def _names(places: Mapping[str, tuple[float, float]]) -> tuple[list[svg.Shape], int]:
    """Each name next to its marker if it overlaps no marker and no other name; and the number of names omitted."""
    boxes = [Bbox.from_extents(x - SIZE, y - SIZE, x + SIZE, y + SIZE) for x, y in places.values()]
    labels = []
    for name, (x, y) in places.items():
        words = svg.shorten_name(name)
        for anchor, left, middle in _label_positions(x, y, width := CHARACTER * len(words)):
            box = Bbox.from_extents(left, middle - LETTERS / 2, left + width, middle + LETTERS / 2)
            is_inside = box.x0 >= LEFT and box.x1 <= svg.WIDTH and box.y0 >= 0 and box.y1 <= HEIGHT
            if is_inside and not any(box.fully_overlaps(other) for other in boxes):
                boxes.append(box)
                x = {"start": box.x0, "middle": (box.x0 + box.x1) / 2, "end": box.x1}[anchor]
                place = {"x": f"{x:.1f}", "y": f"{box.y1 - 2:.1f}", "data-name": name}
                labels.append(svg.Shape("text", {"class": f"point-name {anchor}", **place}, words))
                break
    return labels, len(places) - len(labels)


def _label_positions(x: float, y: float, width: float) -> Iterator[tuple[str, float, float]]:
    """Where a name may stand: its anchor, left end and middle height. Right, left, above, below, then the corners."""
    yield "start", x + SIDE, y
    yield "end", x - SIDE - width, y
    yield "middle", x - width / 2, y - SIDE - LETTERS / 2
    yield "middle", x - width / 2, y + SIDE + LETTERS / 2
    for height in (y - SIDE - 2, y + SIDE + 2):
        yield "start", x + SIDE / 2, height
        yield "end", x - SIDE / 2 - width, height
