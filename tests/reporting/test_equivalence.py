"""Whether a method is equivalent to Retrain, with intervals from SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from adaprob_ray.reporting.stats import equivalence
from adaprob_ray.reporting.stats.equivalence import Comparison, compare, retrained_share

RETRAIN = {1: 57.0, 2: 51.0, 3: 60.0, 4: 49.0, 5: 55.0}
INDEPENDENT = {1: 54.0, 2: 58.0, 3: 55.0, 4: 53.0, 5: 52.0}
ERROR, KL = "forget_error_percent", "kl_forget_nats"


def half_width(differences: list[float]) -> float:
    n = len(differences)
    return float(t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / np.sqrt(n))


def shifted(values: dict[int, float], *shifts: float) -> dict[int, float]:
    return {seed: value + shift for (seed, value), shift in zip(values.items(), shifts, strict=True)}


def compared(column: str, *values: dict[int, float]) -> Comparison:
    comparison = compare(column, *values)
    assert comparison is not None
    return comparison


def test_difference_and_margin_are_paired_by_seed() -> None:
    shifts = [1.0, -1.0, 0.5, -0.5, 1.5]
    comparison = compared(ERROR, shifted(INDEPENDENT, *shifts), RETRAIN, INDEPENDENT)
    assert comparison.margin == pytest.approx(half_width([RETRAIN[seed] - INDEPENDENT[seed] for seed in RETRAIN]))
    assert comparison.difference.mean == pytest.approx(0.3)
    assert comparison.difference.half_width == pytest.approx(half_width(shifts))
    assert comparison.is_equivalent


@pytest.mark.parametrize(
    ("shifts", "equivalent", "mean_within"),
    [
        ((0.0, 0.1, -0.1, 0.05, -0.05), True, True),
        ((-9.0, 9.0, 0.0, -9.0, 9.0), False, True),  # the mean is near, its interval too wide
        ((20.0, 20.1, 19.9, 20.0, 20.0), False, False),
        ((-20.0, -20.1, -19.9, -20.0, -20.0), False, False),
    ],
)
def test_the_whole_interval_has_to_be_within_the_margin(
    shifts: tuple[float, ...], equivalent: bool, mean_within: bool
) -> None:
    comparison = compared(ERROR, shifted(INDEPENDENT, *shifts), RETRAIN, INDEPENDENT)
    assert (comparison.is_equivalent, comparison.is_mean_within) == (equivalent, mean_within)


def test_a_shorter_distance_than_retrains_is_equivalent() -> None:
    own = {1: 0.36, 2: 0.49, 3: 0.42, 4: 0.40, 5: 0.45}
    near, far = ({seed: value + shift for seed, value in own.items()} for shift in (-0.3, 0.3))
    for distances, equivalent in ((own, True), (near, True), (far, False)):
        comparison = compared(KL, distances, own, {})
        assert comparison.margin == pytest.approx(half_width(list(own.values())))
        assert comparison.is_equivalent == comparison.is_mean_within == equivalent


def test_only_seeds_that_all_have_are_compared() -> None:
    two = {seed: RETRAIN[seed] for seed in (1, 2)}
    assert compare(ERROR, INDEPENDENT, two, INDEPENDENT) is None, "two seeds have an interval of 12.7 standard errors"
    assert compare(ERROR, two, RETRAIN, INDEPENDENT) is None
    assert compare(KL, two, RETRAIN, {}) is None
    assert compare(ERROR, RETRAIN, RETRAIN, {7: 1.0, 8: 1.0, 9: 1.0}) is None
    without_one = {seed: value for seed, value in RETRAIN.items() if seed != 3}
    comparison = compared(ERROR, INDEPENDENT, without_one, INDEPENDENT)
    assert comparison.difference.n == 4
    assert comparison.margin == pytest.approx(
        half_width([without_one[seed] - INDEPENDENT[seed] for seed in without_one])
    )


def test_a_third_retrained_model_is_equivalent_as_often_as_counted_one_table_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(equivalence, "SIMULATED_TABLES", 2_000)
    third, retrain, independent = np.random.default_rng(11).normal(size=(3, 2_000, 5))
    tables = zip(third, retrain, independent, strict=True)
    count = sum(compared(ERROR, *(dict(enumerate(map(float, row))) for row in rows)).is_equivalent for rows in tables)
    assert retrained_share.__wrapped__(5) == pytest.approx(count / 2_000, abs=0.04)
    assert retrained_share.__wrapped__(20) < retrained_share.__wrapped__(3) < 0.5
