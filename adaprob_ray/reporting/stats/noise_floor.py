"""Whether a method is inside the noise floor: as near to a retrained model as Retrain itself is (DESIGN §9).

The floor of a metric is how far Retrain lies from `retrain_independent`, a second model retrained with other randomness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from adaprob_ray.reporting.stats.intervals import MIN_INTERVAL_SEEDS, Estimate, paired_difference

Values = Mapping[int, float]  # of a metric, by seed
SIMULATED_TABLES = 20_000


@dataclass(frozen=True)
class FloorComparison:
    """One metric of one method, in the metric's unit.

    Attributes:
        difference: mean and 95 % interval, paired by seed.
        floor: half-width of the 95 % interval between the two retrained models.
        one_sided: whether only a difference above the floor counts as outside.
    """

    difference: Estimate
    floor: float
    one_sided: bool = False

    @property
    def is_inside(self) -> bool:
        """Whether the whole interval of the difference lies within ± `floor`. Never with fewer than three seeds."""
        low, high = self.difference.interval
        return self.difference.n >= MIN_INTERVAL_SEEDS and high <= self.floor and (self.one_sided or low >= -self.floor)

    @property
    def is_mean_inside(self) -> bool:
        """Whether the mean difference alone lies within ± `floor`."""
        mean = self.difference.mean if self.one_sided else abs(self.difference.mean)
        return self.difference.n >= MIN_INTERVAL_SEEDS and mean <= self.floor


def compare_with_floor(method: Values, retrain: Values, independent: Values) -> FloorComparison | None:
    """Method − `independent` against Retrain − `independent`, for a metric that each model has by itself, such as an error.

    Args:
        method, retrain, independent: the values, one for each seed.

    Returns:
        None if no seed has all three.

    Example:
        >>> retrain, independent = {1: 50.0, 2: 56.0, 3: 53.0}, {1: 54.0, 2: 51.0, 3: 52.0}
        >>> compare_with_floor({1: 53.0, 2: 52.0, 3: 52.5}, retrain, independent).is_inside
        True
        >>> compare_with_floor({1: 20.0, 2: 25.0, 3: 22.0}, retrain, independent).is_inside
        False
    """
    difference, floor = paired_difference(method, independent), paired_difference(retrain, independent)
    if difference is None or floor is None:
        return None
    return FloorComparison(difference, floor.half_width or 0.0)


def compare_distance_with_floor(method: Values, retrain: Values) -> FloorComparison | None:
    """The same for a metric that is a distance from `retrain_independent` already, such as a divergence.

    Retrain's own distance is then the floor, and a method is inside if its distance exceeds Retrain's by no more than the
    half-width of the 95 % interval of Retrain's distance. A shorter distance is not outside.

    Args:
        method, retrain: the distances, one for each seed.

    Returns:
        None if no seed has both.

    Example:
        >>> retrain = {1: 0.36, 2: 0.49, 3: 0.42}
        >>> compare_distance_with_floor({1: 0.30, 2: 0.45, 3: 0.40}, retrain).is_inside
        True
    """
    difference, spread = paired_difference(method, retrain), paired_difference(retrain, dict.fromkeys(retrain, 0.0))
    if difference is None or spread is None:
        return None
    return FloorComparison(difference, spread.half_width or 0.0, one_sided=True)


def retrained_inside_share(seeds: int, tables: int = SIMULATED_TABLES) -> float:
    """How often a third retrained model would be inside the floor of one metric, from simulated normal values.

    This is the most that can be expected of a method that unlearns perfectly.

    Args:
        seeds: of each table.
        tables: how many are drawn.

    Returns:
        A share in [0, 1].

    Example:
        >>> 0 < retrained_inside_share(5) < 0.5
        True
    """
    third, retrain, independent = np.random.default_rng(seeds).normal(size=(3, tables, seeds))
    columns = range(seeds)
    inside = 0
    for rows in zip(third, retrain, independent, strict=True):
        values = [dict(zip(columns, row.tolist(), strict=True)) for row in rows]
        comparison = compare_with_floor(*values)
        inside += comparison is not None and comparison.is_inside
    return inside / tables
