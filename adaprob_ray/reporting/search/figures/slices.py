"""Value against each parameter of one method, with the chosen value marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from adaprob_ray.reporting.figures.style import (
    GREY,
    SMALL,
    TEXT,
    add_caption,
    add_legend,
    new_figure,
    panel_grid,
    plot_styles,
    shade,
)
from adaprob_ray.reporting.search.figures.history import TrialPoint, draw_point, state_handles, trial_points
from adaprob_ray.reporting.search.figures.value_axis import ValueAxis, draw_value_axis, value_axis
from adaprob_ray.reporting.search.studies import StudyGroup, StudyResults, caption_of, objective_words
from adaprob_ray.search.space import Alternatives, Parameter
from adaprob_ray.settings import Choice, Int, Log

# Points of one choice are spread over this many places, so that equal values do not hide each other.
_SPREAD = 7
# Share of white in the colour of the first trial of a study.
_FIRST_SHADE = 0.75
# Share of a range that is left free at each end.
_MARGIN = 0.05


@dataclass(frozen=True)
class Slice:
    """The points of one parameter between the ends of its range.

    `options`: the names of a choice, at places 0, 1, …; empty for a range.
    """

    parameter: str
    options: list[str]
    ends: tuple[float, float]
    is_log: bool
    is_integer: bool
    points: list[tuple[float, TrialPoint]]

    @property
    def chosen(self) -> list[float]:
        """Where the chosen values are."""
        return [x for x, point in self.points if point.is_best]


def compute_slice(name: str, runs: Sequence[StudyResults], objective: int = 0) -> Slice:
    """The slice of one parameter, with the trials of all search seeds."""
    parameter = runs[0].study.target.space[name]
    options = _options(parameter)
    points = []
    for run in runs:
        for point in trial_points(run, objective):
            value = run.trials[point.number].params[name]
            points.append((float(options.index(value) if options else value), point))
    return Slice(
        parameter=name,
        options=[str(option) for option in options],
        ends=_ends(parameter),
        is_log=isinstance(parameter, Log),
        is_integer=isinstance(parameter, Int),
        points=points,
    )


def _options(parameter: Parameter) -> list[object]:
    if isinstance(parameter, Alternatives):
        return list(parameter.options)
    return list(parameter.values) if isinstance(parameter, Choice) else []


def _ends(parameter: Parameter) -> tuple[float, float]:
    if isinstance(parameter, (Alternatives, Choice)):
        return (0, len(_options(parameter)) - 1)
    return (parameter.low, parameter.high)


def slice_axis(runs: Sequence[StudyResults], sign: float, objective: int = 0) -> ValueAxis:
    """The axis of the values, the same for all parameters of a method."""
    return value_axis((point.value for run in runs for point in trial_points(run, objective)), sign=sign)


# -- drawing -----------------------------------------------------------------------------------------------------------


def draw_slices(label: str, groups: Sequence[StudyGroup]) -> Figure:
    """One method: a row for each group and objective, a panel for each parameter. Every group has the label."""
    rows = [(group, objective) for group in groups for objective in range(len(group.signs))]
    max_parameters = max(len(group.studies[label][0].study.target.space) for group, _ in rows)
    figure = new_figure(max(4.6, 0.8 + 2.1 * max_parameters), 0.7 + 2.6 * len(rows))
    add_legend(figure, state_handles(max(len(group.signs) for group in groups)), 5 if max_parameters > 2 else 3)
    for row, (group, objective) in zip(panel_grid(figure, len(rows), max_parameters), rows, strict=True):
        _draw_row(row, label, group, objective)
    shades = (
        "the darker a point, the later its trial; dotted line: the chosen value; each axis spans the searched range"
    )
    add_caption(figure, [f"{label}: {shades}", *caption_of(groups, strip=True)])
    return figure


def _draw_row(row: Sequence[Axes], label: str, group: StudyGroup, objective: int) -> None:
    runs = group.studies[label]
    style = plot_styles(group.methods)[label]
    slices = [compute_slice(name, runs, objective) for name in runs[0].study.target.space]
    axis = slice_axis(runs, group.signs[objective], objective)
    last = max((point.number for _, point in slices[0].points), default=0) or 1
    for axes, parameter_slice in zip(row, slices, strict=False):
        for x in parameter_slice.chosen:
            axes.axvline(x, color=GREY, linewidth=0.8, linestyle=":")
        for x, point in parameter_slice.points:
            colour = shade(style.colour, _FIRST_SHADE * (1 - point.number / last))
            draw_point(axes, x + (choice_offset(point.number) if parameter_slice.options else 0.0), point, axis, colour)
        draw_value_axis(axes, axis)
        _parameter_axis(axes, parameter_slice)
    for axes in row[len(slices) :]:
        axes.set_visible(False)
    row[0].set_title(group.title, fontsize=TEXT, loc="left")
    row[0].set_ylabel(objective_words(group.first)[objective], fontsize=TEXT)


def choice_offset(number: int) -> float:
    """How far a trial is drawn from the middle of its choice: from −0.3 to 0.3."""
    return 0.6 * ((number % _SPREAD) / (_SPREAD - 1) - 0.5)


def _parameter_axis(axes: Axes, parameter_slice: Slice) -> None:
    axes.set_xlabel(parameter_slice.parameter, fontsize=TEXT)
    if parameter_slice.options:
        axes.set_xticks(
            range(len(parameter_slice.options)), parameter_slice.options, rotation=25, ha="right", fontsize=SMALL
        )
        axes.set_xlim(-0.6, len(parameter_slice.options) - 0.4)
        return
    low, high = parameter_slice.ends
    if parameter_slice.is_log:
        axes.set_xscale("log")
        room = (high / low) ** _MARGIN
        axes.set_xlim(low / room, high * room)
        axes.xaxis.set_minor_formatter(NullFormatter())
        if high < 100 * low:
            ticks = [float(f"{low * (high / low) ** share:.2g}") for share in (0, 0.5, 1)]
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        return
    axes.set_xlim(low - _MARGIN * (high - low), high + _MARGIN * (high - low))
    if parameter_slice.is_integer:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
