"""The membership AUC against scikit-learn, SciPy, definitions, closed forms and simulation.

Axes: M members, O others, D simulated draws.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from metric_world import CLASSES, FORGET_CLASS, Floats, make_evaluation, vectorized_attack
from scipy.stats import binomtest, mannwhitneyu, norm
from sklearn.metrics import roc_auc_score, roc_curve

from adaprob_ray.metrics.auc import auc_interval, members_and_others, membership_auc, tpr_at_1_percent
from adaprob_ray.metrics.membership import losses
from adaprob_ray.metrics.outputs import Evaluation

SIZES = [(10, 10), (25, 37), (100, 1000), (400, 90)]


def draw(members: int, others: int, scale: float, seed: int, decimals: int = 9) -> tuple[Floats, Floats]:
    """Losses Exp(1) and Exp(1/s), whose AUC is s / (s + 1); few decimals make ties."""
    generator = np.random.default_rng([seed, members, others])
    return generator.exponential(1, members).round(decimals), generator.exponential(scale, others).round(decimals)


def scores(members_M: Floats, others_O: Floats) -> tuple[Floats, Floats]:
    """Labels and scores as scikit-learn wants them: minus the loss."""
    return np.repeat([1.0, 0.0], [len(members_M), len(others_O)]), -np.concatenate([members_M, others_O])


@pytest.mark.parametrize("decimals", [9, 1, 0])
@pytest.mark.parametrize(("members", "others"), SIZES)
def test_auc_is_scikit_learns_and_mann_and_whitneys(members: int, others: int, decimals: int) -> None:
    m, o = draw(members, others, 2.5, seed=1, decimals=decimals)
    auc, low, high = auc_interval(m, o)
    assert auc == pytest.approx(roc_auc_score(*scores(m, o)), rel=1e-12)
    assert auc == pytest.approx(mannwhitneyu(-m, -o).statistic / (members * others), rel=1e-12)
    assert 0 <= low < auc < high <= 1


@pytest.mark.parametrize("decimals", [9, 1, 0])
@pytest.mark.parametrize(("members", "others"), SIZES)
def test_the_interval_is_delongs_by_its_definition_over_all_pairs(members: int, others: int, decimals: int) -> None:
    m, o = draw(members, others, 1.3, seed=2, decimals=decimals)
    pairs_MO = (m[:, None] < o) + 0.5 * (m[:, None] == o)
    theta = pairs_MO.mean()
    s_members = sum((v - theta) ** 2 for v in pairs_MO.mean(1)) / (members - 1)
    s_others = sum((v - theta) ** 2 for v in pairs_MO.mean(0)) / (others - 1)
    half = norm.ppf(0.975) * math.sqrt(s_members / members + s_others / others)
    np.testing.assert_allclose(auc_interval(m, o), [theta, max(theta - half, 0), min(theta + half, 1)], rtol=1e-10)


@pytest.mark.parametrize(("scale", "decimals"), [(1.0, 9), (3.0, 9), (3.0, 0)])
def test_the_interval_covers_the_truth_95_times_of_100(scale: float, decimals: int) -> None:
    """100 members and 300 others, 1,000 draws: the standard error is 0.7, and small samples take about one more."""
    truth = scale / (scale + 1)
    if decimals == 0:  # rounded to j = 0, 1, …: P(l_m < l_o) + ½ P(l_m = l_o), summed
        edges = np.append(0.0, np.arange(0.5, 400))
        below_m, below_o = 1 - np.exp(-edges), 1 - np.exp(-edges / scale)
        truth = float((np.diff(below_m) * (1 - (below_o[:-1] + below_o[1:]) / 2)).sum())
    intervals = [auc_interval(*draw(100, 300, scale, seed, decimals)) for seed in range(1000)]
    auc, low, high = np.array(intervals).T
    assert auc.mean() == pytest.approx(truth, abs=4 * auc.std() / math.sqrt(1000))
    assert 0.92 < np.mean((low <= truth) & (truth <= high)) < 0.975


@pytest.mark.parametrize("rows", [(10, 10), (25, 400), (1000, 100)])
def test_pairs_that_all_say_the_same_get_clopper_and_pearsons_bound(rows: tuple[int, int]) -> None:
    """DeLong's interval has no width there. All equal is 50, perfect separation 100 or 0."""
    m, o = np.zeros(rows[0]), np.ones(rows[1])
    bound = binomtest(min(rows), min(rows)).proportion_ci(0.95, "exact").low
    assert auc_interval(m, o) == pytest.approx((1.0, bound, 1.0))
    assert auc_interval(o, m) == pytest.approx((0.0, 0.0, 1 - bound))
    assert auc_interval(m, np.zeros(rows[1])) == pytest.approx((0.5, bound / 2, 1 - bound / 2))
    varied = np.random.default_rng(0)
    assert auc_interval(varied.random(rows[0]), 1 + varied.random(rows[1])) == pytest.approx((1.0, bound, 1.0))


def test_an_interval_that_would_leave_0_to_1_is_cut() -> None:
    m, o = np.arange(20.0), np.append(np.arange(30.0, 49.0), 18.5)
    auc, low, high = auc_interval(m, o)
    assert 0.99 < auc < high == 1.0
    mirrored = auc_interval(-m, -o)
    np.testing.assert_allclose(mirrored, [1 - auc, 1 - high, 1 - low], atol=1e-12)
    assert mirrored[1] == 0.0


def test_only_the_order_of_losses_counts() -> None:
    m, o = draw(60, 80, 2.0, seed=3)
    for change in (np.sqrt, np.exp, lambda x: 1000 * x):
        assert auc_interval(change(m), change(o)) == auc_interval(m, o)


@pytest.mark.parametrize("decimals", [9, 2, 1])
@pytest.mark.parametrize(("others", "scale"), [(1000, 1.0), (1000, 30.0), (2537, 5.0)])
def test_the_rate_at_1_percent_is_the_highest_point_of_the_roc_curve_there(
    others: int, scale: float, decimals: int
) -> None:
    m, o = draw(300, others, scale, seed=4, decimals=decimals)
    false, true, _ = roc_curve(*scores(m, o), drop_intermediate=False)
    assert tpr_at_1_percent(m, o) == pytest.approx(true[np.rint(false * others) <= others // 100].max(), abs=1e-12)


def test_the_rate_at_1_percent_tends_to_its_closed_form_and_to_1_percent_without_a_signal() -> None:
    """1 − 0.99^s. The 1,000th of 100,000 others is known to 3 %."""
    for scale in (1.0, 30.0):
        assert tpr_at_1_percent(*draw(100_000, 100_000, scale, seed=5)) == pytest.approx(1 - 0.99**scale, rel=0.12)
    assert tpr_at_1_percent(*draw(300, 999, 30.0, seed=5)) is None
    assert tpr_at_1_percent(np.zeros(50), np.zeros(1000)) == 0.0  # no threshold parts them


# -- the metric -----------------------------------------------------------------------------------------------------------


def with_losses(evaluation: Evaluation, members: float, others: float) -> Evaluation:
    """Add to the label's logit of forget rows, and of all rows of the test set."""
    model = evaluation.model
    logits = {part: values.copy() for part, values in model.logits.items()}
    train, test = model.labels["train"], model.labels["test"]
    logits["train"][evaluation.forget, train[evaluation.forget]] -= np.float32(members)
    logits["test"][np.arange(len(test)), test] -= np.float32(others)
    return dataclasses.replace(evaluation, model=dataclasses.replace(model, logits=logits))


@pytest.mark.parametrize("classes", [(FORGET_CLASS,), (0, 1, 4), tuple(range(CLASSES))])
def test_members_are_all_forget_rows_and_others_all_test_rows_of_their_classes(classes: tuple[int, ...]) -> None:
    base = make_evaluation()
    model = base.model
    forget = np.flatnonzero(np.isin(model.labels["train"], classes))[::2]
    evaluation = dataclasses.replace(base, forget=forget)
    m, o = members_and_others(evaluation)
    np.testing.assert_array_equal(m, losses(model.logits["train"], model.labels["train"])[forget])
    test = losses(model.logits["test"], model.labels["test"])
    np.testing.assert_array_equal(o, [test[row] for row, label in enumerate(model.labels["test"]) if label in classes])
    names = ("membership_auc_percent", "membership_auc_low_percent", "membership_auc_high_percent")
    expected = dict(zip(names, (100 * share for share in auc_interval(m, o)), strict=True))
    assert membership_auc(evaluation) == {**expected, "membership_tpr_at_1_percent": None}


def test_a_leak_is_above_50_and_forgetting_too_much_below() -> None:
    """One number for both would make a model that is wrong on every forget row look perfect."""
    base, values = make_evaluation(count=40), []
    for members, others in ((0.0, 90.0), (0.0, 2.0), (0.0, 0.0), (2.0, 0.0), (90.0, 0.0)):
        values.append(membership_auc(with_losses(base, members, others))["membership_auc_percent"])
    assert values == sorted(values, reverse=True)
    assert values[0] == 100
    assert values[1] > 60
    assert values[3] < 40
    assert values[4] == 0


@pytest.mark.parametrize(
    ("members", "others", "enough"), [(9, 500, False), (500, 9, False), (0, 50, False), (10, 10, True)]
)
def test_fewer_than_ten_rows_of_either_are_none(members: int, others: int, enough: bool) -> None:
    base = make_evaluation()
    labels = {"train": np.zeros(600, np.int64), "test": np.repeat([0, 1], [others, 1000])}
    logits = {
        part: np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float32) for part, rows in labels.items()
    }
    model = dataclasses.replace(base.model, logits=logits, labels=labels)
    values = membership_auc(dataclasses.replace(base, model=model, forget=np.arange(members)))
    assert [value is not None for value in values.values()] == [enough, enough, enough, False]


@pytest.mark.parametrize(
    ("members", "others", "scale", "draws", "quieter", "clearer"),
    [(100, 1000, 1.5, 600, 1.8, 2.3), (4000, 1000, 1.2, 240, 1.5, 1.9)],
)
def test_it_is_less_noisy_than_the_attack_on_the_same_rows(
    members: int, others: int, scale: float, draws: int, quieter: float, clearer: float
) -> None:
    """At the paper's sizes, selective and class. By simulation the deviation is 2.1 and 1.8 times smaller and the signal, in
    deviations, 2.8 and 2.4 times larger; the ratios of so few draws are known to 10 %."""
    auc_D = np.array([100 * auc_interval(*draw(members, others, scale, seed))[0] for seed in range(draws)])
    generator, balanced = np.random.default_rng(6), (draws // 12, min(members, others))
    attack_D = np.concatenate(
        [
            vectorized_attack(generator.exponential(1, balanced), generator.exponential(scale, balanced), seed)
            for seed in range(12)
        ]
    )
    deviations = attack_D.std() / auc_D.std()
    assert deviations > quieter
    assert (auc_D.mean() - 50) / (attack_D.mean() - 50) * deviations > clearer
