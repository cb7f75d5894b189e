"""Whether a method is equivalent to Retrain: as near to one retrained model as another one is.

The margin of a metric is the half-width of the 95 % interval, paired by seed, of Retrain − `retrain_independent`, a second
model retrained with other randomness. A method is equivalent in a metric if the whole 95 % interval of
method − `retrain_independent` lies within ± the margin.

This is demanding, and "not equivalent" is weak evidence: a third retrained model, whose results vary as much as those of the
other two, is equivalent in a minority of tables (`retrained_share`), and in fewer the more seeds there are, since the margin
shrinks.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adaprob_ray.reporting.stats.intervals import MIN_INTERVAL_SEEDS, Estimate, mean_interval, t_quantile

Values = Mapping[int, float]  # of a metric, by seed
COLUMNS = ("forget_error_percent", "membership_auc_percent", "kl_forget_nats")
# These are distances from retrain_independent already: Retrain's own distance is then what the method's is compared with.
DISTANCES = ("kl_forget_nats",)
TEST_ERROR, MAX_TEST_DIFFERENCE = "test_error_percent", 1.0  # percentage points, of the mean from Retrain's
SIMULATED_TABLES = 20_000


@dataclass(frozen=True)
class Comparison:
    """One metric of one method, in the metric's unit.

    Attributes:
        difference: mean and 95 % interval, paired by seed.
        margin: how far the interval may reach.
        one_sided: whether only a difference above the margin counts.
    """

    difference: Estimate
    margin: float
    one_sided: bool = False

    @property
    def is_equivalent(self) -> bool:
        """Whether the whole interval of the difference lies within the margin."""
        low, high = self.difference.interval
        return high <= self.margin and (self.one_sided or low >= -self.margin)

    @property
    def is_mean_within(self) -> bool:
        """Whether the mean difference alone lies within the margin."""
        mean = self.difference.mean if self.one_sided else abs(self.difference.mean)
        return mean <= self.margin


def compare(column: str, method: Values, retrain: Values, independent: Values) -> Comparison | None:
    """A column of a method against those of two retrained models, over the seeds that all have.

    For a distance from `retrain_independent`, which has no value of it, the difference is that from Retrain's distance, the
    margin the half-width of the interval of Retrain's distance, and a shorter distance is equivalent.

    Args:
        column: a column of Records.
        method, retrain, independent: its values, one for each seed; `independent` is not read for a distance.

    Returns:
        None for fewer than three seeds.

    Example:
        >>> retrain, independent = {1: 50.0, 2: 56.0, 3: 53.0}, {1: 54.0, 2: 51.0, 3: 52.0}
        >>> compare("forget_error_percent", {1: 53.0, 2: 52.0, 3: 52.5}, retrain, independent).is_equivalent
        True
        >>> compare("forget_error_percent", {1: 20.0, 2: 25.0, 3: 22.0}, retrain, independent).is_equivalent
        False
    """
    is_distance = column in DISTANCES
    origin = retrain if is_distance else independent
    seeds = method.keys() & retrain.keys() & origin.keys()
    if len(seeds) < MIN_INTERVAL_SEEDS:
        return None
    difference = mean_interval([method[seed] - origin[seed] for seed in seeds])
    spread = mean_interval([retrain[seed] - (0.0 if is_distance else origin[seed]) for seed in seeds])
    return Comparison(difference, spread.half_width or 0.0, is_distance)


@functools.cache
def retrained_share(seeds: int) -> float:
    """How often a third retrained model is equivalent in one metric that is no distance, from simulated normal values.

    A method whose results vary less than those of retrained models is equivalent more often.

    Args:
        seeds: of each table, at least two.

    Returns:
        A share in [0, 1].

    Example:
        >>> 0 < retrained_share(5) < 0.5
        True
    """
    third, retrain, independent = np.random.default_rng(seeds).normal(size=(3, SIMULATED_TABLES, seeds))
    own, other = third - independent, retrain - independent
    errors = t_quantile(seeds) / seeds**0.5
    return float((np.abs(own.mean(1)) + errors * own.std(1, ddof=1) <= errors * other.std(1, ddof=1)).mean())
