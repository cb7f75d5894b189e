"""Pruning across seeds: only what the test can tell, from visible trials and the trial's own seeds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from search_world import SEARCH, study_of
from small_world import with_value

from adaprob_ray.search.pruning import _worse_p_value, may_continue
from adaprob_ray.search.study import Study, Trial

SEEDS = [11, 12, 13, 14, 15, 16]


def pruning_study(p: float = 0.1, direction: str = "minimize") -> Study:
    document = with_value(with_value(SEARCH, "search.seeds", SEEDS), "search.prune", {"p": p})
    return study_of(with_value(document, "search.objective", {"test_error_percent": direction}))


def complete(number: int, *values: float) -> Trial:
    return Trial(
        number=number,
        params={},
        state="complete",
        values=(sum(values) / len(values),),
        seed_values=tuple((value,) for value in values),
    )


def running(*values: float) -> Trial:
    return Trial(number=9, params={}, seed_values=tuple((value,) for value in values))


BEST = complete(0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)


def shifted(*differences: float, start: Trial = BEST) -> Trial:
    return running(*(value[0] + item for value, item in zip(start.seed_values, differences, strict=False)))


@pytest.mark.parametrize(
    ("differences", "continues"),
    [
        ((1.0,), True),
        ((1.0, 2.0, 3.0), True),  # 2^-3 is above 0.1
        ((1.0, 2.0, 3.0, 4.0), False),  # 2^-4 is not
        ((1.0, 2.0, 3.0, -4.0), True),
        ((1.0, 2.0, 3.0, 0.0), True),  # three that differ
        ((-1.0, -2.0, -3.0, -4.0), True),
        ((0.0, 0.0, 0.0, 0.0), True),
    ],
)
def test_a_trial_that_is_worse_on_four_seeds_stops(differences: tuple[float, ...], continues: bool) -> None:
    assert may_continue(pruning_study(), shifted(*differences), [BEST]) is continues


def test_larger_is_better_where_the_objective_is_maximized() -> None:
    study = pruning_study(direction="maximize")
    assert may_continue(study, shifted(1.0, 2.0, 3.0, 4.0), [BEST])
    assert not may_continue(study, shifted(-1.0, -2.0, -3.0, -4.0), [BEST])


def test_the_comparison_is_with_the_best_of_those_that_ran_all_seeds() -> None:
    worse = complete(1, *(value[0] + 10 for value in BEST.seed_values))
    pruned = Trial(number=2, params={}, state="pruned", values=(-9.0,), seed_values=((-9.0,),) * 4)
    diverged = Trial(number=3, params={}, state="diverged")
    visible = [worse, pruned, BEST, diverged]
    assert not may_continue(pruning_study(), shifted(1.0, 2.0, 3.0, 4.0), visible)
    assert may_continue(pruning_study(), shifted(1.0, 2.0, 3.0, 4.0), [worse, pruned, diverged])


def test_without_a_visible_trial_nothing_is_pruned() -> None:
    assert may_continue(pruning_study(), running(9.0, 9.0, 9.0, 9.0), [])


def test_without_prune_in_the_file_nothing_is_pruned() -> None:
    study = study_of(with_value(SEARCH, "search.seeds", SEEDS))
    assert may_continue(study, shifted(1.0, 2.0, 3.0, 4.0), [BEST])


def enumerated_p_value(differences: list[float]) -> float:
    """The share of all signs whose rank sum is at least this one; differences of distinct size."""
    order = sorted(range(len(differences)), key=lambda place: abs(differences[place]))
    ranks = {place: rank for rank, place in enumerate(order, 1)}
    observed = sum(ranks[place] for place, item in enumerate(differences) if item > 0)
    sums: Any = (
        sum(rank for rank, sign in zip(ranks.values(), signs, strict=True) if sign)
        for signs in itertools.product([False, True], repeat=len(differences))
    )
    return sum(value >= observed for value in sums) / 2 ** len(differences)


@pytest.mark.parametrize(
    "differences", [[1.0, 2.0, 3.0, 4.0], [1.0, -2.0, 3.0, 4.0], [-1.0, 2.0, 5.0, 3.0, 7.0], [-3.0, -1.0, 2.0, 0.5]]
)
def test_the_p_value_is_exact(differences: list[float]) -> None:
    assert _worse_p_value(differences) == pytest.approx(enumerated_p_value(differences))


def test_ties_are_no_error() -> None:
    assert _worse_p_value([1.0, 1.0, 1.0, 1.0]) == pytest.approx(0.0625)
    assert _worse_p_value([2.0, 2.0, -2.0, 0.0]) > 0.1


@pytest.mark.parametrize(("p", "least"), [(0.5, 1), (0.3, 2), (0.25, 2), (0.1, 4), (0.05, 5), (0.001, 10)])
def test_the_fewest_seeds_that_can_reach_p(p: float, least: int) -> None:
    from adaprob_ray.search.search_file import PruneSection

    assert PruneSection(p=p).min_seeds == least
    assert 0.5**least <= p < 0.5 ** (least - 1)
