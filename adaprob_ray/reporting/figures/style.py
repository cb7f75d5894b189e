"""The one style of all figures: colours, markers, hatches, sizes, and how a figure is saved. No data and no pyplot.

A method has one colour, marker and hatch, by its name, in every figure and in the report. Labels of one method differ in
shade, in how the marker is filled, in the line and in the hatch. Colours are Okabe and Ito's (Color Universal Design, 2008) and
Paul Tol's (SRON/EPS/TN/09-002, "muted"); no figure relies on colour alone, so that all can be read in grey.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.reporting.tables.output import Output, missing_document
from adaprob_ray.sweep.cell import Cell

TEXT, SMALL, TINY = 9.0, 8.0, 6.5  # points: titles and axes, ticks and legends, captions
DPI = 300
LEGEND_LINE = 0.19  # inches
CAPTION_CHARACTERS_PER_INCH = 20
INTERVAL_NOTE = "intervals: 95 % Student t over seeds"
GREY = "0.45"  # secondary elements: grids, captions, the paper's values

METHOD_STYLES = {  # method: colour, marker, hatch; references are grey
    "original": ("#7F7F7F", "X", "++"),
    "retrain": ("#000000", "*", ""),
    "retrain_independent": ("#4D4D4D", "P", "oo"),
    "finetune": ("#E69F00", "s", "--"),
    "neggrad_plus": ("#56B4E9", "v", "||"),
    "fisher": ("#CC79A7", "<", "OO"),
    "ntk": ("#882255", ">", "-o"),
    "cf_k": ("#999933", "p", "**"),
    "eu_k": ("#44AA99", "h", "/-"),
    "bad_teacher": ("#332288", "d", "\\|"),
    "scrub": ("#0072B2", "^", "//"),
    "scrub_rewind": ("#009E73", "D", "\\\\"),
    "random_label": ("#DDCC77", "8", "x-"),
    "bias_shift": ("#AA4499", "H", "oO"),
    "adaprob": ("#D55E00", "o", "xx"),
}
# For methods that are not among these, such as one of your own: by their names, without an entry here.
OTHER_STYLES = (
    ("#117733", "1", "+-"), ("#A6761D", "2", "x|"), ("#7570B3", "3", "*-"), ("#E7298A", "4", "O|"),
)  # fmt: skip
# For items other than methods, such as metrics and solvers.
PLAIN_STYLES = (
    ("#E69F00", "s"), ("#56B4E9", "v"), ("#CC79A7", "<"), ("#882255", ">"), ("#999933", "p"), ("#44AA99", "h"),
    ("#332288", "d"), ("#0072B2", "^"), ("#009E73", "D"), ("#D55E00", "o"), ("#DDCC77", "8"), ("#AA4499", "H"),
)  # fmt: skip
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (8, 2)))
_FILLS = ("full", "none", "left", "bottom", "right", "top")
_SHADES = (0.0, -0.5, 0.45)  # of a method's colour: as it is, half way to black, some way to white

# Purple, blue-green and yellow as in the paper's figures 2 and 3 (viridis, its yellow darkened to be seen on white); two more.
EMBEDDING_STYLES = (("#440154", "o"), ("#21918C", "^"), ("#E5B800", "s"), ("#D55E00", "v"), ("#56B4E9", "D"))

_METADATA: dict[str, dict[str, Any]] = {  # neither dates nor versions: the same figure is the same bytes
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class PlotStyle:
    """How one line, point or bar is drawn."""

    colour: tuple[float, float, float]
    marker: str
    fill: Any
    line: Any
    hatch: str

    def markers(self, size: float = 6) -> dict[str, Any]:
        """Keywords of Axes.plot for the markers; `size` in points."""
        edge = 0.3 if self.marker.startswith("$") else 0.9
        fill = {"fillstyle": self.fill, "markerfacecoloralt": "white"}
        return {"color": self.colour, "marker": self.marker, "markersize": size, "markeredgewidth": edge, **fill}


Styles = Mapping[str, PlotStyle]  # by the name of a line, point or bar


def plot_styles(methods: Mapping[str, str]) -> dict[str, PlotStyle]:
    """A style for each name, the same whatever their order.

    Args:
        methods: Name → method. Beyond six names of one method a marker is the name's number. A method without an entry in
            METHOD_STYLES gets one of OTHER_STYLES; the fifth of them in one figure looks like the first.
    """
    others = sorted(set(methods.values()) - METHOD_STYLES.keys())
    looks = METHOD_STYLES | dict(zip(others, cycle(OTHER_STYLES), strict=False))
    names = {method: sorted(name for name in methods if methods[name] == method) for method in set(methods.values())}
    return {name: _variant(*looks[method], names[method].index(name)) for name, method in methods.items()}


def plain_styles(names: Iterable[str]) -> dict[str, PlotStyle]:
    """Styles for items other than methods, in order; filled and hollow markers alternate."""
    looks = zip(names, cycle(PLAIN_STYLES), cycle(_FILLS[:2]), cycle(_LINES), strict=False)
    return {name: PlotStyle(to_rgb(colour), marker, fill, line, "") for name, (colour, marker), fill, line in looks}


def _variant(colour: str, marker: str, hatch: str, variant: int) -> PlotStyle:
    """The style of the `variant`-th label of a method."""
    marker, fill = (marker, _FILLS[variant]) if variant < len(_FILLS) else (f"${variant + 1}$", _FILLS[0])
    shaded, line = shade(colour, _SHADES[variant % len(_SHADES)]), _LINES[variant % len(_LINES)]
    return PlotStyle(shaded, marker, fill, line, hatch + "." * min(variant, 3))  # more dots would fill the bar


class Named(Protocol):
    """What a figure shows under a name: a bar, a curve, a point."""

    @property
    def name(self) -> str: ...
    @property
    def method(self) -> str: ...


def methods_by_name(panels: Mapping[str, Iterable[Named]]) -> dict[str, str]:
    """Name → method over all panels, in order."""
    return {item.name: item.method for items in panels.values() for item in items}


def shade(colour: str | tuple[float, float, float], share: float) -> tuple[float, float, float]:
    """The colour mixed with white, by `share` from 0 to 1, or with black, from 0 to −1."""
    other = 1.0 if share > 0 else 0.0
    red, green, blue = (channel + abs(share) * (other - channel) for channel in to_rgb(colour))
    return red, green, blue


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, with constrained layout."""
    return Figure(figsize=(width, height), layout="constrained")


def add_caption(figure: Figure, lines: Sequence[str]) -> None:
    """Small text at the bottom, wrapped to the figure's width."""
    width = int(CAPTION_CHARACTERS_PER_INCH * figure.get_figwidth())
    text = "\n".join(wrapped for line in lines for wrapped in textwrap.wrap(line, width))
    figure.supxlabel(text, x=0.01, ha="left", fontsize=TINY, color=GREY)


def add_legend(figure: Figure, handles: Sequence[Line2D], columns: int) -> None:
    """Above all panels, for which the figure grows by the legend's lines."""
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * math.ceil(len(handles) / columns))
    figure.legend(
        handles=handles, loc="outside upper center", ncols=columns, fontsize=SMALL, handlelength=3, frameon=False
    )


def scatter_figure(styles: Styles, panels: int, min_height: float) -> tuple[Figure, list[Axes]]:
    """Panels side by side, and a legend of markers on their right."""
    figure = new_figure(2.2 + 3.9 * panels, max(min_height, LEGEND_LINE * len(styles) + 0.8))
    axes = panel_grid(figure, 1, panels)[0]
    handles = [Line2D([], [], linestyle="", label=name, **style.markers(7)) for name, style in styles.items()]
    figure.legend(handles=handles, loc="outside right upper", fontsize=SMALL, frameon=False)
    return figure, axes


def panel_grid(figure: Figure, rows: int, columns: int) -> list[list[Axes]]:
    return [list(row) for row in figure.subplots(rows, columns, squeeze=False)]


def style_axes(axes: Axes, *, grid: str = "both", **words: str) -> None:
    """Small ticks, a faint grid behind the data along `grid` (x, y, both), no frame at the top and on the right.

    `words`: title, xlabel, ylabel.
    """
    axes.set(**words)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_fontsize(TEXT)
    axes.tick_params(labelsize=SMALL)
    axes.grid(axis=grid, color="0.9", linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Write `path` with each ending (png at 300 dpi, pdf, svg); the same figure gives the same bytes.

    The folder is created if absent, and an existing file is replaced atomically. Raises InputError for another ending.
    """
    if unknown := [ending for ending in formats if ending not in _METADATA]:
        raise InputError(*(unknown_name("figure format", ending, _METADATA) for ending in unknown))
    path.parent.mkdir(parents=True, exist_ok=True)
    paths = [path.with_name(f"{path.name}.{ending}") for ending in formats]
    for ending, file in zip(formats, paths, strict=True):
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            with rc_context({"svg.hashsalt": "adaprob_ray"}):
                figure.savefig(temporary, format=ending, dpi=DPI, metadata=_METADATA[ending])
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    return paths


def save_output(figure: Figure, path: Path, missing: Sequence[Cell], *, is_noted: bool = True) -> Output:
    """Save a figure; if Records are missing and `is_noted`, a note on it says so."""
    if missing and is_noted:
        note = f"partial: {len(missing)} Records are missing"
        figure.suptitle(note, x=0.99, ha="right", size="small", style="italic")
    return Output(missing_document(missing), save(figure, path))
