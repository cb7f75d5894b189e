"""The metrics against scikit-learn, SciPy, closed forms and simulation (protocol §6).

Axes: N rows, K classes, D simulated draws, S splits.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import digamma, expit, softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedShuffleSplit
from torch import nn

from adaprob_ray.catalogue import METRICS
from adaprob_ray.metrics import membership as attack
from adaprob_ray.metrics.divergence import kl_to_retrain, mean_divergence_nats, smoothed
from adaprob_ray.metrics.errors import error_percent, errors
from adaprob_ray.metrics.membership import attack_accuracy_percent, losses, membership
from adaprob_ray.metrics.outputs import PARTS, Evaluation, Outputs
from adaprob_ray.stages import PassCounter

Floats = NDArray[np.float64]
ROWS = {"train": 200, "validation": 50, "test": 120}
CLASSES, FORGET_CLASS = 6, 2


def make_outputs(seed: int, spread: float = 2.0) -> Outputs:
    labels = {name: np.random.RandomState(0).randint(0, CLASSES, rows) for name, rows in ROWS.items()}
    generator = np.random.RandomState(seed)
    logits = {name: generator.normal(0, spread, (rows, CLASSES)).astype(np.float32) for name, rows in ROWS.items()}
    for name, rows in ROWS.items():
        logits[name][np.arange(rows), labels[name]] += 2.0
    return Outputs(logits=logits, labels=labels)


def make_evaluation(seed: int = 1, count: int = 20) -> Evaluation:
    model, original, retrain, independent = (make_outputs(s) for s in range(10, 14))
    forget = np.flatnonzero(model.labels["train"] == FORGET_CLASS)[:count]
    return Evaluation(
        model=model,
        original=original,
        retrain=retrain,
        independent=independent,
        forget=forget,
        retain=np.setdiff1d(np.arange(ROWS["train"]), forget),
        forget_class=FORGET_CLASS,
        seed=seed,
    )


# -- errors -----------------------------------------------------------------------------------------------------------------


def test_errors_are_one_minus_scikit_learns_accuracy() -> None:
    evaluation = make_evaluation()
    model, values = evaluation.model, errors(evaluation)
    other = model.labels["test"] != FORGET_CLASS
    assert 0 < other.sum() < len(other)
    expected = {
        "test_error_percent": ("test", slice(None)),
        "test_other_classes_error_percent": ("test", other),
        "retain_error_percent": ("train", evaluation.retain),
        "forget_error_percent": ("train", evaluation.forget),
        "validation_error_percent": ("validation", slice(None)),
    }
    assert set(values) == set(expected)
    for name, (part, rows) in expected.items():
        accuracy = accuracy_score(model.labels[part][rows], model.logits[part][rows].argmax(1))
        assert values[name] == pytest.approx(100 * (1 - accuracy)), name
    assert len({round(value, 6) for value in values.values()}) == 5  # no two of them are the same column


def test_the_test_without_the_forgotten_class_equals_the_protocols_arithmetic() -> None:
    """Protocol §1.7: 22.92 % of 10,000 is 14.37 % of 9,000 and all 1,000 of the forgotten class."""
    labels = np.repeat(np.arange(10), 1000)
    guesses = labels.copy()
    guesses[labels == 5] = 0
    guesses[np.flatnonzero(labels != 5)[:1293]] = 5
    outputs = Outputs(
        logits=dict.fromkeys(PARTS, np.eye(10, dtype=np.float32)[guesses]), labels=dict.fromkeys(PARTS, labels)
    )
    values = errors(dataclasses.replace(make_evaluation(), model=outputs, forget_class=5))
    assert values["test_error_percent"] == pytest.approx(22.93)
    assert values["test_other_classes_error_percent"] == pytest.approx(100 * 1293 / 9000)


def test_the_error_of_no_rows_is_none() -> None:
    assert error_percent(np.empty((0, 3), np.float32), np.empty(0, np.int64)) is None


# -- membership ---------------------------------------------------------------------------------------------------------------


def test_losses_are_cross_entropy() -> None:
    outputs = make_outputs(5)
    logits, labels = outputs.logits["test"], outputs.labels["test"]
    expected = nn.functional.cross_entropy(torch.tensor(logits).double(), torch.tensor(labels), reduction="none")
    np.testing.assert_allclose(losses(logits, labels), expected.numpy(), rtol=1e-12)
    probabilities = softmax(logits.astype(float), axis=1)
    assert losses(logits, labels).mean() == pytest.approx(log_loss(labels, probabilities, labels=range(CLASSES)))


def test_a_huge_loss_stays_finite() -> None:
    logits = np.array([[1000.0, -1000.0]], np.float32)
    assert losses(logits, np.array([1]))[0] == pytest.approx(2000.0)


def vectorised_attack(members_DN: Floats, others_DN: Floats, seed: int) -> Floats:
    """The attack on D draws at once, [D] in percent: L2 logistic regression on one feature, by Newton's method.

    Minimises Σ_n log(1 + exp(−t_n (w x_n + b))) + w²/2, which is scikit-learn's default, on each of the five splits.
    """
    count = members_DN.shape[1]
    x_DN = np.clip(np.concatenate([others_DN, members_DN], axis=1), -100, 100)
    y_N = np.repeat([0.0, 1.0], count)
    scores_SD = []
    for fit, held in StratifiedShuffleSplit(n_splits=5, random_state=seed).split(y_N, y_N):
        assert len(held) == math.ceil(2 * count / 10)
        w_D, b_D = np.zeros(len(x_DN)), np.zeros(len(x_DN))
        x, y = x_DN[:, fit], y_N[fit]
        for _ in range(12):
            p = expit(w_D[:, None] * x + b_D[:, None])
            slope = p * (1 - p)
            g_w, g_b = ((p - y) * x).sum(1) + w_D, (p - y).sum(1)
            h_ww, h_wb, h_bb = (slope * x * x).sum(1) + 1, (slope * x).sum(1), slope.sum(1)
            determinant = h_ww * h_bb - h_wb**2
            w_D = w_D - (h_bb * g_w - h_wb * g_b) / determinant
            b_D = b_D - (h_ww * g_b - h_wb * g_w) / determinant
        guess = w_D[:, None] * x_DN[:, held] + b_D[:, None] > 0
        scores_SD.append((guess == y_N[held]).mean(1))
    return 100 * np.mean(scores_SD, axis=0)


def without_signal(draws: int, rows: int, seed: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    return generator.exponential(1.0, (draws, rows)), generator.exponential(1.0, (draws, rows))


@pytest.mark.parametrize("rows", [10, 25, 100, 1000])
def test_the_attack_equals_an_independent_one(rows: int) -> None:
    members_DN, others_DN = without_signal(6, rows, seed=rows)
    others_DN[3:] += 0.5  # with and without a signal
    expected = vectorised_attack(members_DN, others_DN, seed=2)
    actual = [attack_accuracy_percent(m, o, 2) for m, o in zip(members_DN, others_DN, strict=True)]
    held = math.ceil(2 * rows / 10)  # lbfgs stops early: one row on the boundary may fall on the other side
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9 + 100 / (5 * held))
    assert np.isclose(actual, expected).mean() >= 5 / 6


@pytest.mark.parametrize(
    ("rows", "draws", "mean", "within"), [(25, 600, 47.0, 1.0), (100, 250, 50.0, 0.5), (1000, 25, 50.0, 0.5)]
)
def test_without_a_signal_the_mean_is_that_of_its_size(rows: int, draws: int, mean: float, within: float) -> None:
    """Twelve seeds' splits on `draws` draws each; the standard error is under a third of the tolerance."""
    results = np.concatenate([vectorised_attack(*without_signal(draws, rows, seed), seed) for seed in range(12)])
    error = results.std() / math.sqrt(len(results))
    assert error < within / 3
    assert results.mean() == pytest.approx(mean, abs=within)


def test_a_planted_leak_is_found_whichever_way_it_points() -> None:
    generator = np.random.default_rng(0)
    low, high = generator.uniform(0, 0.1, 100), generator.uniform(6, 8, 100)
    assert attack_accuracy_percent(low, high, 1) == 100
    assert attack_accuracy_percent(high, low, 1) == 100
    half = np.concatenate([low[:50], high[:50]])
    assert 60 < attack_accuracy_percent(low, half, 1) < 90


def test_the_larger_list_is_subsampled_reproducibly_by_the_seed() -> None:
    """Python's random.sample from the seed, without replacement (protocol §6.3)."""
    generator = np.random.default_rng(1)
    few, many = generator.exponential(1.0, 40), np.arange(300) / 300
    seen: list[Floats] = []
    real = attack.cross_val_score

    def keep(model: object, features: Floats, *given: object, **named: object) -> Floats:
        seen.append(features[:, 0].copy())
        return real(model, features, *given, **named)

    with mock.patch.object(attack, "cross_val_score", keep):
        values = [attack_accuracy_percent(few, many, seed) for seed in (3, 3, 4)]
        attack_accuracy_percent(many, few, 3)
    assert values[0] == values[1]
    np.testing.assert_array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0][:40], seen[2][:40])
    import random

    random.seed(3)
    np.testing.assert_array_equal(seen[0][:40], many[random.sample(range(300), 40)])
    np.testing.assert_array_equal(seen[0][40:], few)  # members come second, in their order
    assert len(set(seen[0][:40].tolist())) == 40
    np.testing.assert_array_equal(seen[3][40:], seen[0][:40])  # also when members are the larger list


def test_losses_are_clipped_at_100() -> None:
    members, others = without_signal(1, 50, seed=4)
    wild = members[0].copy()
    wild[:5] = [1e3, 1e6, 1e9, 1e300, 100.0]
    tame = np.minimum(wild, 100.0)
    assert attack_accuracy_percent(wild, others[0], 1) == attack_accuracy_percent(tame, others[0], 1)


@pytest.mark.parametrize(("members", "others"), [(9, 500), (500, 9), (0, 100)])
def test_too_few_rows_are_none(members: int, others: int) -> None:
    assert attack_accuracy_percent(np.ones(members), np.zeros(others), 1) is None


def test_ten_rows_of_each_are_enough() -> None:
    assert attack_accuracy_percent(np.zeros(10), np.full(10, 9.0), 1) == 100


def test_members_are_forget_rows_and_others_the_tests_rows_of_that_class() -> None:
    """Leak planted in exactly these rows: all other rows of train and test say the opposite."""
    evaluation = make_evaluation(count=20)
    model = evaluation.model
    sure, unsure = np.float32(20.0), np.float32(-20.0)
    for part in ("train", "test"):
        labels = model.labels[part]
        model.logits[part][np.arange(len(labels)), labels] = unsure if part == "train" else sure
    train, test = model.labels["train"], model.labels["test"]
    model.logits["train"][evaluation.forget, train[evaluation.forget]] = sure
    others = np.flatnonzero(test == FORGET_CLASS)
    model.logits["test"][others, test[others]] = unsure
    assert len(others) >= 10
    assert membership(evaluation) == {"membership_accuracy_percent": 100.0}


# -- divergence -------------------------------------------------------------------------------------------------------------


def test_divergence_is_scipys_entropy_of_the_smoothed_probabilities_model_first() -> None:
    p, q = (make_outputs(seed, spread=6.0).logits["test"] for seed in (1, 2))
    p_NK, q_NK = (softmax(logits.astype(np.float64), axis=1) + 1e-8 for logits in (p, q))
    expected = entropy(p_NK, q_NK, axis=1).mean()  # normalises rows itself
    assert mean_divergence_nats(p, q) == pytest.approx(expected, rel=1e-12)
    assert mean_divergence_nats(q, p) != pytest.approx(expected, rel=1e-2)


def test_divergence_is_capped_by_the_smoothing() -> None:
    """Two sure and opposite rows: log((1 + 1e-8) / 1e-8) less a trifle, not infinity."""
    p, q = np.array([[200.0, -200.0]], np.float32), np.array([[-200.0, 200.0]], np.float32)
    assert mean_divergence_nats(p, q) == pytest.approx(math.log(1e8), rel=1e-6)
    assert smoothed(p).sum() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(("a", "b"), [((2.0, 3.0, 4.0), (5.0, 2.0, 3.0)), ((1.5, 1.5, 1.5, 6.0), (2.5, 2.0, 4.0, 2.0))])
def test_divergence_has_the_closed_form_mean_of_dirichlet_rows(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    """E KL(p ‖ q) = Σ_k a_k/A [ψ(a_k + 1) − ψ(A + 1) − ψ(b_k) + ψ(B)] for independent p ~ Dir(a), q ~ Dir(b)."""
    generator, rows = np.random.default_rng(5), 200_000
    p_NK, q_NK = generator.dirichlet(a, rows), generator.dirichlet(b, rows)
    alpha, beta = np.array(a), np.array(b)
    gap = digamma(alpha + 1) - digamma(alpha.sum() + 1) - digamma(beta) + digamma(beta.sum())
    expected = float((alpha / alpha.sum() * gap).sum())
    error = entropy(p_NK, q_NK, axis=1).std() / math.sqrt(rows)
    assert error < 0.01 * expected
    actual = mean_divergence_nats(np.log(p_NK).astype(np.float32), np.log(q_NK).astype(np.float32))
    assert actual == pytest.approx(expected, abs=4 * error)


def test_kl_to_retrain_compares_the_right_rows_with_the_right_reference() -> None:
    evaluation = make_evaluation()
    values, rows = kl_to_retrain(evaluation), evaluation.forget
    model, same, own = (o.logits for o in (evaluation.model, evaluation.retrain, evaluation.independent))
    assert values == {
        "kl_forget_nats": mean_divergence_nats(model["train"][rows], own["train"][rows]),
        "kl_test_nats": mean_divergence_nats(model["test"], own["test"]),
        "kl_forget_same_seed_nats": mean_divergence_nats(model["train"][rows], same["train"][rows]),
        "kl_test_same_seed_nats": mean_divergence_nats(model["test"], same["test"]),
    }
    assert len(set(values.values())) == 4


def test_a_comparison_with_itself_is_none() -> None:
    base = make_evaluation()
    retrain = kl_to_retrain(dataclasses.replace(base, model=base.retrain))
    assert [name for name, value in retrain.items() if value is None] == [
        "kl_forget_same_seed_nats",
        "kl_test_same_seed_nats",
    ]
    independent = kl_to_retrain(dataclasses.replace(base, model=base.independent))
    assert [name for name, value in independent.items() if value is None] == ["kl_forget_nats", "kl_test_nats"]
    floor = (retrain["kl_test_nats"], independent["kl_test_same_seed_nats"])
    assert all(value is not None and value > 0 for value in floor)


def test_metrics_fill_the_columns_that_they_declare() -> None:
    evaluation = make_evaluation()
    for metric in METRICS.values():
        computed = metric.compute(evaluation)
        assert set(computed) == set(metric.columns) or computed == {}
    columns = [column for metric in METRICS.values() for column in metric.columns]
    assert len(columns) == len(set(columns))


# -- Outputs and passes -------------------------------------------------------------------------------------------------------


def test_outputs_survive_bytes() -> None:
    outputs = make_outputs(3)
    back = Outputs.from_bytes(outputs.to_bytes())
    for part in PARTS:
        np.testing.assert_array_equal(back.logits[part], outputs.logits[part])
        np.testing.assert_array_equal(back.labels[part], outputs.labels[part])
        assert (back.logits[part].dtype, back.labels[part].dtype) == (np.float32, np.int64)
    assert back.to_bytes() == outputs.to_bytes()


def test_outputs_that_are_views_survive_bytes() -> None:
    outputs = make_outputs(3)
    turned = {part: np.asfortranarray(values)[::2] for part, values in outputs.logits.items()}
    labels = {part: values[::2] for part, values in outputs.labels.items()}
    back = Outputs.from_bytes(Outputs(logits=turned, labels=labels).to_bytes())
    for part in PARTS:
        np.testing.assert_array_equal(back.logits[part], outputs.logits[part][::2])
        np.testing.assert_array_equal(back.labels[part], outputs.labels[part][::2])


def test_pass_counter_counts_examples_forward_and_backward_copies_included() -> None:
    model, counter = nn.Linear(3, 2), PassCounter()
    handle = counter.watch(model)
    model(torch.ones(4, 3)).sum().backward()
    assert (counter.forward, counter.backward) == (4, 4)
    with torch.no_grad():
        model(torch.ones(5, 3))
    assert (counter.forward, counter.backward) == (9, 4)
    teacher = copy.deepcopy(model).requires_grad_(False)
    teacher(torch.ones(7, 3))
    assert (counter.forward, counter.backward) == (16, 4)
    model(torch.ones(2, 3))  # forward with a graph that nobody uses
    assert (counter.forward, counter.backward) == (18, 4)
    logits = model(torch.ones(6, 3))
    (logits.sum() + logits.square().sum()).backward()  # one backward pass, however many terms
    assert (counter.forward, counter.backward) == (24, 10)
    handle.remove()
    model(torch.ones(8, 3)).sum().backward()
    assert (counter.forward, counter.backward) == (24, 10)
