"""The axis of a trial's value: trials without a feasible value are drawn in a strip at its worse end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes

from adaprob_ray.reporting.figures.style import style_axes

# Shares of the range of the values that are drawn to scale.
_PADDING, _STRIP = 0.08, 0.12


@dataclass(frozen=True)
class ValueAxis:
    """`edge`: where the strip begins; None if no trial needs it. `strip`: where its trials are drawn."""

    low: float
    high: float
    edge: float | None = None
    strip: float = 0.0

    def at(self, value: float | None) -> float:
        """Where a value is drawn; None is in the strip."""
        return self.strip if value is None else value


def value_axis(values: Iterable[float | None], *, sign: float) -> ValueAxis:
    """An axis for these values.

    Args:
        values: None for trials that diverged or are beyond the margin.
        sign: 1 where less is better, else −1: the strip is then at the lower end.

    Returns:
        The axis.
    """
    values = list(values)
    feasible = [value for value in values if value is not None]
    low, high = (min(feasible), max(feasible)) if feasible else (0.0, 1.0)
    room = (high - low) or abs(high) or 1.0
    low, high = low - _PADDING * room, high + _PADDING * room
    if len(feasible) == len(values):
        return ValueAxis(low, high)
    edge = high if sign > 0 else low
    far = edge + sign * _STRIP * room
    return ValueAxis(min(low, far), max(high, far), edge, (edge + far) / 2)


def draw_value_axis(axes: Axes, axis: ValueAxis) -> None:
    """Limits, grid, and the strip of trials without a feasible value."""
    axes.set_ylim(axis.low, axis.high)
    style_axes(axes)
    if axis.edge is None:
        return
    is_above = axis.strip > axis.edge
    far = axis.high if is_above else axis.low
    axes.axhspan(min(axis.edge, far), max(axis.edge, far), color="0.93", zorder=0)
    inside = (axis.low, axis.edge) if is_above else (axis.edge, axis.high)
    axes.set_yticks([tick for tick in axes.get_yticks() if inside[0] <= tick <= inside[1]])
