"""Markers of the report: those of the figures, as outlines of inline SVG, with colours for a light and a dark page."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.colors import to_hex
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline

from adaprob_ray.reporting.figures.style import PlotStyle, plot_styles

SIZE = 6  # pixels from the middle to the end of a marker, at most
SCALE = 10.0  # pixels of a unit of Matplotlib's markers
_LETTERS = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Marker:
    """Outlines about the origin, in pixels, each with its classes. `colour`: the class of the colour alone."""

    colour: str
    paths: tuple[tuple[str, str], ...]

    @property
    def hollow(self) -> Marker:
        """The same outline, not filled."""
        return Marker(self.colour, ((f"mark {self.colour} hollow", self.paths[0][1]),))


def markers_of(methods: Mapping[str, str]) -> tuple[dict[str, Marker], str]:
    """A marker for each label, and the style sheet of their colours.

    Args:
        methods: Label → method.
    """
    styles = plot_styles(methods)
    distinct = dict.fromkeys(style.colour for style in styles.values())
    colours = {colour: f"colour-{index}" for index, colour in enumerate(distinct)}
    return {label: _marker(styles[label], colours[styles[label].colour]) for label in methods}, _style_sheet(colours)


def _marker(style: PlotStyle, colour: str) -> Marker:
    marker = MarkerStyle(style.marker, style.fill)
    outline = _outline(marker.get_path().transformed(marker.get_transform()))
    paths = [(f"mark {colour} hollow" if style.fill == "none" else f"mark {colour}", outline)]
    alternative = marker.get_alt_path()
    if alternative is not None:  # the half that is not filled
        paths.append((f"mark {colour} hollow", _outline(alternative.transformed(marker.get_alt_transform()))))
    return Marker(colour, tuple(paths))


def _outline(path: Outline) -> str:
    """A path of SVG, whose y runs downwards."""
    parts = []
    for vertices, code in path.iter_segments(simplify=False):
        if code == Outline.CLOSEPOLY:
            parts.append("z")
        else:
            numbers = (f"{SCALE * value * (-1 if index % 2 else 1):.2f}" for index, value in enumerate(vertices))
            parts.append(_LETTERS[code] + " ".join(number.rstrip("0").rstrip(".") for number in numbers))
    return "".join(parts)


def _style_sheet(colours: Mapping[Colour, str]) -> str:
    light = [_rule(name, colour) for colour, name in colours.items()]
    dark = [_rule(name, _on_dark(colour)) for colour, name in colours.items()]
    return "\n".join([*light, "@media screen and (prefers-color-scheme: dark) {", *dark, "}", ""])


def _rule(name: str, colour: Colour) -> str:
    code = to_hex(colour)
    return f".{name} {{ fill: {code}; stroke: {code}; }}"


def _on_dark(colour: Colour) -> Colour:
    """The colour for a dark page: greys are inverted, others made light enough to be seen."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*colour)
    if saturation < 0.05:
        return colorsys.hls_to_rgb(hue, 0.92 - 0.5 * lightness, saturation)
    return colorsys.hls_to_rgb(hue, max(lightness, 0.62), saturation)
