"""Time bars: the seconds that each method takes, mean and standard error over seeds (the paper's figure 4)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures import style
from adaprob_ray.reporting.records.grouping import RowGroup, record_groups, seed_means
from adaprob_ray.reporting.records.provenance import figure_notes, mixed_hardware, timed_alone
from adaprob_ray.reporting.records.selection import Selection
from adaprob_ray.reporting.tables.output import Output

WIDEST_TICK = 13  # characters of a bar's name that are printed upright


@dataclass(frozen=True)
class Bar:
    """Seconds to make the model: mean and standard error (None for one seed) over n seeds."""

    name: str
    method: str
    mean_seconds: float
    standard_error: float | None
    n: int


@dataclass(frozen=True)
class TimeBars:
    """Group's title → its bars, all measured on one kind of hardware."""

    panels: dict[str, list[Bar]]
    caption: list[str]


def build_time_bars(selection: Selection, out: Path, *, warm_up: int | None = None, name: str = "time_bars") -> Output:
    """Write the figure of the selected Records to `out`/`name`. `warm_up`: the seed to leave out."""
    gathered = selection.gather_some(name)
    figure = draw_time_bars(compute_time_bars(gathered.records, warm_up=warm_up))
    return style.save_output(figure, out / name, gathered.missing)


def compute_time_bars(records: pd.DataFrame, *, warm_up: int | None = None) -> TimeBars:
    """`unlearn_seconds` of models whose cells ran with no other cell at the same time.

    Retrain's time is its training; the original is not an unlearning and is not shown.

    Args:
        records: One row for each evaluated model.
        warm_up: The first seed, if it is to be left out.

    Raises:
        InputError: Hardware is mixed, or a row has no exclusive time.
    """
    timed = records[records["unlearn_seconds"].notna()]
    seeds = sorted({int(seed) for seed in timed["seed"]})
    if warm_up is not None and (len(seeds) < 2 or warm_up != seeds[0]):
        raise InputError(f"warm_up: must be the first of several seeds, got {warm_up} (known: {seeds})")
    alone = timed_alone(timed, warm_up)
    panels = {title: [_bar(row) for row in rows] for title, rows in record_groups(alone).items()}
    faults = [
        f"{' '.join(title.split())}: {row.name} has no exclusive time: all its cells but the warm-up ran with others"
        for title, rows in record_groups(timed).items()
        for row in rows
        if row.name not in {bar.name for bar in panels.get(title, [])}
    ]
    faults += mixed_hardware(alone)
    if faults or not len(alone):
        raise InputError(*(faults or ["unlearn_seconds: must be in a Record, got none"]))
    concurrent = len(timed[timed["seed"] != warm_up]) - len(alone)
    note = "mean ± standard error (s/√n); no other cell ran at the same time"
    note += "" if warm_up is None else f"; seed {warm_up}, the warm-up, is left out"
    note += f"; {concurrent} models ran concurrently with other cells and are left out" if concurrent else ""
    return TimeBars(panels, [note, *figure_notes(alone)])


def _bar(row: RowGroup) -> Bar:
    seconds = list(seed_means(row.records, "unlearn_seconds").values())
    error = statistics.stdev(seconds) / math.sqrt(len(seconds)) if len(seconds) > 1 else None
    return Bar(row.name, row.method, statistics.fmean(seconds), error, len(seconds))


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_time_bars(times: TimeBars) -> Figure:
    """A panel for each group; on each bar its whisker (standard error) and its value."""
    styles = style.plot_styles(style.methods_by_name(times.panels))
    max_bars = max(map(len, times.panels.values()))
    figure = style.new_figure(max(4.5, len(times.panels) * (0.9 + 0.75 * max_bars)), 4.2)
    (grid,) = style.panel_grid(figure, 1, len(times.panels))
    for axes, (title, bars) in zip(grid, times.panels.items(), strict=True):
        _draw_bars(axes, bars, styles)
        style.style_axes(axes, grid="y", title=title, ylabel="unlearning time (s)")
    style.add_caption(figure, times.caption)
    return figure


def _draw_bars(axes: Axes, bars: Sequence[Bar], styles: style.Styles) -> None:
    for position, bar in enumerate(bars):
        plot_style, error = styles[bar.name], bar.standard_error or 0.0
        colours: dict[str, Any] = {"color": style.shade(plot_style.colour, 0.5), "edgecolor": plot_style.colour}
        axes.bar(position, bar.mean_seconds, 0.7, hatch=plot_style.hatch, **colours)
        axes.errorbar(position, bar.mean_seconds, error, color="black", capsize=3, linewidth=1)
        place = (position, bar.mean_seconds + error)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        options: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": style.TINY, "bbox": box}
        axes.annotate(_value_text(bar), place, (0, 4), textcoords="offset points", **options)
    upright = max(len(bar.name) for bar in bars) <= WIDEST_TICK
    names = [f"{bar.name}{chr(10) if upright else ' '}(n = {bar.n})" for bar in bars]
    rotation: dict[str, Any] = {} if upright else {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(bars)), names, **rotation)
    axes.set_ylim(0, 1.16 * max(bar.mean_seconds + (bar.standard_error or 0) for bar in bars))


def _value_text(bar: Bar) -> str:
    """Mean and standard error to two digits of the latter; a lone mean to three of its own."""
    if not bar.standard_error:
        return f"{bar.mean_seconds:.{_decimals(bar.mean_seconds, 3)}f}"
    decimals = _decimals(bar.standard_error, 2)
    return f"{bar.mean_seconds:.{decimals}f}\n± {bar.standard_error:.{decimals}f}"


def _decimals(value: float, digits: int) -> int:
    """The decimals that show so many digits of a value above 0; no power of ten is ever written."""
    return max(0, digits - 1 - math.floor(math.log10(value)))
