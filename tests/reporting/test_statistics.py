"""Laws of the intervals, against closed forms, printed tables and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, binom, t

from adaprob_ray.reporting.stats.intervals import (
    Count,
    Estimate,
    bootstrap_interval,
    clopper_pearson,
    mean_interval,
    paired_difference,
    paired_distance,
    prediction_interval,
    share_interval,
)


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.7062), (3, 4.3027), (5, 2.7764), (10, 2.2622)])
def test_half_width_is_the_printed_t_quantile_times_the_standard_error(n: int, quantile: float) -> None:
    values = np.arange(n, dtype=float)  # sample variance of 0 … n − 1 is n(n + 1)/12
    estimate = mean_interval(list(values))
    assert estimate.mean == pytest.approx((n - 1) / 2)
    # The tables give four decimals: half a unit of the last is at most 2.3e-5 of these quantiles.
    assert estimate.half_width == pytest.approx(quantile * math.sqrt((n + 1) / 12), rel=2.3e-5)
    assert estimate.half_width == pytest.approx(t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n), rel=1e-12)


def test_one_value_and_equal_values_have_no_spread() -> None:
    assert mean_interval([3.5]) == Estimate(3.5, None, 1)
    assert mean_interval([2.0, 2.0, 2.0]) == Estimate(2.0, None, 3)
    assert mean_interval([55.0, 55.00000000000001]).half_width is None


def test_interval_of_three_normal_draws_covers_the_mean_95_times_in_100() -> None:
    draws = np.random.default_rng(0).normal(size=(2000, 3))
    covered = [abs(e.mean) <= (e.half_width or 0) for e in map(mean_interval, draws.tolist())]
    # The standard error of a share of 0.95 in 2,000 is 0.005: four of them.
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_pairing_removes_what_the_seeds_share() -> None:
    retrain = {1: 10.0, 2: 20.0, 3: 60.0}
    model = {1: 11.0, 2: 22.0, 3: 63.0}
    assert paired_difference(model, retrain) == mean_interval([1.0, 2.0, 3.0])
    assert paired_difference(retrain, model) == mean_interval([-1.0, -2.0, -3.0])
    assert paired_distance(retrain, model) == mean_interval([1.0, 2.0, 3.0])
    assert paired_difference(model, {9: 1.0}) is paired_distance(model, {}) is None
    assert paired_difference({1: 5.0, 9: 7.0}, retrain) == Estimate(-5.0, None, 1)


@pytest.mark.parametrize(("events", "rows"), [(1, 10), (3, 75), (9, 25), (24, 25), (50, 100)])
def test_clopper_pearson_bounds_leave_2_5_percent_on_either_side(events: int, rows: int) -> None:
    low, high = clopper_pearson(events, rows)
    # The definition: at the bound, so many events or more (or fewer) have probability 2.5 %.
    assert binom.sf(events - 1, rows, low) == pytest.approx(0.025, rel=1e-9)
    assert binom.cdf(events, rows, high) == pytest.approx(0.025, rel=1e-9)
    assert (low, high) == pytest.approx(
        beta.ppf([0.025, 0.975], [events, events + 1], [rows - events + 1, rows - events])
    )


def test_clopper_pearson_known_values() -> None:
    assert clopper_pearson(1, 10) == pytest.approx((0.00253, 0.44502), abs=1e-5)  # any printed table
    assert clopper_pearson(0, 75) == (0.0, pytest.approx(1 - 0.05 ** (1 / 75)))
    assert clopper_pearson(0, 300)[1] == pytest.approx(3 / 300, rel=0.01)  # the rule of three
    assert clopper_pearson(75, 75) == (pytest.approx(0.05 ** (1 / 75)), 1.0)


def test_few_events_are_counted_and_many_are_not() -> None:
    rows = {1: 25, 2: 25, 3: 25}
    none = share_interval({1: 0.0, 2: 0.0, 3: 0.0}, rows)
    assert none.count == Count(0, 75, 0.0, pytest.approx(3.915, abs=1e-3))
    nine = share_interval({1: 12.0, 2: 16.0, 3: 8.0}, rows)  # 3 + 4 + 2
    assert nine.count is not None
    assert (nine.count.events, nine.half_width, nine.mean) == (9, None, pytest.approx(12.0))
    ten = share_interval({1: 12.0, 2: 16.0, 3: 12.0}, rows)
    assert ten.count is None
    assert ten.half_width is not None
    few_right = share_interval({1: 92.0, 2: 96.0, 3: 100.0}, rows)
    assert few_right.count is not None
    assert few_right.count.events == 72


def test_seeds_that_agree_are_counted_but_one_seed_is_a_value() -> None:
    rows = {1: 50, 2: 50}
    assert share_interval({1: 40.0, 2: 40.0}, rows).count == Count(40, 100, *_percent(40, 100))
    assert share_interval({1: 40.0}, rows) == Estimate(40.0, None, 1)
    assert share_interval({1: 4.0}, rows).count == Count(2, 50, *_percent(2, 50))


def _percent(events: int, rows: int) -> tuple[float, float]:
    low, high = clopper_pearson(events, rows)
    return 100 * low, 100 * high


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("draw", ["normal", "binomial"])
def test_the_t_interval_covers_95_times_in_100(n: int, draw: str) -> None:
    """2,000 draws each; the standard error of a share of 0.95 is 0.005."""
    generator = np.random.default_rng(n)
    draws = (
        generator.normal(25, 3, (2000, n))
        if draw == "normal"
        else generator.binomial(100, 0.25, (2000, n)).astype(float)
    )
    estimates = [mean_interval(values) for values in draws.tolist()]
    covered = [abs(e.mean - 25) <= (e.half_width or 0) for e in estimates]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("n", "runs"), [(3, 1), (5, 1), (5, 3), (10, 1)])
def test_the_prediction_interval_holds_the_mean_of_further_runs_95_times_in_100(n: int, runs: int) -> None:
    generator = np.random.default_rng(n + runs)
    own, theirs = generator.normal(size=(4000, n)), generator.normal(size=(4000, runs)).mean(1)
    predictions = [prediction_interval(values, runs) for values in own.tolist()]
    inside = [abs(p.mean - value) <= (p.half_width or 0) for p, value in zip(predictions, theirs, strict=True)]
    assert np.mean(inside) == pytest.approx(0.95, abs=4 * 0.0035)


def test_a_prediction_from_one_seed_has_no_width_and_from_equal_ones_none() -> None:
    assert prediction_interval([3.0], 1) == Estimate(3.0, None, 1)
    assert prediction_interval([3.0, 3.0], 1) == Estimate(3.0, 0.0, 2)


def test_the_bootstrap_is_scipys_and_refuses_few_examples() -> None:
    values = np.random.default_rng(0).exponential(size=400)
    low, high = bootstrap_interval(list(values))
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)  # skewed: bounds move by less than that
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)
    assert bootstrap_interval([2.0] * 20) == (2.0, 2.0)
    with pytest.raises(ValueError, match="must be at least 20 for a bootstrap, got 19"):
        bootstrap_interval([1.0] * 19)
