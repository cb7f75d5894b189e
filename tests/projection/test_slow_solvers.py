"""The paper's ascent, Eq. (6)-(7), and generalized iterative scaling, compared with their formulas and Newton's method.

Axes: N rows, K classes.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import assert_sane, dual_value, forgetting, instance, solve
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection import Solution, project


def ascent(*inputs: Tensor, **options: object) -> Solution:
    return project(*inputs, solver="dual_ascent", **options)


def ascent_alpha(
    log_r_NK: Tensor, weights_N: Tensor, totals_K: Tensor, eta: float, steps: int, normalise: bool
) -> Tensor:
    """α after some steps of Eq. (6)-(7), in a plain loop."""
    alpha_K = torch.zeros(len(totals_K), dtype=torch.float64)
    for _ in range(steps):
        g_NK = log_r_NK.exp() * (-alpha_K / weights_N[:, None]).exp()
        if normalise:
            g_NK = g_NK / g_NK.sum(1, keepdim=True)
        alpha_K = alpha_K + eta * (g_NK.sum(0) - totals_K)
    return alpha_K


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("steps", [1, 5])
def test_the_steps_of_dual_ascent_are_eq_7(steps, normalise):
    inputs = instance()
    solution = ascent(*inputs, step_size=0.05, max_iterations=steps, normalise=normalise)
    expected_K = ascent_alpha(*inputs, 0.05, steps, normalise)
    gauge = expected_K.mean() if normalise else 0.0
    assert (solution.multipliers - (expected_K - gauge)).abs().max() < 1e-12
    assert (solution.status, solution.iterations, solution.step_size) == ("max_iterations", steps, 0.05)
    assert len(solution.trajectory) == steps + 1
    assert solution.trajectory[-1] == solution.residual


@pytest.mark.parametrize("seed", range(3))
def test_the_default_step_converges_to_newtons_solution(seed):
    inputs = instance(seed=seed)
    solution = ascent(*inputs, tolerance=1e-11, max_iterations=20_000)
    assert solution.status == "converged", solution.message
    assert (solution.targets - solve(*inputs).targets).abs().max() < 1e-8
    assert_sane(solution)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 10), st.integers(2, 5), st.floats(-2, 2), st.integers(0, 1000))
def test_the_default_step_never_raises_the_dual(rows, classes, exponent, seed):
    log_r_NK, _, totals_K = instance(rows, classes, seed)
    weights_N = torch.where(torch.arange(rows) < rows // 2, 1.0, 10.0**exponent).double()
    before = math.inf
    for steps in range(1, 8):
        alpha_K = ascent(log_r_NK, weights_N, totals_K, max_iterations=steps).multipliers
        value = dual_value(alpha_K, log_r_NK, weights_N, totals_K)
        assert value <= before + 1e-12 * rows
        before = value


def test_the_step_size_decides_between_crawling_converging_oscillating_and_diverging():
    inputs = instance(40)
    eta = ascent(*inputs, max_iterations=1).step_size
    solutions = [ascent(*inputs, step_size=eta * factor, max_iterations=300) for factor in (0.01, 1, 2, 4, 300)]
    crawling, converged, faster, oscillating, diverged = solutions
    assert [solution.status for solution in solutions] == [
        "max_iterations",
        *["converged"] * 2,
        "max_iterations",
        "diverged",
    ]
    assert crawling.residual > 1e-3
    assert (crawling.trajectory.diff() < 0).all()
    assert "raise max_iterations or step_size, or use solver='newton'" in crawling.message
    assert faster.iterations < 0.6 * converged.iterations
    assert oscillating.residual > crawling.residual
    assert oscillating.trajectory[-50:].std() < 1e-3 < oscillating.residual  # forever at the same distance
    assert "lower step_size" in diverged.message
    assert_sane(diverged)


@pytest.mark.parametrize("seed", range(3))
def test_eq_6_as_printed_meets_the_column_sums_but_not_the_row_sums(seed):
    log_r_NK, weights_N, totals_K = instance(seed=seed)
    solution = ascent(log_r_NK, weights_N, totals_K, normalise=False, max_iterations=5000)
    assert solution.status == "converged", solution.message
    assert (solution.targets.sum(0) - totals_K).abs().max() < 12e-9
    tilt_NK = weights_N[:, None] * (solution.targets.log() - log_r_NK)
    assert (tilt_NK + solution.multipliers).abs().max() < 1e-10  # Eq. (6)
    rows_N = solution.targets.sum(1)
    assert solution.row_error == pytest.approx(float((rows_N - 1).abs().max()), rel=1e-9)
    assert solution.row_error > 1e-3
    assert solve(log_r_NK, weights_N, totals_K).row_error == 0


def test_eq_6_as_printed_with_a_huge_step_diverges_without_nan():
    solution = ascent(*instance(), normalise=False, step_size=1e6)
    assert solution.status == "diverged"
    assert not solution.targets.isnan().any()
    assert solution.trajectory[-1] == math.inf


@pytest.mark.parametrize("seed", range(3))
def test_scaling_agrees_with_newton(seed):
    inputs = instance(seed=seed)
    solution = project(*inputs, solver="scaling", tolerance=1e-12, max_iterations=5000)
    assert solution.status == "converged"
    assert (solution.targets - solve(*inputs).targets).abs().max() < 1e-8
    assert (solution.multipliers - solve(*inputs).multipliers).abs().max() < 1e-8
    assert_sane(solution)


def test_scaling_is_proportional_fitting_where_weights_are_equal():
    """Compared with scaling the columns to their totals and then the rows to 1, three times."""
    log_r_NK, _, totals_K = instance()
    g_NK = log_r_NK.exp()
    for _ in range(3):
        g_NK = g_NK * (totals_K / g_NK.sum(0))
        g_NK = g_NK / g_NK.sum(1, keepdim=True)
    solution = project(log_r_NK, torch.ones(12), totals_K, solver="scaling", max_iterations=3)
    assert solution.iterations == 3
    assert (solution.targets - g_NK).abs().max() < 1e-14


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 10), st.integers(2, 5), st.floats(-2, 2), st.integers(0, 1000))
def test_scaling_never_raises_the_dual(rows, classes, exponent, seed):
    log_r_NK, _, totals_K = instance(rows, classes, seed)
    weights_N = torch.where(torch.arange(rows) < rows // 2, 1.0, 10.0**exponent).double()
    before = dual_value(torch.zeros(classes, dtype=torch.float64), log_r_NK, weights_N, totals_K)
    for steps in range(1, 8):
        alpha_K = project(log_r_NK, weights_N, totals_K, solver="scaling", max_iterations=steps).multipliers
        value = dual_value(alpha_K, log_r_NK, weights_N, totals_K)
        assert value <= before + 1e-12 * rows
        before = value


def test_all_agree_on_a_forgotten_class():
    inputs = forgetting(200, 5, torch.arange(0, 200, 10), margin=4.0, lam=2.0)
    newton = project(*inputs)
    scaling = project(*inputs, solver="scaling", max_iterations=20_000)
    dual_ascent = ascent(*inputs, max_iterations=50_000, tolerance=1e-8)
    assert newton.status == scaling.status == dual_ascent.status == "converged"
    assert (scaling.targets - newton.targets).abs().max() < 1e-5  # scaling stops when columns are within 1e-9 N
    assert newton.passes < scaling.passes / 5 < dual_ascent.passes / 5


def test_options_of_another_solver_are_rejected():
    for options, words in [
        ({"step_size": 0.1}, "step_size: must be None unless solver='dual_ascent', got 0.1 with solver='newton'"),
        ({"step_size": 0.1, "solver": "scaling"}, "with solver='scaling'"),
        ({"normalise": False}, "normalise: must be True unless solver='dual_ascent', got False with solver='newton'"),
        ({"step_size": 0.0, "solver": "dual_ascent"}, "step_size: must be a finite number above 0, got 0.0"),
        ({"step_size": math.nan, "solver": "dual_ascent"}, "step_size: must be a finite number above 0, got nan"),
    ]:
        with pytest.raises(InputError) as caught:
            project(*instance(), **options)
        assert words in str(caught.value)
