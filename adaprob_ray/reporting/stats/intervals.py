"""Statistics for few seeds: Student-t intervals, paired differences, Clopper-Pearson bounds, predictions (DESIGN §9).

Intervals hold at 95 %. Events are counted where a t interval would lie: when they are few, or when all seeds agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtrit
from scipy.stats import bootstrap

LEVEL = 0.95
# The 95 % interval of two values is 12.7 standard errors wide on either side, which nobody can use: none is shown.
MIN_INTERVAL_SEEDS = 3
MIN_EVENTS = 10  # events over all seeds below which a t interval of a share is not used (DESIGN §9)
MIN_BOOTSTRAP_VALUES = 20  # examples below which no bootstrap is drawn
EQUAL_TOLERANCE = 1e-9  # relative; 55.00000000000001 % is 55 % summed in another order


@dataclass(frozen=True)
class Count:
    """A share of samples, over all seeds together, with its bounds.

    Attributes:
        events: how many samples, such as those misclassified; a fraction if repeats are averaged.
        rows: out of how many.
        low_percent: lower 95 % Clopper-Pearson bound, in percent.
        high_percent: upper bound.
    """

    events: float
    rows: int
    low_percent: float
    high_percent: float


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, in the unit of its metric, with its 95 % interval.

    Attributes:
        mean: the mean.
        half_width: of the interval; None for one seed, equal values or few events.
        n: number of seeds; 0 for constants.
        count: the events, where they are few and the number of samples is known.

    Example:
        >>> low, high = mean_interval([24.0, 26.0, 28.0]).interval
        >>> round(low, 2), round(high, 2)
        (21.03, 30.97)
    """

    mean: float
    half_width: float | None
    n: int
    count: Count | None = None

    @property
    def is_constant(self) -> bool:
        """Whether several seeds agree, and are no counted events."""
        return self.half_width is None and self.count is None and self.n > 1

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end, in the unit of the metric; the mean twice where there is no spread, or for two seeds."""
        if self.count is not None:
            return self.count.low_percent, self.count.high_percent
        half_width = self.half_width if self.half_width is not None and self.n >= MIN_INTERVAL_SEEDS else 0.0
        return self.mean - half_width, self.mean + half_width


def mean_interval(values: Sequence[float]) -> Estimate:
    """Mean ± t(0.975, n − 1) · s / √n, s the sample standard deviation (n − 1 in its denominator).

    `values`: one for each seed. The estimate has no half-width for one value or equal ones.

    Example:
        >>> round(mean_interval([24.0, 26.0, 28.0]).half_width, 2)
        4.97
    """
    n, mean = len(values), math.fsum(values) / len(values)
    if all_equal(values):
        return Estimate(mean, None, n)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Estimate(mean, t_quantile(n) * math.sqrt(variance / n), n)


def t_quantile(n: int) -> float:
    """Of Student's t at the end of an interval over n values."""
    return float(stdtrit(n - 1, (1 + LEVEL) / 2))


def prediction_interval(values: Sequence[float], runs: int) -> Estimate:
    """Where the mean of `runs` further runs would lie: mean ± t(0.975, n − 1) · s · √(1/n + 1/runs).

    A published mean outside it is not reproduced. The estimate has no half-width for one seed, and one of 0 where all agree.

    Args:
        values: one value for each seed.
        runs: how many runs the other mean is of.

    Example:
        >>> round(prediction_interval([24.0, 26.0, 28.0], runs=3).half_width, 2)
        7.03
    """
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return Estimate(mean, None, n)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    return Estimate(mean, t_quantile(n) * deviation * math.sqrt(1 / n + 1 / runs), n)


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Lower and upper end of the bias-corrected and accelerated bootstrap interval of a mean (Efron 1987).

    Args:
        values: one value for each example within one seed.
        seed: of the resampling.

    Raises:
        ValueError: for fewer than 20 examples, where it covers too seldom (docs/statistics.md has measured figures).

    Example:
        >>> low, high = bootstrap_interval([0.0, 1.0] * 50)
        >>> low < 0.5 < high
        True
    """
    if len(values) < MIN_BOOTSTRAP_VALUES:
        raise ValueError(f"values: must be at least {MIN_BOOTSTRAP_VALUES} for a bootstrap, got {len(values)}")
    if all_equal(values):
        return float(values[0]), float(values[0])
    result = bootstrap([list(values)], np.mean, confidence_level=LEVEL, rng=np.random.default_rng(seed))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def all_equal(values: Sequence[float]) -> bool:
    """Whether all values are equal except for rounding; True for a single value."""
    return max(values) - min(values) <= EQUAL_TOLERANCE * max(1.0, max(map(abs, values)))


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Mean and interval of value − reference, over the seeds that have both; None if none has.

    Args:
        values: one value for each seed.
        reference: those of the reference, such as Retrain.

    Example:
        >>> paired_difference({1: 24.0, 2: 26.0, 3: 28.0}, {1: 22.0, 2: 25.0}).mean
        1.5
    """
    differences = [values[seed] - reference[seed] for seed in values if seed in reference]
    return mean_interval(differences) if differences else None


def paired_distance(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Mean and interval of `|value − reference|`. Arguments and result are those of `paired_difference`.

    Example:
        >>> paired_distance({1: 24.0, 2: 26.0}, {1: 22.0, 2: 29.0}).mean
        2.5
    """
    distances = [abs(values[seed] - reference[seed]) for seed in values if seed in reference]
    return mean_interval(distances) if distances else None


def share_interval(percents: Mapping[int, float], rows: Mapping[int, int]) -> Estimate:
    """The interval of a percentage of a known number of samples.

    It has a Count where events or their opposites are few, or all seeds agree: samples of all seeds are then pooled as if they
    were independent. One seed with many events is a plain value.

    Args:
        percents: one percentage for each seed, averaged over repeats.
        rows: the number of samples of each seed. Those of repeats count once: they are the same samples.

    Example:
        >>> estimate = share_interval({1: 0.0, 2: 4.0, 3: 0.0}, {1: 25, 2: 25, 3: 25})
        >>> estimate.count.events, estimate.count.rows, round(estimate.count.high_percent, 1)
        (1, 75, 7.2)
    """
    plain = mean_interval(list(percents.values()))
    total = sum(rows[seed] for seed in percents)
    events = math.fsum(percents[seed] / 100 * rows[seed] for seed in percents)
    events = round(events) if abs(events - round(events)) < 1e-6 else events
    if min(events, total - events) >= MIN_EVENTS and (plain.half_width is not None or plain.n == 1):
        return plain
    low, high = clopper_pearson(events, total)
    return Estimate(plain.mean, None, plain.n, Count(events, total, 100 * low, 100 * high))


def clopper_pearson(events: float, rows: int) -> tuple[float, float]:
    """Exact 95 % bounds of a share (Clopper and Pearson 1934), lower and upper, 0 to 1, from events among `rows` samples.

    Two-sided, from quantiles of the beta distribution; without any event, or with nothing else, all 5 % are spent on the one
    side that is left.

    Example:
        >>> low, high = clopper_pearson(0, 75)
        >>> low, round(high, 3)
        (0.0, 0.039)
    """
    if events == 0:
        return 0.0, 1 - (1 - LEVEL) ** (1 / rows)
    if events == rows:
        return (1 - LEVEL) ** (1 / rows), 1.0
    tail = (1 - LEVEL) / 2
    low = betaincinv(events, rows - events + 1, tail)
    high = betaincinv(events + 1, rows - events, 1 - tail)
    return float(low), float(high)
