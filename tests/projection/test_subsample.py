"""The sample that Newton's method starts on, and the models of curvature that its steps come from.

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
from problems import forgetting, instance, solved

from adaprob_ray.projection import chunks, newton, project, quadratic, subsample, validation

HARD = [(margin, lam) for margin in (8.0, 40.0) for lam in (0.1, 1.0, 100.0)]


def hard(margin: float, lam: float, rows: int = 8000, classes: int = 10):
    return forgetting(rows, classes, torch.arange(1, rows, classes), margin=margin, lam=lam)


def drawn(*given_):
    whole, start, _ = validation.validate(*given_)
    return whole, *subsample.draw_sample(whole, start)


@pytest.mark.parametrize(("margin", "lam"), HARD)
def test_a_sample_stands_for_all_rows(margin, lam):
    whole, small, start = drawn(*hard(margin, lam))
    assert float(small.counts_N.sum()) == pytest.approx(8000)
    assert small.totals_C.sum() == pytest.approx(8000)
    assert (small.totals_C > 0).all()
    assert whole.rows / 16 / 2 < small.rows < 2 * subsample.MIN_SAMPLE_ROWS
    assert small.dual(np.zeros(10)).gradient_C == pytest.approx(start.gradient_C, abs=1e-9)


def test_its_dual_estimates_the_dual_of_the_whole():
    """At several α the mass of each column within 5 standard errors of a plain sample of its size; the gradient at 0
    exactly."""
    log_r_NK, weights_N, totals_K = instance(20_000, 4)
    whole, small, _ = drawn(log_r_NK, weights_N, totals_K)
    first = whole.dual(np.zeros(4)), small.dual(np.zeros(4))
    assert first[1].gradient_C == pytest.approx(first[0].gradient_C, abs=1e-7)
    for seed in range(5):
        alpha_K = np.random.default_rng(seed).normal(size=4)
        all_rows, some = whole.dual(alpha_K), small.dual(alpha_K)
        error = 5 * 20_000 / math.sqrt(small.rows)
        assert np.abs(all_rows.gradient_C - some.gradient_C).max() < error


def test_few_rows_of_small_weight_are_all_in_it():
    rows = torch.arange(100)
    weights_N = torch.full((20_000,), 4.0, dtype=torch.float64)
    weights_N[rows] = 1.0
    log_r_NK, _, totals_K = instance(20_000, 4)
    _, small, _ = drawn(log_r_NK, weights_N, totals_K)
    light = small.weights_N < 0.5
    assert int(light.sum()) == 100
    assert (small.counts_N[light] == 1).all()


def test_rows_of_the_class_that_has_far_to_go_are_all_in_it():
    _, small, _ = drawn(*forgetting(20_000, 100, torch.arange(1, 20_000, 100), margin=20.0, lam=1.0))
    mass = (small.source.reference[:, 1] - small.logsumexp_N).exp() > 0.5
    assert int(mass.sum()) == 200


def test_the_same_sample_every_time_and_from_blocks():
    log_r_NK, weights_N, totals_K = hard(20.0, 4.0)
    _, first, _ = drawn(log_r_NK, weights_N, totals_K)
    _, again, _ = drawn(log_r_NK, weights_N, totals_K)
    _, blocks, _ = drawn(log_r_NK.split(999), weights_N, totals_K)
    assert torch.equal(first.source.reference, again.source.reference)
    assert torch.equal(first.source.reference, blocks.source.reference)
    torch.testing.assert_close(first.counts_N, blocks.counts_N)  # the sums of the first pass are rounded otherwise


@pytest.mark.parametrize("period", [2, 16, 13, 21, 34])
def test_no_period_of_the_data_falls_in_with_it(period):
    """Rows whose class is their number modulo a period, Fibonacci's included: each class near its share, nearer than 3
    standard deviations of a random choice."""
    whole = validation.validate(torch.zeros(40_000, 2, dtype=torch.float64), torch.ones(40_000), [20_000.0] * 2)[0]
    rarity_N = subsample.weight_rarity(whole)
    positions = [
        subsample.sample_block(whole, rows, block, np.full(2, 20_000.0), rarity_N)[1]
        for rows, block in whole.indexed_blocks()
    ]
    counts = torch.bincount(torch.cat(positions) % period, minlength=period).double()
    assert (counts / counts.mean() - 1).abs().max() < 3 / math.sqrt(float(counts.mean()))


@pytest.mark.parametrize(("margin", "lam"), HARD)
def test_it_changes_how_fast_and_not_what(monkeypatch, margin, lam):
    given_ = hard(margin, lam)
    monkeypatch.setattr(newton.subsample, "MIN_SAMPLE_ROWS", 8000)  # as many rows as there are: no sample
    without = project(*given_, tolerance=1e-13, max_iterations=300)
    monkeypatch.setattr(newton.subsample, "MIN_SAMPLE_ROWS", 500)
    started = project(*given_, tolerance=1e-13)
    assert without.status == started.status == "converged"
    assert (without.targets - started.targets).abs().max() < 1e-7
    assert len(started.trajectory) < len(without.trajectory) + (margin < 10)  # no more where the way is short


def test_a_sample_that_misleads_is_dropped(monkeypatch):
    given_ = hard(20.0, 4.0)
    real_draw = subsample.draw_sample

    def misleading(whole, start):
        small, _ = real_draw(whole, start)
        small = dataclasses.replace(small, totals_C=small.totals_C[::-1].copy())
        return small, small.dual(np.zeros(10), curvature=True)

    monkeypatch.setattr(subsample, "MIN_SAMPLE_ROWS", 500)
    monkeypatch.setattr(subsample, "draw_sample", misleading)
    solution = project(*given_)
    assert solution.status == "converged"
    assert (solution.targets.sum(0) - given_[2]).abs().max() < 8000e-9


# ---------------------------------------------------------------- models


def random_quadratic(classes: int, seed: int):
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(classes, classes))
    hessian = root @ root.T
    centre = np.eye(classes) - 1 / classes
    return centre @ hessian @ centre, centre @ generator.normal(size=classes)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(2, 8), st.floats(-3, 3), st.integers(0, 1000))
def test_a_dense_step_is_the_best_within_the_radius(classes, exponent, seed):
    """Against the same model on many directions of the same length, and against Newton's step where that fits."""
    hessian, gradient = random_quadratic(classes, seed)
    radius = 10.0**exponent
    model = quadratic.DenseModel()
    model.set_curvature(hessian)
    step, promised = model.step(gradient, radius)
    length = np.linalg.norm(step)
    assert length <= (1 + quadratic.SECULAR_SLACK) * radius * (1 + 1e-9)
    assert abs(step.sum()) < 1e-9 * max(1, length)
    assert promised == pytest.approx(-gradient @ step - 0.5 * step @ hessian @ step, rel=1e-6, abs=1e-12)
    others = np.random.default_rng(seed + 1).normal(size=(200, classes))
    others -= others.mean(1, keepdims=True)
    others *= min(length, radius) / np.linalg.norm(others, axis=1, keepdims=True)
    values = others @ gradient + 0.5 * np.einsum("ij,jk,ik->i", others, hessian, others)
    assert -promised <= values.min() + 1e-9
    newton_step = -np.linalg.pinv(hessian) @ gradient
    if np.linalg.norm(newton_step) < radius:
        assert step == pytest.approx(newton_step, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("kind", [quadratic.DenseModel, quadratic.DiagonalModel])
def test_models_learn_a_quadratic(kind):
    """Steps on a fixed quadratic, its curvature known only roughly: the gradient vanishes in a few steps a class."""
    hessian, gradient = random_quadratic(5, 0)
    hessian += 0.5 * (np.eye(5) - 0.2)
    model = kind()
    rough = np.diag(np.diag(hessian))
    model.set_curvature(rough if kind is quadratic.DenseModel else np.diag(rough))
    point = np.zeros(5)
    for _ in range(40):
        here = hessian @ point + gradient
        step, _ = model.step(here - here.mean(), 1e3)
        model.update(step, hessian @ step)
        point = point + step
    assert np.abs(hessian @ point + gradient).max() < 1e-6 * np.abs(gradient).max()


def test_a_step_within_a_radius_is_shortened_or_bent():
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


def test_a_hessian_below_the_reach_of_float64_gives_a_finite_step():
    model = quadratic.DenseModel()
    model.set_curvature(np.full((3, 3), -1e-315) + 3e-315 * np.eye(3))
    step, promised = model.step(np.array([2.0, -1.0, -1.0]), 4.0)
    assert np.linalg.norm(step) == pytest.approx(4.0, rel=0.2)
    assert promised > 0
    model.set_curvature(np.full((3, 3), np.nan))
    assert np.isfinite(model.step(np.array([2.0, -1.0, -1.0]), 4.0)[0]).all()


def test_many_classes_are_solved_with_a_diagonal(monkeypatch):
    given_ = forgetting(1200, 300, torch.arange(0, 1200, 300), margin=8.0, lam=2.0)
    assert not validation.validate(*given_)[0].is_dense
    with_diagonal = solved(*given_, tolerance=1e-12)
    monkeypatch.setattr(chunks, "MAX_CLASSES_FULL_HESSIAN", 1000)
    assert validation.validate(*given_)[0].is_dense
    assert (with_diagonal.targets - solved(*given_).targets).abs().max() < 1e-8
