"""Axes of the report's figures: the position of a value, the range, and round ticks. No drawing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from adaprob_ray.reporting.records.metric_format import MetricFormat
from adaprob_ray.reporting.stats.intervals import Estimate

DECADES = 2.5  # positive values that span more are shown on a logarithmic axis
MARGIN = 0.04  # of the range, left free at both ends
TICKS = 5  # intervals between ticks, at most


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
    def is_upright(self) -> bool:
        return self.length < 0

    def at(self, value: float) -> float:
        """The pixel of a value, clipped to the range."""
        share = (self._scaled(value) - self._scaled(self.low)) / (self._scaled(self.high) - self._scaled(self.low))
        return round(self.start + self.length * min(max(share, 0.0), 1.0), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.logarithmic else value

    def ticks(self) -> list[tuple[float, str]]:
        """Round values as numbers and as text."""
        locator: Locator = MaxNLocator(nbins=TICKS, steps=[1, 2, 5, 10], integer=self.integer)
        if self.logarithmic:
            # Powers of ten if two are in the range, else what is between them too.
            has_two = math.floor(math.log10(self.high)) > math.ceil(math.log10(self.low))
            locator = LogLocator(subs=(1.0,) if has_two else (1.0, 2.0, 5.0), numticks=TICKS + 4)
        values = [float(x) for x in locator.tick_values(self.low, self.high) if self.low <= x <= self.high]
        if self.logarithmic:
            return [(value, f"{value:g}") for value in values]
        step = values[1] - values[0] if len(values) > 1 else 1.0
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(value, f"{value + 0.0:.{decimals}f}") for value in values]  # 0.0 is added because −0.0 has a sign


def axis(estimates: Sequence[Estimate], column: MetricFormat, start: float, length: float) -> Axis:
    """An axis that holds all means. Intervals wider than the means and the median interval together are cut."""
    means = [estimate.mean for estimate in estimates]
    low, high = min(means), max(means)
    ends = [estimate.interval for estimate in estimates]
    if low > 0 and high / low > 10**DECADES:
        return Axis(low / 1.5, high * 1.5, True, start, length)
    room = max(high - low, statistics.median(top - bottom for bottom, top in ends) / 2)
    bottom = max(min(end for end, _ in ends), low - room)
    top = min(max(end for _, end in ends), high + room)
    # A margin on both sides, but not past 0 where nothing is negative, nor past 100 % with shares.
    margin = MARGIN * (top - bottom) or abs(top) * 0.1 or 1.0
    lower = -margin if low >= 0 and bottom < margin else bottom - margin
    upper = 100 + margin if column.is_share and top + margin > 100 else top + margin
    return Axis(lower, upper, False, start, length)
