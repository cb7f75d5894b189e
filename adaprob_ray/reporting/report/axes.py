"""Axes of the report's figures: where a number stands, which range is shown, and round ticks. No drawing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from adaprob_ray.reporting.records.metric_format import MetricFormat
from adaprob_ray.reporting.stats.intervals import Estimate

DECADES = 2.5  # positive values that span more are shown on a logarithmic axis
MARGIN = 0.04  # of the range, left free at both ends
TICKS, STEPS = 5, (1, 2, 5, 10)  # at most so many but one, and round distances between them


@dataclass(frozen=True)
class Axis:
    """From `low` to `high` in the unit of the metric over `length` pixels from `start`; a negative length runs upwards.

    `integer`: ticks are whole numbers.
    """

    low: float
    high: float
    logarithmic: bool
    start: float
    length: float
    integer: bool = False

    @property
    def upright(self) -> bool:
        return self.length < 0

    def at(self, value: float) -> float:
        """The pixel of a value; what lies outside stands at the end."""
        share = (self._scaled(value) - self._scaled(self.low)) / (self._scaled(self.high) - self._scaled(self.low))
        return round(self.start + self.length * min(max(share, 0.0), 1.0), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.logarithmic else value

    def ticks(self) -> list[tuple[float, str]]:
        """Round values with their words."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            # Powers of ten where two are in sight, else what is between them too.
            factors = STEPS[:1] if last > first else STEPS[:-1]
            values = [factor * 10.0**power for power in range(first - 1, last + 1) for factor in factors]
            return [(value, f"{value:g}") for value in values if self.low <= value <= self.high]
        step = max(_round_step((self.high - self.low) / TICKS), float(self.integer))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        decimals = max(0, -math.floor(math.log10(step)))
        return [(at * step, f"{at * step:.{decimals}f}") for at in range(first, last + 1)]


def _round_step(step: float) -> float:
    """The next larger of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in STEPS if factor * power >= step * (1 - 1e-9))


def bounds(estimate: Estimate) -> tuple[float, float]:
    """The ends of the interval of an estimate, in its unit; its mean twice where it has none."""
    if estimate.count is not None:
        return estimate.count.low_percent, estimate.count.high_percent
    half = estimate.half_width or 0.0
    return estimate.mean - half, estimate.mean + half


def axis(estimates: Sequence[Estimate], column: MetricFormat, start: float, length: float) -> Axis:
    """An axis that holds all means. Intervals wider than the means and the median interval together are cut."""
    means = [estimate.mean for estimate in estimates]
    low, high = min(means), max(means)
    ends = [bounds(estimate) for estimate in estimates]
    if low > 0 and high / low > 10**DECADES:
        return Axis(low / 1.5, high * 1.5, True, start, length)
    room = max(high - low, statistics.median(top - bottom for bottom, top in ends) / 2)
    bottom = max(min(end for end, _ in ends), low - room)
    top = min(max(end for _, end in ends), high + room)
    return _widened(bottom, top, low, column, start, length)


def _widened(bottom: float, top: float, lowest: float, column: MetricFormat, start: float, length: float) -> Axis:
    """A margin on both sides, but not past 0 where nothing is negative, nor past 100 % with shares."""
    margin = MARGIN * (top - bottom) or abs(top) * 0.1 or 1.0
    low, high = bottom - margin, top + margin
    low = -margin if lowest >= 0 and low < 0 else low
    high = 100 + margin if column.is_share and high > 100 else high
    return Axis(low, high, False, start, length)
