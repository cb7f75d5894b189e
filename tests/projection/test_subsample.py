"""The sample that Newton's method starts on, and the quadratic models that propose its steps.

Axes: N rows, K classes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import forgetting, instance, solve

from adaprob_ray.projection import chunks, newton, project, quadratic, subsample, validation

HARD_PROBLEMS = [(margin, lam) for margin in (8.0, 40.0) for lam in (0.1, 1.0, 100.0)]


def hard_problem(margin: float, lam: float, rows: int = 8000, classes: int = 10):
    return forgetting(rows, classes, torch.arange(1, rows, classes), margin=margin, lam=lam)


def sample_of(*inputs):
    problem, start, _ = validation.validate(*inputs)
    return problem, *subsample.draw_sample(problem, start)


@pytest.mark.parametrize(("margin", "lam"), HARD_PROBLEMS)
def test_counts_and_totals_of_a_sample_sum_to_all_rows(margin, lam):
    problem, sample, start = sample_of(*hard_problem(margin, lam))
    assert float(sample.counts_N.sum()) == pytest.approx(8000)
    assert sample.totals_C.sum() == pytest.approx(8000)
    assert (sample.totals_C > 0).all()
    assert problem.rows / 16 / 2 < sample.rows < 2 * subsample.MIN_SAMPLE_ROWS
    assert sample.dual(np.zeros(10)).gradient_C == pytest.approx(start.gradient_C, abs=1e-9)


def test_the_dual_of_a_sample_estimates_that_of_all_rows():
    """At several α each column sum is within 5 standard errors of a uniform sample of that size; the gradient at 0 is exact."""
    log_r_NK, weights_N, totals_K = instance(20_000, 4)
    problem, sample, _ = sample_of(log_r_NK, weights_N, totals_K)
    first = problem.dual(np.zeros(4)), sample.dual(np.zeros(4))
    assert first[1].gradient_C == pytest.approx(first[0].gradient_C, abs=1e-7)
    for seed in range(5):
        alpha_K = np.random.default_rng(seed).normal(size=4)
        all_rows, sample_rows = problem.dual(alpha_K), sample.dual(alpha_K)
        error = 5 * 20_000 / math.sqrt(sample.rows)
        assert np.abs(all_rows.gradient_C - sample_rows.gradient_C).max() < error


def test_few_rows_of_small_weight_are_all_sampled():
    rows = torch.arange(100)
    weights_N = torch.full((20_000,), 4.0, dtype=torch.float64)
    weights_N[rows] = 1.0
    log_r_NK, _, totals_K = instance(20_000, 4)
    _, sample, _ = sample_of(log_r_NK, weights_N, totals_K)
    light = sample.weights_N < 0.5
    assert int(light.sum()) == 100
    assert (sample.counts_N[light] == 1).all()


def test_rows_of_the_class_with_the_largest_gap_are_all_sampled():
    _, sample, _ = sample_of(*forgetting(20_000, 100, torch.arange(1, 20_000, 100), margin=20.0, lam=1.0))
    mass = (sample.source.reference[:, 1] - sample.logsumexp_N).exp() > 0.5
    assert int(mass.sum()) == 200


def test_the_sample_is_deterministic_and_the_same_from_blocks():
    log_r_NK, weights_N, totals_K = hard_problem(20.0, 4.0)
    _, first, _ = sample_of(log_r_NK, weights_N, totals_K)
    _, again, _ = sample_of(log_r_NK, weights_N, totals_K)
    _, blocks, _ = sample_of(log_r_NK.split(999), weights_N, totals_K)
    assert torch.equal(first.source.reference, again.source.reference)
    assert torch.equal(first.source.reference, blocks.source.reference)
    torch.testing.assert_close(first.counts_N, blocks.counts_N)  # sums of the first pass differ in rounding


@pytest.mark.parametrize("period", [2, 16, 13, 21, 34])
def test_the_sample_is_unbiased_for_periodic_data(period):
    """With classes that repeat with a period, Fibonacci numbers included, each class is sampled in proportion to its rows, to
    within 3 standard deviations of a random sample."""
    problem = validation.validate(torch.zeros(40_000, 2, dtype=torch.float64), torch.ones(40_000), [20_000.0] * 2)[0]
    rarity_N = subsample.weight_rarity(problem)
    positions = [
        subsample.sample_block(problem, rows, block, np.full(2, 20_000.0), rarity_N)[1]
        for rows, block in problem.indexed_blocks()
    ]
    counts = torch.bincount(torch.cat(positions) % period, minlength=period).double()
    assert (counts / counts.mean() - 1).abs().max() < 3 / math.sqrt(float(counts.mean()))


@pytest.mark.parametrize(("margin", "lam"), HARD_PROBLEMS)
def test_the_sample_changes_the_passes_but_not_the_solution(monkeypatch, margin, lam):
    inputs = hard_problem(margin, lam)
    # A sample as large as the problem is never drawn.
    monkeypatch.setattr(newton.subsample, "MIN_SAMPLE_ROWS", 8000)
    unsampled = project(*inputs, tolerance=1e-13, max_iterations=300)
    monkeypatch.setattr(newton.subsample, "MIN_SAMPLE_ROWS", 500)
    sampled = project(*inputs, tolerance=1e-13)
    assert unsampled.status == sampled.status == "converged"
    assert (unsampled.targets - sampled.targets).abs().max() < 1e-7
    # At low confidence there is little to save.
    assert len(sampled.trajectory) < len(unsampled.trajectory) + (margin < 10)


def test_a_misleading_sample_is_discarded(monkeypatch):
    inputs = hard_problem(20.0, 4.0)
    real_draw = subsample.draw_sample

    def misleading(problem, start):
        sample, _ = real_draw(problem, start)
        sample = dataclasses.replace(sample, totals_C=sample.totals_C[::-1].copy())
        return sample, sample.dual(np.zeros(10), curvature=True)

    monkeypatch.setattr(subsample, "MIN_SAMPLE_ROWS", 500)
    monkeypatch.setattr(subsample, "draw_sample", misleading)
    solution = project(*inputs)
    assert solution.status == "converged"
    assert (solution.targets.sum(0) - inputs[2]).abs().max() < 8000e-9


# ---------------------------------------------------------------- quadratic models


def random_quadratic(classes: int, seed: int):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(classes, classes))
    hessian = root @ root.T
    center = np.eye(classes) - 1 / classes
    return center @ hessian @ center, center @ generator.normal(size=classes)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(2, 8), st.floats(-3, 3), st.integers(0, 1000))
def test_a_dense_step_is_the_best_within_the_radius(classes, exponent, seed):
    """No worse than 200 random directions of the same length, and equal to Newton's step if that is short enough."""
    hessian, gradient = random_quadratic(classes, seed)
    radius = 10.0**exponent
    model = quadratic.DenseModel()
    model.set_curvature(hessian)
    step, promised = model.step(gradient, radius)
    length = np.linalg.norm(step)
    assert length <= (1 + quadratic.SECULAR_SLACK) * radius * (1 + 1e-9)
    assert abs(step.sum()) < 1e-9 * max(1, length)
    assert promised == pytest.approx(-gradient @ step - 0.5 * step @ hessian @ step, rel=1e-6, abs=1e-12)
    directions = np.random.default_rng(seed + 1).normal(size=(200, classes))
    directions -= directions.mean(1, keepdims=True)
    directions *= min(length, radius) / np.linalg.norm(directions, axis=1, keepdims=True)
    values = directions @ gradient + 0.5 * np.einsum("ij,jk,ik->i", directions, hessian, directions)
    assert -promised <= values.min() + 1e-9
    newton_step = -np.linalg.pinv(hessian) @ gradient
    if np.linalg.norm(newton_step) < radius:
        assert step == pytest.approx(newton_step, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("kind", [quadratic.DenseModel, quadratic.DiagonalModel])
def test_models_learn_a_quadratic(kind):
    """From an approximate curvature, steps on a fixed quadratic reach a vanishing gradient in a few steps per class."""
    hessian, gradient = random_quadratic(5, 0)
    hessian += 0.5 * (np.eye(5) - 0.2)
    model = kind()
    rough = np.diag(np.diag(hessian))
    model.set_curvature(rough if kind is quadratic.DenseModel else np.diag(rough))
    point = np.zeros(5)
    for _ in range(40):
        gradient_at_point = hessian @ point + gradient
        step, _ = model.step(gradient_at_point - gradient_at_point.mean(), 1e3)
        model.update(step, hessian @ step)
        point = point + step
    assert np.abs(hessian @ point + gradient).max() < 1e-6 * np.abs(gradient).max()


def test_a_diagonal_step_is_shortened_to_the_radius():
    hessian, gradient = random_quadratic(6, 3)
    diagonal = quadratic.DiagonalModel()
    diagonal.set_curvature(np.diag(hessian).copy())
    long, _ = diagonal.step(gradient, 1e9)
    short, promised = diagonal.step(gradient, 0.1)
    assert np.linalg.norm(short) == pytest.approx(0.1)
    assert promised > 0
    assert gradient @ short < 0
    assert short @ long > 0


def test_a_class_without_curvature_gets_a_step_within_the_radius():
    diagonal = quadratic.DiagonalModel()
    diagonal.set_curvature(np.array([0.0, 1e-320, 5.0]))
    step, promised = diagonal.step(np.array([3.0, -2.0, -1.0]), 0.5)
    assert np.linalg.norm(step) == pytest.approx(0.5)
    assert promised > 0


def test_a_subnormal_hessian_gives_a_finite_step():
    model = quadratic.DenseModel()
    model.set_curvature(np.full((3, 3), -1e-315) + 3e-315 * np.eye(3))
    step, promised = model.step(np.array([2.0, -1.0, -1.0]), 4.0)
    assert np.linalg.norm(step) == pytest.approx(4.0, rel=0.2)
    assert promised > 0
    model.set_curvature(np.full((3, 3), np.nan))
    assert np.isfinite(model.step(np.array([2.0, -1.0, -1.0]), 4.0)[0]).all()


def test_a_diagonal_model_finds_the_solution_of_a_dense_one(monkeypatch):
    inputs = forgetting(1200, 300, torch.arange(0, 1200, 300), margin=8.0, lam=2.0)
    assert not validation.validate(*inputs)[0].is_dense
    with_diagonal = solve(*inputs, tolerance=1e-12)
    monkeypatch.setattr(chunks, "MAX_CLASSES_FULL_HESSIAN", 1000)
    assert validation.validate(*inputs)[0].is_dense
    assert (with_diagonal.targets - solve(*inputs).targets).abs().max() < 1e-8
