"""Figures of a search as inline SVG: step curves over a budget, a parameter's slice, importance, and Pareto fronts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from adaprob_ray.reporting.report.axes import Axis
from adaprob_ray.reporting.report.drawing import LONGEST_NAME, RIGHT, TOP, WIDTH, figure, scale, shortened
from adaprob_ray.reporting.report.html import Html, element
from adaprob_ray.reporting.report.markers import Mark
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

    def drawn(self) -> list[Html]:
        """Strip, ticks and numbers."""
        if self.strip is None:
            return [scale(self.axis, LEFT)]
        box = {"x": LEFT, "y": f"{self.strip - STRIP / 2:g}", "width": WIDTH - RIGHT - LEFT, "height": STRIP}
        return [element("rect", {"class": "band", **box}), scale(self.axis, LEFT)]


def best_so_far_charts(found: BestSoFar, marks: Mapping[str, Mark]) -> list[Html]:
    """Against trials, and against passes."""
    values = ValueScale.of(found.axis)
    charts = []
    for words, curves in (("trials", found.against_trials), ("passes", found.against_passes)):
        budgets = [x for curve in curves for x in curve.budget]
        if not budgets:
            continue
        least = min((x for x in budgets if x > 0), default=1.0)
        across = _across(budgets, is_log=words == "passes" and max(budgets) >= LOG_RATIO * least, integer=True)
        drawn = [*values.drawn(), scale(across, HEIGHT), _title_below(words)]
        for curve in curves:
            drawn += _curve(curve, across, values, marks[curve.label])
        charts.append(_figure(f"Best so far against {words}", found.objective, drawn))
    return charts


def rank_charts(found: MethodRanks, marks: Mapping[str, Mark]) -> list[Html]:
    """Mean ranks against trials, and against passes; 1 at the top."""
    count = len(found.methods)
    upwards = Axis(-count - 0.2, -0.8, False, HEIGHT, TOP - HEIGHT)
    charts = []
    for words, budget, ranks in (
        ("trials", found.trials, found.against_trials),
        ("passes", found.passes, found.against_passes),
    ):
        if not budget:
            continue
        across = _across(budget, integer=True)
        drawn = [scale(across, HEIGHT), _title_below(words)]
        for rank in range(1, count + 1):
            y = upwards.at(-rank)
            drawn.append(element("path", {"class": "rule", "d": f"M{LEFT} {y:g}H{WIDTH - RIGHT}"}))
            drawn.append(element("text", {"class": "tick left", "x": LEFT - 7, "y": f"{y + 4:g}"}, str(rank)))
        for label, values in ranks.items():
            points = [(across.at(x), upwards.at(-value)) for x, value in zip(budget, values, strict=True)]
            drawn += _line(label, points, marks[label])
        charts.append(_figure(f"Mean rank against {words}", "(1 = best)", drawn))
    return charts


def slice_chart(found: Slice, values: ValueAxis, mark: Mark, objective: str) -> Html:
    """Value against one parameter; the chosen values are marked."""
    upwards = ValueScale.of(values)
    drawn = upwards.drawn()
    if found.options:
        across = Axis(-0.5, len(found.options) - 0.5, False, LEFT, WIDTH - RIGHT - LEFT)
        for at, option in enumerate(found.options):
            place = {"class": "tick", "x": f"{across.at(at):g}", "y": HEIGHT + 16}
            drawn.append(element("text", place, shortened(option)))
        drawn.append(element("path", {"class": "axis", "d": f"M{LEFT} {HEIGHT}H{WIDTH - RIGHT}"}))
    else:
        across = _across(found.ends, is_log=found.is_log, integer=found.is_integer)
        drawn.append(scale(across, HEIGHT))
    drawn.append(_title_below(found.parameter))
    for x in found.chosen:
        drawn.append(element("path", {"class": "no-signal", "d": f"M{across.at(x):g} {TOP}V{HEIGHT}"}))
    # The chosen ones last, so that no other trial hides them.
    for x, point in sorted(found.points, key=lambda item: item[1].is_best):
        shift = choice_offset(point.number) if found.options else 0.0
        drawn.append(_trial(point, across.at(x + shift), upwards.at(point.value), mark))
    return _figure(f"{objective} against {found.parameter}", "", drawn)


def importance_chart(found: Importance) -> Html:
    """A bar for each parameter: the mean over search seeds."""
    left = round(CHARACTER * min(LONGEST_NAME, max(map(len, found.shares)))) + 12
    across = Axis(0, 1, False, left, WIDTH - RIGHT - left)
    height = TOP + BAR * len(found.shares)
    drawn = [scale(across, height)]
    for at, (name, shares) in enumerate(found.shares.items()):
        y, share = TOP + BAR * at, fmean(shares)
        bar = {"class": "bar", "x": left, "y": y + 4, "width": f"{across.at(share) - left:g}", "height": BAR - 8}
        title = element("title", {}, f"{name}: {share:.3f}")
        drawn.append(element("text", {"class": "name", "x": left - 8, "y": y + 16}, shortened(name)))
        drawn.append(element("rect", bar, title))
    return figure("chart", "Importance", f"(PED-ANOVA, {found.trials} trials)", height + BELOW_BARS, *drawn)


def pareto_charts(group: StudyGroup, marks: Mapping[str, Mark]) -> list[Html]:
    """A chart for each pair of objectives: every trial, with those on the front of their study joined if there are two."""
    words = objective_words(group.first)
    trials = [
        (label, run, trial)
        for label, runs in group.studies.items()
        for run in runs
        for trial in run.trials
        if trial.values is not None
    ]
    if not trials:
        return []
    charts = []
    for first, second in combinations(range(len(words)), 2):
        across = _across([trial.values[first] for _, _, trial in trials if trial.values])
        heights = [trial.values[second] for _, _, trial in trials if trial.values]
        room = 0.05 * (max(heights) - min(heights) or 1.0)
        upwards = Axis(min(heights) - room, max(heights) + room, False, HEIGHT, TOP - HEIGHT)
        drawn = [scale(across, HEIGHT), scale(upwards, LEFT), _title_below(words[first])]
        for label, runs in group.studies.items():
            for run in runs if len(words) == 2 else ():
                corners = front_steps(run.best, first, second, group.signs)
                path = "L".join(f"{across.at(x):g} {upwards.at(y):g}" for x, y in corners)
                drawn += [element("path", {"class": _stroke(marks[label]), "d": f"M{path}"})] if corners else []
        for label, run, trial in trials:
            if trial.values is None:
                continue
            is_best = trial in run.best
            title = element(
                "title", {}, f"{label}, trial {trial.number}: {trial.values[first]:.4g}, {trial.values[second]:.4g}"
            )
            place = marks[label].at(across.at(trial.values[first]), upwards.at(trial.values[second]))
            drawn.append(element("g", {"class": None if is_best else "dominated"}, title, place))
        charts.append(_figure(f"{words[second]} against {words[first]}", "(faint: dominated trials)", drawn))
    return charts


# -- parts of charts ---------------------------------------------------------------------------------------------------


def _figure(title: str, note: str, drawn: Iterable[Html]) -> Html:
    return figure("chart", title, note, HEIGHT + BELOW, *drawn)


def _title_below(words: str) -> Html:
    middle = {"class": "tick", "x": f"{(LEFT + WIDTH - RIGHT) / 2:g}", "y": HEIGHT + 34}
    return element("text", middle, words)


def _across(values: Sequence[float], *, is_log: bool = False, integer: bool = False) -> Axis:
    low, high = min(values), max(values)
    if is_log:
        low = min(value for value in values if value > 0)
        room = (high / low) ** 0.03
        return Axis(low / room, high * room, True, LEFT, WIDTH - RIGHT - LEFT)
    room = 0.03 * (high - low) or 0.5
    return Axis(low - room, high + room, False, LEFT, WIDTH - RIGHT - LEFT, integer)


def _curve(curve: BestSoFarCurve, across: Axis, values: ValueScale, mark: Mark) -> list[Html]:
    xs = [across.at(x) for x in curve.budget]
    drawn = []
    if curve.has_band:
        low, high = (_steps(list(zip(xs, map(values.at, line), strict=True))) for line in (curve.low, curve.high))
        corners = "L".join(f"{x:g} {y:g}" for x, y in [*low, *reversed(high)])
        drawn.append(element("path", {"class": f"spread {_colour(mark)}", "d": f"M{corners}z"}))
    return drawn + _line(curve.label, list(zip(xs, map(values.at, curve.median), strict=True)), mark)


def _line(label: str, points: Sequence[tuple[float, float]], mark: Mark) -> list[Html]:
    """A step function with the method's mark at its end."""
    path = "L".join(f"{x:g} {y:g}" for x, y in _steps(points))
    title = element("title", {}, label)
    return [element("g", {}, title, element("path", {"class": _stroke(mark), "d": f"M{path}"}), mark.at(*points[-1]))]


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of a function that keeps each value until the next; equal values are left out."""
    corners = [points[0]]
    for x, y in points[1:]:
        if y != corners[-1][1]:
            corners += [(x, corners[-1][1]), (x, y)]
    return [*corners, points[-1]]


def _trial(point: TrialPoint, x: float, y: float, mark: Mark) -> Html:
    """The method's mark, hollow where the trial was pruned, a cross where it diverged, ringed where it is chosen."""
    words = [
        f"trial {point.number}",
        point.state if point.state != "complete" or point.value is not None else "beyond the margin",
    ]
    words += [f"{point.value:.4g}"] if point.value is not None else []
    words += ["default settings"] * point.is_default + ["chosen"] * point.is_best
    drawn = [element("title", {}, ", ".join(words))]
    if point.state == "diverged":
        drawn.append(element("path", {"class": _stroke(mark), "d": f"M{x - 4:g} {y - 4:g}l8 8m0-8l-8 8"}))
    elif point.state == "pruned":
        drawn.append(Mark(mark.path, f"mark hollow {_colour(mark)}").at(x, y))
    else:
        drawn.append(mark.at(x, y))
    for radius, kind in ((9, point.is_best), (6.5, point.is_default)):
        if kind:
            drawn.append(element("circle", {"class": "ring", "cx": f"{x:g}", "cy": f"{y:g}", "r": radius}))
    return element("g", {"class": None if point.is_best or point.is_default else "trial"}, *drawn)


def _colour(mark: Mark) -> str:
    """The class of the mark's colour."""
    return next(name for name in mark.classes.split() if name == "ink" or name.startswith("colour-"))


def _stroke(mark: Mark) -> str:
    return f"curve {_colour(mark)}"
