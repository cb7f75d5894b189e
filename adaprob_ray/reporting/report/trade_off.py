"""Forget error against retain error: a mark for each row of the table with its intervals, named where there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from adaprob_ray.reporting.records.metric_format import metric_format
from adaprob_ray.reporting.report.axes import Axis, axis
from adaprob_ray.reporting.report.drawing import (
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
from adaprob_ray.reporting.report.markers import SIZE, Mark
from adaprob_ray.reporting.report.sections import exact
from adaprob_ray.reporting.tables.model import Table

RETAIN, FORGET = metric_format("retain_error_percent"), metric_format("forget_error_percent")
LEFT, HEIGHT, BELOW = 44, 300, 38  # pixels: left of the plot, down to its end, and for numbers and title under it
FEW = 9  # rows up to which this figure stands beside two others, one above the other
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


def trade_off(table: Table, marks: Mapping[str, Mark]) -> Html | None:
    """The figure; None where fewer than two marked rows have both errors."""
    retain, forget = ({line.name: line for line in lines(table, column, marks)} for column in (RETAIN, FORGET))
    both = [(retain[name], forget[name]) for name in retain if name in forget]
    if len(both) < 2:
        return None
    across = axis([line.estimate for line, _ in both], RETAIN, LEFT, WIDTH - RIGHT - LEFT)
    upwards = axis([line.estimate for _, line in both], FORGET, HEIGHT, TOP - HEIGHT)
    places = {x.name: (across.at(x.estimate.mean), upwards.at(y.estimate.mean)) for x, y in both}
    named, unnamed = _names(places)
    note = "what retraining gives is shaded" + (f"; {unnamed} without room for a name" if unnamed else "")
    drawn = [*_frame(both, across, upwards), *(_point(x, y, across, upwards) for x, y in both), *named]
    title = f"{FORGET.header()} against {RETAIN.header()}"
    kind = "trade-off two-lines" if len(both) <= FEW else "trade-off"
    return figure(kind, title, note, HEIGHT + BELOW, *drawn)


def _frame(both: Sequence[tuple[Line, Line]], across: Axis, upwards: Axis) -> Iterator[Html]:
    """Bands, axes and the title of the axis below; that of the other is the figure's."""
    yield band(retrain([line for line, _ in both]), across, TOP, HEIGHT)
    yield band(retrain([line for _, line in both]), upwards, LEFT, WIDTH - RIGHT)
    yield scale(across, HEIGHT)
    yield scale(upwards, LEFT)
    middle = {"class": "tick", "x": f"{across.start + across.length / 2:g}", "y": HEIGHT + 34}
    yield element("text", middle, RETAIN.header())


def _point(retain: Line, forget: Line, across: Axis, upwards: Axis) -> Html:
    x, y = across.at(retain.estimate.mean), upwards.at(forget.estimate.mean)
    words = f"retain error {exact(retain.estimate, '%')}; forget error {exact(forget.estimate, '%')}"
    return element(
        "g",
        {"data-name": retain.name},
        element("title", {}, f"{retain.name}: {words}"),
        interval(retain.estimate, across, y),
        interval(forget.estimate, upwards, x),
        retain.mark.at(x, y),
    )


# -- names -----------------------------------------------------------------------------------------------------------------


def _names(places: Mapping[str, tuple[float, float]]) -> tuple[list[Html], int]:
    """Each name beside its mark where it meets no mark and no other name; and how many found no room."""
    taken = [Box(x - SIZE, y - SIZE, x + SIZE, y + SIZE) for x, y in places.values()]
    drawn = []
    for name, (x, y) in places.items():
        words = shortened(name)
        for anchor, left, middle in _beside(x, y, CHARACTER * len(words)):
            box = Box(left, middle - LETTERS / 2, left + CHARACTER * len(words), middle + LETTERS / 2)
            if _is_free(box, taken):
                taken.append(box)
                drawn.append(_name(name, words, anchor, box))
                break
    return drawn, len(places) - len(drawn)


def _beside(x: float, y: float, width: float) -> Iterator[tuple[str, float, float]]:
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


def _name(name: str, words: str, anchor: str, box: Box) -> Html:
    x = {"start": box.left, "middle": (box.left + box.right) / 2, "end": box.right}[anchor]
    place = {"class": f"point-name {anchor}", "x": f"{x:.1f}", "y": f"{box.bottom - 2:.1f}", "data-name": name}
    return element("text", place, words)
