"""Drawing: each figure's data (figures.py, embedding.py, trajectory.py) as a matplotlib Figure, which style.save writes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from adaprob_ray.errors import InputError
from adaprob_ray.reporting.figures.curves import Trajectory
from adaprob_ray.reporting.figures.data import (
    REFERENCE,
    Bar,
    Curve,
    Curves,
    Level,
    Point,
    Ranks,
    TimeBars,
    TradeOff,
    bounds,
)
from adaprob_ray.reporting.figures.embedding import Embedding
from adaprob_ray.reporting.figures.style import (
    EMBEDDED,
    GREY,
    LEGEND_LINE,
    SMALL,
    TEXT,
    TINY,
    Look,
    add_caption,
    add_legend,
    looks,
    panel_grid,
    plain_looks,
    shade,
    sheet,
    tidy,
)
from adaprob_ray.reporting.records.metric_format import Column

WIDEST_TICK = 13  # characters of a bar's name that stand upright
WORDS = {"target_shift": "target shift (0 to 1)"}  # where a column's own words leave out its unit
LOGARITHMIC = ("projection_residual",)
DOTS = (0, (1, 1.5))
PUBLISHED: dict[str, Any] = {"color": GREY, "linestyle": "", "marker": "+", "markersize": 9, "markeredgewidth": 1.6}
SETTINGS = {"method.lam": "λ", "method.lr": "learning rate γ", "method.eta": "step size η"}
Paper = Mapping[str, Mapping[float, float]]  # column → setting → the published value


def _names(panels: Mapping[str, Iterable[Bar | Point | Curve | Level]]) -> dict[str, str]:
    """Name → method over all panels, in order."""
    return {item.name: item.method for items in panels.values() for item in items}


# -- figures 2 and 3 ---------------------------------------------------------------------------------------------------


def draw_embedding(embedding: Embedding, title: str, caption: Sequence[str] = ()) -> Figure:
    """8 × 8 in, marker area 18 without edges, a square window with 5 % margin (protocol §6.5). At most five groups."""
    if len(embedding.points) > len(EMBEDDED):
        raise InputError(f"a map shows at most {len(EMBEDDED)} groups; given {', '.join(embedding.points)}")
    figure = sheet(8, 8)
    axes = figure.subplots()
    for (name, points), (colour, marker) in zip(embedding.points.items(), EMBEDDED, strict=False):
        dots: dict[str, Any] = {"s": 18, "linewidths": 0, "color": colour, "marker": marker}
        axes.scatter(points[:, 0], points[:, 1], label=f"{name} (n = {len(points)})", **dots)
    _square(axes, np.concatenate(list(embedding.points.values())))
    axes.set_title(title, fontsize=TEXT + 3)
    axes.set_xlabel("t-SNE 1 (no unit)", fontsize=TEXT)
    axes.set_ylabel("t-SNE 2 (no unit)", fontsize=TEXT)
    axes.tick_params(labelsize=SMALL)
    axes.legend(loc="upper right", fontsize=TEXT, markerscale=1.6, framealpha=0.9)
    what = {"test": "test set", "forget": "forget rows"}[embedding.part]
    add_caption(figure, [f"t-SNE of softmax outputs on the {what}, perplexity {embedding.perplexity:g}", *caption])
    return figure


def _square(axes: Axes, points: NDArray[np.float64]) -> None:
    """The same span both ways: 5 % beyond the points on every side of the wider one."""
    low, high = points.min(0), points.max(0)
    half = float((high - low).max()) / 2 * 1.1
    (x, y) = (low + high) / 2
    axes.set(xlim=(x - half, x + half), ylim=(y - half, y + half), aspect="equal")


# -- figure 4 ----------------------------------------------------------------------------------------------------------


def draw_time_bars(times: TimeBars) -> Figure:
    """A panel for each group; on each bar its whisker (standard error) and its value."""
    shown = looks(_names(times.panels))
    most = max(map(len, times.panels.values()))
    figure = sheet(max(4.5, len(times.panels) * (0.9 + 0.75 * most)), 4.2)
    for axes, (title, bars) in zip(panel_grid(figure, 1, len(times.panels))[0], times.panels.items(), strict=True):
        _bars(axes, bars, shown)
        axes.set_title(title, fontsize=TEXT)
    add_caption(figure, times.caption)
    return figure


def _bars(axes: Axes, bars: Sequence[Bar], shown: Mapping[str, Look]) -> None:
    for at, bar in enumerate(bars):
        look, error = shown[bar.name], bar.standard_error or 0.0
        axes.bar(at, bar.mean_seconds, 0.7, color=shade(look.colour, 0.5), hatch=look.hatch, edgecolor=look.colour)
        axes.errorbar(at, bar.mean_seconds, error, color="black", capsize=3, linewidth=1)
        text = _value(bar)
        place = (at, bar.mean_seconds + error)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        axes.annotate(
            text, place, (0, 4), textcoords="offset points", ha="center", va="bottom", fontsize=TINY, bbox=box
        )
    upright = max(len(bar.name) for bar in bars) <= WIDEST_TICK
    names = [f"{bar.name}{chr(10) if upright else ' '}(n = {bar.n})" for bar in bars]
    turned: dict[str, Any] = {} if upright else {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(bars)), names, **turned)
    axes.set_ylim(0, 1.16 * max(bar.mean_seconds + (bar.standard_error or 0) for bar in bars))
    axes.set_ylabel("unlearning time (s)", fontsize=TEXT)
    tidy(axes, grid="y")


def _value(bar: Bar) -> str:
    """Mean and standard error to two digits of the latter; a lone mean to three of its own."""
    if not bar.standard_error:
        return f"{bar.mean_seconds:.{_decimals(bar.mean_seconds, 3)}f}"
    decimals = _decimals(bar.standard_error, 2)
    return f"{bar.mean_seconds:.{decimals}f}\n± {bar.standard_error:.{decimals}f}"


def _decimals(value: float, digits: int) -> int:
    """The decimals that show so many digits of a value above 0; no power of ten is ever written."""
    return max(0, digits - 1 - math.floor(math.log10(value)))


# -- ablations ---------------------------------------------------------------------------------------------------------


def draw_ablation(curves: Curves, paper: Paper | None = None, paper_name: str = "paper, Table 5") -> Figure:
    """A row for each group, a panel for each column: means with intervals as bands, levels beside them, the paper's values."""
    shown = looks(_names(curves.panels) | _names(curves.levels))
    rows, columns = len(curves.panels), len(curves.columns)
    handles = [_handle(name, shown[name], shown[name].line) for name in _names(curves.panels)]
    handles += [_handle(name, shown[name], DOTS) for name in _names(curves.levels)]
    handles += [Line2D([], [], label=paper_name, **PUBLISHED)] if paper else []
    figure = sheet(0.6 + 2.9 * columns, 0.8 + 2.7 * rows)
    add_legend(figure, handles, min(len(handles), 1 + columns))
    for line, (title, found) in zip(panel_grid(figure, rows, columns), curves.panels.items(), strict=True):
        for axes, column in zip(line, curves.columns, strict=True):
            _curves(axes, column, found, shown)
            _levels(axes, column, curves.levels[title], shown)
            _published(axes, (paper or {}).get(column.name, {}))
            _settings_axis(axes, curves.over, found)
        line[0].set_title(title, fontsize=TEXT, loc="left")
    add_caption(figure, curves.caption)
    return figure


def _handle(name: str, look: Look, line: Any) -> Line2D:
    return Line2D([], [], linestyle=line, linewidth=1.2, label=name, **look.marks())


def _curves(axes: Axes, column: Column, curves: Sequence[Curve], shown: Mapping[str, Look]) -> None:
    for curve in curves:
        found, look = curve.values[column.name], shown[curve.name]
        ends = np.array([bounds(estimate) for estimate in found.values()]).reshape(-1, 2)
        ends = ends.clip(0, 100) if column.is_share else ends
        axes.fill_between(list(found), *ends.T, color=look.colour, alpha=0.13, linewidth=0)
        means = [estimate.mean for estimate in found.values()]
        axes.plot(list(found), means, linestyle=look.line, linewidth=1.2, clip_on=False, zorder=3, **look.marks())
    if column.name in LOGARITHMIC:
        axes.set_yscale("log")
    elif column.is_share or column.name in WORDS:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_ylabel(WORDS.get(column.name, column.header()), fontsize=TEXT)
    tidy(axes)


def _levels(axes: Axes, column: Column, levels: Sequence[Level], shown: Mapping[str, Look]) -> None:
    """Dotted, with the marker at the right edge."""
    for level in levels:
        look, estimate = shown[level.name], level.values.get(column.name)
        if estimate is None or (column.name in LOGARITHMIC and estimate.mean <= 0):
            continue
        axes.axhline(estimate.mean, color=look.colour, linestyle=DOTS, linewidth=1.2)
        edge = axes.get_yaxis_transform()
        axes.plot(1, estimate.mean, transform=edge, linestyle="", clip_on=False, zorder=4, **look.marks(7))


def _published(axes: Axes, published: Mapping[float, float]) -> None:
    axes.plot(list(published), list(published.values()), zorder=4, **PUBLISHED)


def _settings_axis(axes: Axes, over: str, curves: Sequence[Curve]) -> None:
    """Ticks where there are values; logarithmic where they span a power of ten."""
    settings = sorted({x for curve in curves for found in curve.values.values() for x in found})
    if settings[-1] >= 10 * settings[0] > 0:
        axes.set_xscale("log")
    axes.set_xticks(settings, [f"{x:g}" for x in settings])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(SETTINGS.get(over, over), fontsize=TEXT)


# -- trade-off ---------------------------------------------------------------------------------------------------------


def draw_trade_off(found: TradeOff) -> Figure:
    """Forget against retain error, a panel for each group; dotted lines cross at Retrain."""
    shown = looks(_names(found.panels))
    figure = sheet(2.2 + 3.9 * len(found.panels), max(4.6, LEGEND_LINE * len(shown) + 0.8))
    for axes, (title, points) in zip(panel_grid(figure, 1, len(found.panels))[0], found.panels.items(), strict=True):
        for point in points:
            _point(axes, point, shown[point.name])
        axes.set_title(title, fontsize=TEXT)
        axes.set_xlabel("retain error (%)", fontsize=TEXT)
        axes.set_ylabel("forget error (%)", fontsize=TEXT)
        tidy(axes)
    handles = [Line2D([], [], linestyle="", label=name, **look.marks(7)) for name, look in shown.items()]
    figure.legend(handles=handles, loc="outside right upper", fontsize=SMALL, frameon=False)
    add_caption(figure, found.caption)
    return figure


def _point(axes: Axes, point: Point, look: Look) -> None:
    x, y = point.retain.mean, point.forget.mean
    (left, right), (low, high) = (np.clip(bounds(estimate), 0, 100) for estimate in (point.retain, point.forget))
    axes.plot([left, right], [y, y], color=look.colour, linewidth=1, alpha=0.7)
    axes.plot([x, x], [low, high], color=look.colour, linewidth=1, alpha=0.7)
    target = point.name == REFERENCE
    if target:
        axes.axvline(x, color="black", linestyle=":", linewidth=0.8)
        axes.axhline(y, color="black", linestyle=":", linewidth=0.8)
    axes.plot(x, y, linestyle="", zorder=4 if target else 3, **look.marks(11 if target else 7))


# -- ranks -------------------------------------------------------------------------------------------------------------


def draw_ranks(ranks: Ranks) -> Figure:
    """A row for each name, the nearest to Retrain on top: its mean rank in each metric, and over all as a bar."""
    names = list(ranks.methods)
    shown = looks(ranks.methods)
    figure = sheet(6.6, 1.3 + 0.36 * len(names))
    axes = figure.subplots()
    for at, name in enumerate(names):
        look = shown[name]
        axes.barh(at, ranks.overall[name] - 1, 0.8, 1, color=shade(look.colour, 0.6), edgecolor="black", linewidth=0.6)
    handles = _metric_points(axes, ranks, names)
    if ranks.independent in ranks.overall:
        words = f"{ranks.independent}, over all metrics"
        handles.append(axes.axvline(ranks.overall[ranks.independent], color="black", ls="--", lw=1, label=words))
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("mean rank (1 = nearest to retrain)", fontsize=TEXT)
    tidy(axes, grid="x")
    add_legend(figure, handles, 3)
    add_caption(figure, ranks.caption)
    return figure


def _metric_points(axes: Axes, ranks: Ranks, names: Sequence[str]) -> list[Line2D]:
    """A marker for each metric, one below the other in a name's row; legend handles."""
    offsets = np.linspace(-0.27, 0.27, len(ranks.columns)) if len(ranks.columns) > 1 else [0.0]
    handles: list[Line2D] = []
    for column, offset, look in zip(ranks.columns, offsets, plain_looks(ranks.by_column).values(), strict=True):
        found = ranks.by_column[column.name]
        places = [(found[name], at + offset) for at, name in enumerate(names) if name in found]
        style: dict[str, Any] = {"marker": look.marker, "markersize": 4.5, "mfc": "white", "mec": "black", "mew": 0.9}
        handles += axes.plot(*np.array(places).T, linestyle="", label=column.words, zorder=3, **style)
    return handles


# -- trajectories ------------------------------------------------------------------------------------------------------


def draw_trajectory(found: Trajectory) -> Figure:
    """Value against step; an axis is logarithmic where its values are above 0 and span three powers of ten."""
    shown = looks(found.methods) if found.methods else plain_looks(found.paths)
    figure = sheet(6.4, 4.4)
    axes = figure.subplots()
    for name, path in found.paths.items():
        often = max(1, len(path) // 12)
        axes.plot(*np.array(path).T, label=name, linestyle=shown[name].line, markevery=often, **shown[name].marks(5))
    if found.goal is not None:
        axes.axhline(found.goal, color="black", linestyle=":", linewidth=1, label=f"tolerance {found.goal:g}")
    points = np.concatenate([np.array(path) for path in found.paths.values()])
    axes.set_xscale(_scale(points[:, 0]))
    axes.set_yscale(_scale(points[:, 1]))
    axes.set_xlabel(found.step, fontsize=TEXT)
    axes.set_ylabel(found.value, fontsize=TEXT)
    tidy(axes)
    figure.legend(loc="outside right upper", fontsize=SMALL, handlelength=3, frameon=False)
    add_caption(figure, found.caption)
    return figure


def _scale(values: NDArray[np.float64]) -> str:
    known = values[np.isfinite(values)]
    return "log" if len(known) and 0 < known.min() <= known.max() / 1000 else "linear"
