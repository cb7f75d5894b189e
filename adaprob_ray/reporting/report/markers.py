"""Marks of labels: a shape, a colour and filled or hollow, the same in every table and figure of a report.

Two marks never differ by colour alone: shapes come round after seven labels, and then they are hollow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from adaprob_ray.reporting.report.html import Html, element
from adaprob_ray.sweep.method_choices import REFERENCES

SIZE = 6  # pixels from the middle to the end of a mark, at most

_DIAMOND = "M0-5.6 5.6 0 0 5.6-5.6 0z"
_SQUARE = "M-4.2-4.2h8.4v8.4h-8.4z"
_SHAPES = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",  # circle
    "M0-5.2 5 3.8H-5z",  # triangle
    _SQUARE,
    "M0 5.2 5-3.8H-5z",  # triangle, point down
    "M-1.7-5h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3v-3.4h3.3z",  # plus
    "M-5.4 0-2.7-4.7H2.7L5.4 0 2.7 4.7H-2.7z",  # hexagon
    "M-4.8-2.4-2.4-4.8 0-2.4 2.4-4.8 4.8-2.4 2.4 0 4.8 2.4 2.4 4.8 0 2.4-2.4 4.8-4.8 2.4-2.4 0z",  # cross
)
_COLOURS = 6  # classes colour-0 … of the style new_figure


@dataclass(frozen=True)
class Mark:
    """The outline of a shape about the origin, in pixels, and the classes that colour it."""

    path: str
    classes: str

    def at(self, x: float, y: float) -> Html:
        return element("path", {"class": self.classes, "d": self.path, "transform": f"translate({x:g} {y:g})"})

    def alone(self) -> Html:
        """As a picture of its own, for the lines of tables and legends."""
        box = f"{-SIZE} {-SIZE} {2 * SIZE} {2 * SIZE}"
        return element("svg", {"class": "glyph", "viewBox": box, "aria-hidden": "true"}, self.at(0, 0))


_REFERENCES = {
    "original": Mark(_SQUARE, "mark ink hollow"),
    "retrain": Mark(_DIAMOND, "mark ink"),
    "retrain_independent": Mark(_DIAMOND, "mark ink hollow"),
}


def marks(labels: Iterable[str]) -> dict[str, Mark]:
    """A mark for each label; references have fixed ones."""
    methods = [label for label in dict.fromkeys(labels) if label not in REFERENCES]
    return _REFERENCES | {label: _mark(number) for number, label in enumerate(methods)}


def _mark(number: int) -> Mark:
    is_hollow = number // len(_SHAPES) % 2
    return Mark(_SHAPES[number % len(_SHAPES)], f"mark colour-{number % _COLOURS}" + " hollow" * is_hollow)
