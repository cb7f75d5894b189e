"""Which methods differ from Retrain: paired t over seeds, Holm within a family, minimum detectable difference (DESIGN §9).

A family is one metric of one table, with every method that is no reference and one reading of AdaProb, which the sweep file
names. With fewer than five seeds nothing is called significant.
"""

from __future__ import annotations

import csv
import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import f, ncf, ttest_1samp

from adaprob_ray.reporting.stats.intervals import LEVEL, all_equal

MIN_SEEDS = 5
POWER = 0.8
SIGNIFICANT = 1 - LEVEL
DRAWS = 200  # of an attack without signal, where its size was not simulated before
CHANCE_LEVELS = Path(__file__).with_name("chance_level.csv")  # python -m benchmarks.chance_level


@dataclass(frozen=True)
class TestFamily:
    """Tests of one metric of one table.

    Attributes:
        p: p value by row, adjusted by Holm's procedure.
        size: number of tests, those of rows without spread included.
        seeds: the fewest seeds of a row.
        detectable: the mean difference, in the metric's unit, that a test of this family would find with 80 % power at Holm's
            first step in a row of median spread; None where no row has spread.
    """

    p: dict[str, float]
    size: int
    seeds: int
    detectable: float | None

    def is_significant(self, row: str) -> bool:
        """Whether the row differs from Retrain at 5 % over the whole family. Never with fewer than five seeds."""
        return self.seeds >= MIN_SEEDS and self.p.get(row, 1.0) < SIGNIFICANT


def family(differences: Mapping[str, Sequence[float]]) -> TestFamily:
    """The tests of one metric of one table.

    Args:
        differences: by row, value − Retrain's, seed by seed. A row whose differences are all equal has no spread to test
            against: it counts in the family and is never significant.

    Example:
        >>> tests = family({"scrub": [3.0, 3.2, 2.9, 3.1, 3.0], "finetune": [0.4, -0.3, 0.1, -0.2, 0.2]})
        >>> tests.is_significant("scrub"), tests.is_significant("finetune")
        (True, False)
    """
    tested = {row: values for row, values in differences.items() if len(values) > 1 and not all_equal(values)}
    p = {row: float(ttest_1samp(values, 0.0).pvalue) for row, values in tested.items()}
    deviations = [float(np.std(values, ddof=1)) for values in tested.values()]
    seeds = min(map(len, differences.values()))
    has_spread = deviations and seeds > 1
    detectable = detectable_difference(statistics.median(deviations), seeds, len(differences)) if has_spread else None
    return TestFamily(holm(p, len(differences)), len(differences), seeds, detectable)


def holm(p: Mapping[str, float], size: int) -> dict[str, float]:
    """p values by row, adjusted step by step for a family of tests (Holm 1979).

    Args:
        p: by row.
        size: number of tests. Those that are missing in `p` count as 1.

    Example:
        >>> holm({"a": 0.01, "b": 0.04}, size=2)
        {'a': 0.02, 'b': 0.04}
    """
    adjusted, running_maximum = {}, 0.0
    for step, row in enumerate(sorted(p, key=lambda row: p[row])):
        running_maximum = max(running_maximum, min(1.0, (size - step) * p[row]))
        adjusted[row] = running_maximum
    return adjusted


def detectable_difference(deviation: float, n: int, size: int) -> float:
    """The smallest mean difference that a two-sided paired t test finds with 80 % power at level 5 % / size.

    From the noncentral F distribution.

    Args:
        deviation: standard deviation of the paired differences; the result has its unit.
        n: number of seeds.
        size: number of tests in the family.

    Example:
        >>> round(detectable_difference(2.0, n=5, size=1), 1)
        3.4
    """
    limit = float(f.isf(SIGNIFICANT / size, 1, n - 1))  # t² is F, and noncentral with the squared shift

    def missing_power(shift: float) -> float:
        return float(ncf.sf(limit, 1, n - 1, shift**2)) - POWER

    high = 1.0
    while missing_power(high) < 0:
        high *= 2
    return deviation * float(brentq(missing_power, 0.0, high)) / math.sqrt(n)


def simulated_attacks(rows: int, draws: int = DRAWS) -> NDArray[np.float64]:
    """[D] scores in percent of the paper's attack on `rows` members and as many others, all of one distribution.

    Empty where the rows are too few for the attack.
    """
    from adaprob_ray.metrics.membership import attack_accuracy_percent  # which loads torch

    losses = np.random.default_rng(rows).exponential(size=(draws, 2, rows))
    scores = (attack_accuracy_percent(members, others, seed) for seed, (members, others) in enumerate(losses))
    return np.array([score for score in scores if score is not None])


@functools.cache
def chance_percent(rows: int) -> float | None:
    """The attack's chance level for this number of members: from chance_level.csv, or simulated for another size."""
    with CHANCE_LEVELS.open(newline="", encoding="utf-8") as file:
        simulated = {int(line["rows"]): float(line["mean_percent"]) for line in csv.DictReader(file)}
    if rows not in simulated:
        scores = simulated_attacks(rows)
        return float(scores.mean()) if len(scores) else None
    return simulated[rows]
