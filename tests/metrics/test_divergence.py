"""Divergences against SciPy, closed forms and simulation (protocol §6.4).

Axes: N rows, K classes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from metric_world import make_evaluation, make_outputs
from scipy.special import digamma, softmax
from scipy.stats import beta, entropy

from adaprob_ray.metrics.divergence import (
    centroid_divergence_nats,
    kl_to_retrain,
    kl_variants,
    mean_divergence_nats,
    smooth_probabilities,
)

Parameters = tuple[float, ...]


def test_divergence_is_scipys_entropy_of_the_smoothed_probabilities_model_first() -> None:
    p, q = (make_outputs(seed, spread=6.0).logits["test"] for seed in (1, 2))
    p_NK, q_NK = (softmax(logits.astype(np.float64), axis=1) + 1e-8 for logits in (p, q))
    expected = entropy(p_NK, q_NK, axis=1).mean()  # normalizes rows itself
    assert mean_divergence_nats(p, q) == pytest.approx(expected, rel=1e-12)
    assert mean_divergence_nats(q, p) != pytest.approx(expected, rel=1e-2)


def test_divergence_is_capped_by_the_smoothing() -> None:
    """Two sure and opposite rows: log((1 + 1e-8) / 1e-8) less a trifle, not infinity."""
    p, q = np.array([[200.0, -200.0]], np.float32), np.array([[-200.0, 200.0]], np.float32)
    assert mean_divergence_nats(p, q) == pytest.approx(math.log(1e8), rel=1e-6)
    assert smooth_probabilities(p).sum() == pytest.approx(1.0, abs=1e-15)


def mean_of_dirichlets(a: Parameters, b: Parameters) -> float:
    """E KL(p ‖ q) = Σ_k a_k/A [ψ(a_k + 1) − ψ(A + 1) − ψ(b_k) + ψ(B)] for independent p ~ Dir(a), q ~ Dir(b)."""
    alpha, other = np.array(a), np.array(b)
    gap = digamma(alpha + 1) - digamma(alpha.sum() + 1) - digamma(other) + digamma(other.sum())
    return float((alpha / alpha.sum() * gap).sum())


@pytest.mark.parametrize(("a", "b"), [((2.0, 3.0), (4.0, 1.5)), ((0.7, 5.0), (3.0, 3.0))])
def test_the_closed_form_is_the_integral_for_two_classes(a: Parameters, b: Parameters) -> None:
    p, q = beta(*a), beta(*b)
    own = p.expect(lambda x: x * np.log(x) + (1 - x) * np.log1p(-x))
    cross = p.mean() * q.expect(np.log) + (1 - p.mean()) * q.expect(lambda x: np.log1p(-x))
    assert mean_of_dirichlets(a, b) == pytest.approx(own - cross, rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b"), [((20.0, 2.0, 2.0), (2.0, 3.0, 3.0)), ((1.5, 1.5, 1.5, 6.0), (2.5, 2.0, 4.0, 2.0))]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_divergences_have_the_closed_form_means_of_dirichlet_rows(a: Parameters, b: Parameters, swapped: bool) -> None:
    """The centroids tend to a/A and b/B, each entry known to 0.0006. A swap would be seen."""
    a, b = (b, a) if swapped else (a, b)
    generator, rows = np.random.default_rng(5), 200_000
    p_NK, q_NK = generator.dirichlet(a, rows), generator.dirichlet(b, rows)
    p, q = np.log(p_NK).astype(np.float32), np.log(q_NK).astype(np.float32)
    expected = mean_of_dirichlets(a, b)
    error = entropy(p_NK, q_NK, axis=1).std() / math.sqrt(rows)
    assert error < min(0.01 * expected, abs(expected - mean_of_dirichlets(b, a)) / 8)
    assert mean_divergence_nats(p, q) == pytest.approx(expected, abs=4 * error)
    assert abs(entropy(a, b) - entropy(b, a)) > 0.02 * entropy(a, b)
    assert centroid_divergence_nats(p, q) == pytest.approx(entropy(a, b), rel=0.01)


def test_the_centroid_is_scipys_entropy_of_mean_probabilities() -> None:
    p, q = (make_outputs(seed, spread=6.0).logits["test"] for seed in (1, 2))
    p_K, q_K = (softmax(logits.astype(np.float64), axis=1).mean(0) + 1e-8 for logits in (p, q))
    assert centroid_divergence_nats(p, q) == pytest.approx(entropy(p_K, q_K), rel=1e-9)
    assert centroid_divergence_nats(p, q) < mean_divergence_nats(p, q)  # KL is jointly convex
    assert mean_divergence_nats(p, p[::-1]) > 1
    assert centroid_divergence_nats(p, p[::-1]) == pytest.approx(0.0, abs=1e-12)


def test_opposite_and_sure_centroids_stay_finite() -> None:
    p, q = np.full((4, 2), (200.0, -200.0), np.float32), np.full((4, 2), (-200.0, 200.0), np.float32)
    assert centroid_divergence_nats(p, q) == pytest.approx(math.log(1e8), rel=1e-6)


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


def test_kl_variants_compare_the_right_rows_in_the_right_direction_with_the_independent_retraining() -> None:
    evaluation = make_evaluation()
    model, own, rows = evaluation.model.logits, evaluation.independent.logits, evaluation.forget
    expected = {}
    for part, p, q in (("forget", model["train"][rows], own["train"][rows]), ("test", model["test"], own["test"])):
        p_NK, q_NK = (softmax(logits.astype(np.float64), axis=1) for logits in (p, q))
        expected[f"kl_{part}_reverse_nats"] = entropy(q_NK + 1e-8, p_NK + 1e-8, axis=1).mean()
        expected[f"kl_{part}_centroid_nats"] = entropy(p_NK.mean(0) + 1e-8, q_NK.mean(0) + 1e-8)
        expected[f"kl_{part}_centroid_reverse_nats"] = entropy(q_NK.mean(0) + 1e-8, p_NK.mean(0) + 1e-8)
    values = kl_variants(evaluation)
    assert values == pytest.approx(expected, rel=1e-9)
    both = [*values.values(), *kl_to_retrain(evaluation).values()]
    assert len({round(value, 6) for value in both if value is not None}) == 10


def test_kl_variants_of_the_independent_retraining_alone_are_none() -> None:
    base = make_evaluation()
    assert set(kl_variants(dataclasses.replace(base, model=base.independent)).values()) == {None}
    floor = kl_variants(dataclasses.replace(base, model=base.retrain))
    assert all(value is not None and value > 0 for value in floor.values())


def test_swapping_model_and_retraining_swaps_the_directions() -> None:
    base = make_evaluation()
    swapped = dataclasses.replace(base, model=base.independent, independent=base.model)
    values, reverse = (kl_variants(e) | kl_to_retrain(e) for e in (base, swapped))
    for part in ("forget", "test"):
        assert values[f"kl_{part}_reverse_nats"] == reverse[f"kl_{part}_nats"]
        assert values[f"kl_{part}_centroid_reverse_nats"] == reverse[f"kl_{part}_centroid_nats"]
