"""Whether a method is inside the noise floor, with intervals from SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from adaprob_ray.reporting.stats.noise_floor import (
    compare_distance_with_floor,
    compare_with_floor,
    retrained_inside_share,
)

RETRAIN = {1: 57.0, 2: 51.0, 3: 60.0, 4: 49.0, 5: 55.0}
INDEPENDENT = {1: 54.0, 2: 58.0, 3: 55.0, 4: 53.0, 5: 52.0}


def half_width(differences: list[float]) -> float:
    n = len(differences)
    return float(t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / np.sqrt(n))


def shifted(values: dict[int, float], *shifts: float) -> dict[int, float]:
    return {seed: value + shift for (seed, value), shift in zip(values.items(), shifts, strict=True)}


def test_difference_and_floor_are_paired_by_seed() -> None:
    shifts = [1.0, -1.0, 0.5, -0.5, 1.5]
    comparison = compare_with_floor(shifted(INDEPENDENT, *shifts), RETRAIN, INDEPENDENT)
    assert comparison is not None
    assert comparison.floor == pytest.approx(half_width([RETRAIN[seed] - INDEPENDENT[seed] for seed in RETRAIN]))
    assert comparison.difference.mean == pytest.approx(0.3)
    assert comparison.difference.half_width == pytest.approx(half_width(shifts))
    assert comparison.is_inside


@pytest.mark.parametrize(
    ("shifts", "inside", "mean_inside"),
    [
        ((0.0, 0.1, -0.1, 0.05, -0.05), True, True),
        ((-9.0, 9.0, 0.0, -9.0, 9.0), False, True),  # the mean is near, its interval too wide
        ((20.0, 20.1, 19.9, 20.0, 20.0), False, False),
        ((-20.0, -20.1, -19.9, -20.0, -20.0), False, False),
    ],
)
def test_the_whole_interval_has_to_be_inside(shifts: tuple[float, ...], inside: bool, mean_inside: bool) -> None:
    comparison = compare_with_floor(shifted(INDEPENDENT, *shifts), RETRAIN, INDEPENDENT)
    assert comparison is not None
    assert (comparison.is_inside, comparison.is_mean_inside) == (inside, mean_inside)


def test_a_shorter_distance_than_retrains_is_not_outside() -> None:
    floor = {1: 0.36, 2: 0.49, 3: 0.42, 4: 0.40, 5: 0.45}
    near, far = ({seed: value + shift for seed, value in floor.items()} for shift in (-0.3, 0.3))
    for distances, inside in ((floor, True), (near, True), (far, False)):
        comparison = compare_distance_with_floor(distances, floor)
        assert comparison is not None
        assert comparison.floor == pytest.approx(half_width(list(floor.values())))
        assert comparison.is_inside == comparison.is_mean_inside == inside


def test_two_seeds_are_never_inside_and_no_shared_seed_is_no_comparison() -> None:
    two = {1: 50.0, 2: 50.0}
    comparison = compare_with_floor(two, {1: 40.0, 2: 60.0}, two)
    assert comparison is not None
    assert not comparison.is_inside
    assert not comparison.is_mean_inside
    assert compare_with_floor(two, RETRAIN, {7: 1.0}) is None
    assert compare_distance_with_floor({7: 1.0}, RETRAIN) is None


def test_a_third_retrained_model_is_inside_as_often_as_simulated_here() -> None:
    third, retrain, independent = np.random.default_rng(11).normal(size=(3, 20_000, 5))
    own, floor = third - independent, retrain - independent
    quantile = t.ppf(0.975, 4) / np.sqrt(5)
    inside = np.abs(own.mean(1)) + quantile * own.std(1, ddof=1) <= quantile * floor.std(1, ddof=1)
    assert retrained_inside_share(5, tables=4_000) == pytest.approx(inside.mean(), abs=0.03)
