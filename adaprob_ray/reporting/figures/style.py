"""The one look of all figures: colours, markers, hatches, sizes, and how a figure is saved. No data and no pyplot.

A method has one colour, marker, line and hatch, by its place in the catalogue, in every figure. Labels of one method differ in
shade, in how the marker is filled, in the line and in the hatch. Colours are Okabe and Ito's (Color Universal Design, 2008) and
Paul Tol's (SRON/EPS/TN/09-002, "muted"); no figure tells two things apart by colour alone, so that grey is enough.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from adaprob_ray.catalogue import METHODS
from adaprob_ray.errors import InputError, unknown_name

TEXT, SMALL, TINY = 9.0, 8.0, 6.5  # points: titles and axes, ticks and legends, captions
DPI = 300
LEGEND_LINE = 0.19  # inches
CAPTION_CHARACTERS_PER_INCH = 20
GREY = "0.45"  # of what is beside the point: grids, captions, the paper's values

# In the catalogue's order: original, retrain, retrain_independent, finetune, … The first three are greys: they are references.
_COLOURS = (
    "#7F7F7F", "#000000", "#4D4D4D", "#E69F00", "#56B4E9", "#CC79A7", "#882255", "#999933", "#44AA99", "#332288", "#0072B2",
    "#009E73", "#D55E00", "#DDCC77", "#AA4499",
)  # fmt: skip
_MARKERS = ("X", "*", "P", "s", "v", "<", ">", "p", "h", "d", "^", "D", "o", "8", "H")
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 2)))
_FILLS = ("full", "none", "left", "bottom", "right", "top")
_HATCHES = ("++", "", "oo", "--", "||", "OO", "-o", "**", "/-", "\\|", "//", "\\\\", "xx", "|o", "/o")
_SHADES = (0.0, -0.5, 0.45)  # of a method's colour: as it is, half way to black, some way to white

# Purple, blue-green and yellow as in the paper's figures 2 and 3 (viridis, its yellow darkened to be seen on white); two more.
EMBEDDED = (("#440154", "o"), ("#21918C", "^"), ("#E5B800", "s"), ("#D55E00", "v"), ("#56B4E9", "D"))

_METADATA: dict[str, dict[str, Any]] = {  # neither dates nor versions: the same figure is the same bytes
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Look:
    """How one line, point or bar is drawn."""

    colour: tuple[float, float, float]
    marker: str
    fill: Any
    line: Any
    hatch: str

    def marks(self, size: float = 6) -> dict[str, Any]:
        """Keywords of Axes.plot for the markers; `size` in points."""
        return {
            "color": self.colour,
            "marker": self.marker,
            "fillstyle": self.fill,
            "markersize": size,
            "markerfacecoloralt": "white",
            "markeredgewidth": 0.3 if self.marker.startswith("$") else 0.9,
        }


def looks(methods: Mapping[str, str]) -> dict[str, Look]:
    """A look for each name, the same whatever their order: `methods` says which method each stands for.

    Beyond six names of one method a marker is the name's number. Raises InputError for a method that is not in the catalogue.
    """
    faults = [unknown_name("method", method, METHODS) for method in methods.values() if method not in METHODS]
    if faults:
        raise InputError(*faults)
    found: dict[str, Look] = {}
    for at, method in enumerate(METHODS):
        names = sorted(name for name, wanted in methods.items() if wanted == method)
        found.update({name: _look(at, variant) for variant, name in enumerate(names)})
    return {name: found[name] for name in methods}


def plain_looks(names: Iterable[str]) -> dict[str, Look]:
    """Looks for things that are no methods, by their order: colours and markers differ, filled and empty ones in turn."""
    first = 3  # the greys are the references'
    return {
        name: replace(_look(first + at, 0), fill=_FILLS[at % 2], line=_LINES[at % len(_LINES)])
        for at, name in enumerate(names)
    }


def _look(at: int, variant: int) -> Look:
    """That of the method at place `at` of the catalogue, for its `variant`-th name."""
    numbered = variant >= len(_FILLS)
    return Look(
        colour=shade(_COLOURS[at % len(_COLOURS)], _SHADES[variant % len(_SHADES)]),
        marker=f"${variant + 1}$" if numbered else _MARKERS[at % len(_MARKERS)],
        fill=_FILLS[0] if numbered else _FILLS[variant],
        line=_LINES[variant % len(_LINES)],
        hatch=_HATCHES[at % len(_HATCHES)] + "." * min(variant, 3),  # more dots would fill the bar
    )


def shade(colour: str | tuple[float, float, float], share: float) -> tuple[float, float, float]:
    """The colour mixed with white, by `share` from 0 to 1, or with black, from 0 to −1."""
    other = 1.0 if share > 0 else 0.0
    red, green, blue = (part + abs(share) * (other - part) for part in to_rgb(colour))
    return red, green, blue


def sheet(width: float, height: float) -> Figure:
    """An empty figure, in inches, that makes room for all that is put on it."""
    return Figure(figsize=(width, height), layout="constrained")


def add_caption(figure: Figure, lines: Sequence[str]) -> None:
    """Small text below all else, broken to the figure's width."""
    width = int(CAPTION_CHARACTERS_PER_INCH * figure.get_figwidth())
    text = "\n".join(part for line in lines for part in textwrap.wrap(line, width))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=TINY, color=GREY)


def add_legend(figure: Figure, handles: Sequence[Line2D], columns: int) -> None:
    """Above all panels, for which the figure grows by the legend's lines."""
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * math.ceil(len(handles) / columns))
    figure.legend(
        handles=handles, loc="outside upper center", ncols=columns, fontsize=SMALL, handlelength=3, frameon=False
    )


def panel_grid(figure: Figure, rows: int, columns: int) -> list[list[Axes]]:
    return [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def tidy(axes: Axes, *, grid: str = "both") -> None:
    """Small ticks, a faint grid behind the data along `grid` (x, y, both), no frame at the top and on the right."""
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis=grid, color="0.9", linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write `path` with each ending (png at 300 dpi, pdf, svg); the same figure gives the same bytes.

    The folder is made if need be, and a file of that name is replaced in one step. Raises InputError for another ending.
    """
    faults = [unknown_name("figure format", ending, _METADATA) for ending in formats if ending not in _METADATA]
    if faults:
        raise InputError(*faults)
    path.parent.mkdir(parents=True, exist_ok=True)
    return [_written(figure, path.with_name(f"{path.name}.{ending}"), ending) for ending in formats]


def _written(figure: Figure, path: Path, ending: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with rc_context({"svg.hashsalt": "adaprob_ray"}):
            figure.savefig(temporary, format=ending, dpi=DPI, metadata=_METADATA[ending])
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
