"""Figures of a search as inline SVG: step curves over a budget, a parameter's slice, importance, and Pareto fronts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from adaprob_ray.reporting.report.axes import Axis
from adaprob_ray.reporting.report.markers import Marker
from adaprob_ray.reporting.report.svg import (
    LONGEST_NAME,
    RIGHT,
    TOP,
    WIDTH,
    Shape,
    SvgFigure,
    group,
    marker_at,
    path,
    scale,
    shorten_name,
    text,
)
from adaprob_ray.reporting.search.figures.best_so_far import LOG_RATIO, BestSoFar, BestSoFarCurve
from adaprob_ray.reporting.search.figures.history import TrialPoint
from adaprob_ray.reporting.search.figures.importance import Importance
from adaprob_ray.reporting.search.figures.method_ranks import MethodRanks
from adaprob_ray.reporting.search.figures.pareto_front import front_steps
from adaprob_ray.reporting.search.figures.slices import Slice, choice_offset
from adaprob_ray.reporting.search.figures.value_axis import ValueAxis
from adaprob_ray.reporting.search.studies import StudyGroup, objective_words

# Pixels: left of the plot, down to its end, for numbers and title below it, and of the strip of trials without a value.
LEFT, HEIGHT, BELOW, STRIP = 48, 210, 40, 24
# Pixels of one bar of importance with its gap, of its numbers below, and of a character of a name.
BAR, BELOW_BARS, CHARACTER = 24, 22, 7.2


@dataclass(frozen=True)
class ValueScale:
    """Where values are on the upright axis. `strip`: the pixel of those that have none; None if there is no strip."""

    axis: Axis
    strip: float | None

    @classmethod
    def of(cls, values: ValueAxis) -> ValueScale:
        """The part of the values, and the strip at its worse end."""
        if values.edge is None:
            return cls(Axis(values.low, values.high, False, HEIGHT, TOP - HEIGHT), None)
        is_above = values.strip > values.edge
        low, high = (values.low, values.edge) if is_above else (values.edge, values.high)
        start = HEIGHT if is_above else HEIGHT - STRIP
        return cls(
            Axis(low, high, False, start, TOP + STRIP - HEIGHT), TOP + STRIP / 2 if is_above else HEIGHT - STRIP / 2
        )

    def at(self, value: float | None) -> float:
        return (self.strip or 0.0) if value is None else self.axis.at(value)

    def shapes(self) -> list[Shape]:
        """Strip, ticks and numbers."""
        if self.strip is None:
            return [scale(self.axis, LEFT)]
        box = {"x": LEFT, "y": f"{self.strip - STRIP / 2:g}", "width": WIDTH - RIGHT - LEFT, "height": STRIP}
        return [Shape("rect", {"class": "band", **box}), scale(self.axis, LEFT)]


def best_so_far_charts(best: BestSoFar, markers: Mapping[str, Marker]) -> list[SvgFigure]:
    """Against trials, and against passes."""
    values = ValueScale.of(best.axis)
    charts = []
    for words, curves in (("trials", best.against_trials), ("passes", best.against_passes)):
        budgets = [x for curve in curves for x in curve.budget]
        if not budgets:
            continue
        least = min((x for x in budgets if x > 0), default=1.0)
        across = _across(budgets, is_log=words == "passes" and max(budgets) >= LOG_RATIO * least, integer=True)
        lines = [shape for curve in curves for shape in _curve(curve, across, values, markers[curve.label])]
        shapes = [*values.shapes(), scale(across, HEIGHT), _title_below(words), *lines]
        charts.append(_figure(f"Best so far against {words}", best.objective, shapes))
    return charts


def rank_charts(method_ranks: MethodRanks, markers: Mapping[str, Marker]) -> list[SvgFigure]:
    """Mean ranks against trials, and against passes; 1 at the top."""
    count = len(method_ranks.methods)
    upwards = Axis(-count - 0.2, -0.8, False, HEIGHT, TOP - HEIGHT)
    charts = []
    for words, budget, ranks in (
        ("trials", method_ranks.trials, method_ranks.against_trials),
        ("passes", method_ranks.passes, method_ranks.against_passes),
    ):
        if not budget:
            continue
        across = _across(budget, integer=True)
        shapes = [scale(across, HEIGHT), _title_below(words)]
        for rank in range(1, count + 1):
            y = upwards.at(-rank)
            shapes.append(path("rule", f"M{LEFT} {y:g}H{WIDTH - RIGHT}"))
            shapes.append(text("tick left", LEFT - 7, y + 4, str(rank)))
        for label, values in ranks.items():
            points = [(across.at(x), upwards.at(-value)) for x, value in zip(budget, values, strict=True)]
            shapes.append(_line(label, points, markers[label]))
        charts.append(_figure(f"Mean rank against {words}", "(1 = best)", shapes))
    return charts


def slice_chart(parameter_slice: Slice, values: ValueAxis, marker: Marker, objective: str) -> SvgFigure:
    """Value against one parameter; the chosen values are marked."""
    upwards = ValueScale.of(values)
    shapes = upwards.shapes()
    if parameter_slice.options:
        across = Axis(-0.5, len(parameter_slice.options) - 0.5, False, LEFT, WIDTH - RIGHT - LEFT)
        shapes += [
            text("tick", across.at(index), HEIGHT + 16, shorten_name(name))
            for index, name in enumerate(parameter_slice.options)
        ]
        shapes.append(path("axis", f"M{LEFT} {HEIGHT}H{WIDTH - RIGHT}"))
    else:
        across = _across(parameter_slice.ends, is_log=parameter_slice.is_log, integer=parameter_slice.is_integer)
        shapes.append(scale(across, HEIGHT))
    shapes.append(_title_below(parameter_slice.parameter))
    shapes += [path("reference", f"M{across.at(x):g} {TOP}V{HEIGHT}") for x in parameter_slice.chosen]
    # The chosen ones last, so that no other trial hides them.
    for x, point in sorted(parameter_slice.points, key=lambda item: item[1].is_best):
        shift = choice_offset(point.number) if parameter_slice.options else 0.0
        shapes.append(_trial(point, across.at(x + shift), upwards.at(point.value), marker))
    return _figure(f"{objective} against {parameter_slice.parameter}", "", shapes)


def importance_chart(importance: Importance) -> SvgFigure:
    """A bar for each parameter: the mean over search seeds."""
    left = round(CHARACTER * min(LONGEST_NAME, max(map(len, importance.shares)))) + 12
    across = Axis(0, 1, False, left, WIDTH - RIGHT - left)
    height = TOP + BAR * len(importance.shares)
    shapes = [scale(across, height)]
    for index, (name, shares) in enumerate(importance.shares.items()):
        y, share = TOP + BAR * index, fmean(shares)
        bar = {"class": "bar", "x": left, "y": y + 4, "width": f"{across.at(share) - left:g}", "height": BAR - 8}
        shapes.append(text("name", left - 8, y + 16, shorten_name(name)))
        shapes.append(Shape("rect", bar, title=f"{name}: {share:.3f}"))
    return SvgFigure("chart", "Importance", f"(PED-ANOVA, {importance.trials} trials)", height + BELOW_BARS, shapes)


def pareto_charts(studies: StudyGroup, markers: Mapping[str, Marker]) -> list[SvgFigure]:
    """A chart for each pair of objectives: every trial, with those on the front of their study joined if there are two."""
    names = objective_words(studies.first)
    trials = [
        (label, run, trial.number, trial in run.best, trial.values)
        for label, runs in studies.studies.items()
        for run in runs
        for trial in run.trials
        if trial.values is not None
    ]
    if not trials:
        return []
    charts = []
    for first, second in combinations(range(len(names)), 2):
        across = _across([values[first] for *_, values in trials])
        heights = [values[second] for *_, values in trials]
        room = 0.05 * (max(heights) - min(heights) or 1.0)
        upwards = Axis(min(heights) - room, max(heights) + room, False, HEIGHT, TOP - HEIGHT)
        shapes = [scale(across, HEIGHT), scale(upwards, LEFT), _title_below(names[first])]
        for label, runs in studies.studies.items():
            for run in runs if len(names) == 2 else ():
                corners = front_steps(run.best, first, second, studies.signs)
                d = "L".join(f"{across.at(x):g} {upwards.at(y):g}" for x, y in corners)
                shapes += [path(_stroke(markers[label]), f"M{d}")] if corners else []
        for label, _, number, is_best, values in trials:
            title = f"{label}, trial {number}: {values[first]:.4g}, {values[second]:.4g}"
            point = marker_at(markers[label], across.at(values[first]), upwards.at(values[second]))
            shapes.append(group([point], title=title, classes=None if is_best else "dominated"))
        charts.append(_figure(f"{names[second]} against {names[first]}", "(faint: dominated trials)", shapes))
    return charts


# -- parts of charts ---------------------------------------------------------------------------------------------------


def _figure(title: str, note: str, shapes: Sequence[Shape]) -> SvgFigure:
    return SvgFigure("chart", title, note, HEIGHT + BELOW, shapes)


def _title_below(words: str) -> Shape:
    return text("tick", (LEFT + WIDTH - RIGHT) / 2, HEIGHT + 34, words)


def _across(values: Sequence[float], *, is_log: bool = False, integer: bool = False) -> Axis:
    low, high = min(values), max(values)
    if is_log:
        low = min(value for value in values if value > 0)
        room = (high / low) ** 0.03
        return Axis(low / room, high * room, True, LEFT, WIDTH - RIGHT - LEFT)
    room = 0.03 * (high - low) or 0.5
    return Axis(low - room, high + room, False, LEFT, WIDTH - RIGHT - LEFT, integer)


def _curve(curve: BestSoFarCurve, across: Axis, values: ValueScale, marker: Marker) -> list[Shape]:
    xs = [across.at(x) for x in curve.budget]
    shapes = []
    if curve.has_band:
        low, high = (_steps(list(zip(xs, map(values.at, line), strict=True))) for line in (curve.low, curve.high))
        corners = "L".join(f"{x:g} {y:g}" for x, y in [*low, *reversed(high)])
        shapes.append(path(f"spread {marker.colour}", f"M{corners}z"))
    return [*shapes, _line(curve.label, list(zip(xs, map(values.at, curve.median), strict=True)), marker)]


def _line(label: str, points: Sequence[tuple[float, float]], marker: Marker) -> Shape:
    """A step function with the method's marker at its end."""
    d = "L".join(f"{x:g} {y:g}" for x, y in _steps(points))
    return group([path(_stroke(marker), f"M{d}"), marker_at(marker, *points[-1])], title=label)


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of a function that keeps each value until the next; equal values are left out."""
    corners = [points[0]]
    for x, y in points[1:]:
        if y != corners[-1][1]:
            corners += [(x, corners[-1][1]), (x, y)]
    return [*corners, points[-1]]


def _trial(point: TrialPoint, x: float, y: float, marker: Marker) -> Shape:
    """The method's marker, hollow where the trial was pruned, a cross where it diverged, ringed where it is chosen."""
    words = [
        f"trial {point.number}",
        point.state if point.state != "complete" or point.value is not None else "beyond the margin",
    ]
    words += [f"{point.value:.4g}"] if point.value is not None else []
    words += ["default settings"] * point.is_default + ["chosen"] * point.is_best
    if point.state == "diverged":
        shapes = [path(_stroke(marker), f"M{x - 4:g} {y - 4:g}l8 8m0-8l-8 8")]
    else:
        shapes = [marker_at(marker.hollow if point.state == "pruned" else marker, x, y)]
    for radius, is_ringed in ((9, point.is_best), (6.5, point.is_default)):
        if is_ringed:
            shapes.append(Shape("circle", {"class": "ring", "cx": f"{x:g}", "cy": f"{y:g}", "r": radius}))
    return group(shapes, title=", ".join(words), classes=None if point.is_best or point.is_default else "trial")


def _stroke(marker: Marker) -> str:
    return f"curve {marker.colour}"
