"""Properties of the projection, Eq. (1)-(4) of the paper, against independent solvers in float64.

Axes: N rows, K classes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import INF, assert_sane, dual_value, forgetting, instance, logits, objective, solve
from scipy import optimize
from torch import Tensor

from adaprob_ray.projection import chunks, project, validation
from adaprob_ray.projection.dual import Problem

# ---------------------------------------------------------------- the optimum


def test_a_feasible_reference_is_returned_unchanged():
    log_r_NK, weights_N, _ = instance()
    solution = project(log_r_NK, weights_N, log_r_NK.exp().sum(0))
    assert (solution.targets - log_r_NK.exp()).abs().max() < 1e-12
    assert (solution.status, solution.iterations, solution.passes) == ("converged", 0, 2)


@pytest.mark.parametrize("seed", range(4))
def test_constraints_stationarity_and_no_duality_gap(seed):
    log_r_NK, weights_N, totals_K = instance(seed=seed)
    solution = solve(log_r_NK, weights_N, totals_K)
    assert_sane(solution)
    assert (solution.targets.sum(0) - totals_K).abs().max() < 1e-11
    assert abs(solution.multipliers.sum()) < 1e-12
    # w (log g − log r) + α is constant in each row: it is the multiplier of the row sum.
    tilt_NK = weights_N[:, None] * (solution.targets.log() - log_r_NK) + solution.multipliers
    assert (tilt_NK - tilt_NK.mean(1, keepdim=True)).abs().max() < 1e-11
    dual = dual_value(solution.multipliers, log_r_NK, weights_N, totals_K)
    assert objective(solution.targets, log_r_NK, weights_N) == pytest.approx(-dual, abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_slsqp_on_the_primal(seed):
    log_r_NK, weights_N, totals_K = instance(6, 3, seed)
    log_r, weights, totals = log_r_NK.numpy(), weights_N.numpy()[:, None], totals_K.numpy()

    def value_and_slope(flat):
        ratio = np.log(flat.reshape(6, 3)) - log_r
        return (weights * flat.reshape(6, 3) * ratio).sum(), (weights * (ratio + 1)).ravel()

    row_sums, column_sums = np.kron(np.eye(6), np.ones(3)), np.kron(np.ones(6), np.eye(3))
    equal_A, equal_b = np.vstack([row_sums, column_sums[:-1]]), np.concatenate([np.ones(6), totals[:-1]])
    oracle = optimize.minimize(
        value_and_slope,
        np.tile(totals / 6, 6),
        jac=True,
        method="SLSQP",
        bounds=[(1e-12, 1)] * 18,
        constraints={"type": "eq", "fun": lambda g: equal_A @ g - equal_b, "jac": lambda g: equal_A},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    targets = solve(log_r_NK, weights_N, totals_K).targets.numpy()
    # SLSQP stops on the objective, which is flat to second order, so its solution is accurate to about sqrt(1e-15).
    assert np.abs(targets.ravel() - oracle.x).max() < 1e-7


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_bfgs_on_the_dual(seed):
    log_r_NK, weights_N, totals_K = instance(seed=seed)

    def value_and_slope(alpha):
        alpha_K = torch.tensor(alpha, requires_grad=True)
        value = weights_N @ (log_r_NK - alpha_K / weights_N[:, None]).logsumexp(1) + alpha_K @ totals_K
        value.backward()
        return value.item(), alpha_K.grad.numpy()

    oracle = optimize.minimize(value_and_slope, np.zeros(4), jac=True, method="BFGS", options={"gtol": 1e-9})
    solution = solve(log_r_NK, weights_N, totals_K)
    assert np.abs(solution.multipliers.numpy() - (oracle.x - oracle.x.mean())).max() < 1e-7


@pytest.mark.parametrize("seed", range(3))
def test_targets_agree_with_a_generic_convex_solver(seed):
    """SciPy's trust-exact on the dual, the last multiplier fixed at 0, derivatives by autograd: to 1e-8."""
    log_r_NK, weights_N, totals_K = instance(20, 5, seed)

    def dual(alpha: Tensor) -> Tensor:
        alpha_K = torch.cat([alpha, torch.zeros(1, dtype=torch.float64)])
        return weights_N @ (log_r_NK - alpha_K / weights_N[:, None]).logsumexp(1) + alpha_K @ totals_K

    oracle = optimize.minimize(
        lambda a: float(dual(torch.tensor(a))),
        np.zeros(4),
        jac=lambda a: torch.func.grad(dual)(torch.tensor(a)).numpy(),
        hess=lambda a: torch.func.hessian(dual)(torch.tensor(a)).numpy(),
        method="trust-exact",
        options={"gtol": 1e-10},
    )
    alpha_K = torch.cat([torch.tensor(oracle.x), torch.zeros(1, dtype=torch.float64)])
    g_NK = (log_r_NK - alpha_K / weights_N[:, None]).softmax(1)
    assert (solve(log_r_NK, weights_N, totals_K).targets - g_NK).abs().max() < 1e-8


@pytest.mark.parametrize(("margin", "spread"), [(0.0, 1.0), (0.0, 10.0), (8.0, 4.0), (20.0, 10.0)])
def test_recovers_the_targets_that_a_problem_was_constructed_from(margin, spread):
    log_r_NK = logits(200, 5, margin=margin).log_softmax(1)
    weights_N = torch.where(torch.arange(200) < 50, 1.0, 3.0).double()
    alpha_K = spread * torch.tensor([1.0, -0.5, 0.2, 0.0, -0.7], dtype=torch.float64)
    g_NK = (log_r_NK - alpha_K / weights_N[:, None]).softmax(1)
    solution = solve(log_r_NK, weights_N, g_NK.sum(0), tolerance=1e-14)
    assert (solution.targets - g_NK).abs().max() < 1e-8


# ---------------------------------------------------------------- symmetries


def test_permuted_rows_and_classes_give_permuted_targets():
    log_r_NK, weights_N, totals_K = instance()
    rows, classes = torch.randperm(12, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 3, 1])
    straight = solve(log_r_NK, weights_N, totals_K)
    permuted = solve(log_r_NK[rows][:, classes], weights_N[rows], totals_K[classes])
    assert (permuted.targets - straight.targets[rows][:, classes]).abs().max() < 1e-11
    assert (permuted.multipliers - straight.multipliers[classes]).abs().max() < 1e-10


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 7.0, 1e200])
def test_scaled_weights_scale_the_multipliers_only(scale):
    log_r_NK, weights_N, totals_K = instance()
    plain, scaled = solve(log_r_NK, weights_N, totals_K), solve(log_r_NK, weights_N * scale, totals_K)
    assert (scaled.targets - plain.targets).abs().max() < 1e-12
    assert (scaled.multipliers / scale - plain.multipliers).abs().max() < 1e-11


def test_logits_are_normalized():
    log_r_NK, weights_N, totals_K = instance()
    shifted_NK = log_r_NK + torch.linspace(-50, 50, 12, dtype=torch.float64)[:, None]
    difference = solve(shifted_NK, weights_N, totals_K).targets - solve(log_r_NK, weights_N, totals_K).targets
    assert difference.abs().max() < 1e-12  # the shift itself costs 50 eps


def test_sequences_and_integers_are_accepted_and_inputs_are_unchanged():
    log_r_NK, _, _ = instance()
    before = log_r_NK.clone()
    solution = project(log_r_NK.requires_grad_(), [1] * 12, np.array([3, 3, 3, 3]))
    assert solution.status == "converged"
    assert not solution.targets.requires_grad
    assert torch.equal(log_r_NK.detach(), before)


# ---------------------------------------------------------------- the dual


def problem_of(*inputs) -> Problem:
    return validation.validate(*inputs)[0]


ALPHA_K = np.array([0.3, -0.2, 0.1, -0.4])


@pytest.mark.parametrize("dense", [True, False])
def test_derivatives_agree_with_finite_differences(monkeypatch, dense):
    monkeypatch.setattr(chunks, "MAX_CLASSES_FULL_HESSIAN", 256 if dense else 0)
    dual, width = problem_of(*instance()).dual, 1e-5
    here = dual(ALPHA_K, curvature=True)
    for k, unit_K in enumerate(np.eye(4)):
        up, down = dual(ALPHA_K + width * unit_K), dual(ALPHA_K - width * unit_K)
        # Central differences: width² from the third derivative, eps / width from rounding.
        assert (up.value - down.value) / (2 * width) == pytest.approx(here.gradient_C[k], abs=1e-8)
        slope_K = (up.gradient_C - down.gradient_C) / (2 * width)
        if dense:
            assert np.abs(slope_K - here.curvature[k]).max() < 1e-8
        else:
            assert slope_K[k] == pytest.approx(here.curvature[k], abs=1e-8)


@pytest.mark.parametrize(("rows", "classes"), [(8000, 3), (8000, 10), (4801, 10), (700, 60)])
def test_the_hessian_of_many_rows_is_good_to_float32(rows, classes):
    """Its products are in float32, and rows of few classes are folded; compared with a Hessian in float64."""
    log_r_NK, weights_N, totals_K = instance(rows, classes)
    alpha_K = torch.linspace(-1, 1, classes, dtype=torch.float64)
    g_NK = (log_r_NK - alpha_K * (weights_N.max() / weights_N)[:, None]).softmax(1)
    share_N = weights_N.max() / weights_N
    expected_KK = torch.diag(share_N @ g_NK) - (g_NK * share_N[:, None]).T @ g_NK
    actual_KK = problem_of(log_r_NK, weights_N, totals_K).dual(alpha_K.numpy(), curvature=True).curvature
    assert np.abs(actual_KK - expected_KK.numpy()).max() < 2e-6 * float(expected_KK.abs().max())
    assert np.abs(actual_KK.sum(1)).max() < 1e-12 * rows


def test_dual_is_a_lower_bound_in_units_of_the_largest_weight():
    log_r_NK, weights_N, totals_K = instance()
    largest = float(weights_N.max())
    written_out = dual_value(torch.from_numpy(ALPHA_K) * largest, log_r_NK, weights_N, totals_K)
    assert problem_of(log_r_NK + 5.0, weights_N, totals_K).dual(ALPHA_K).value * largest == pytest.approx(
        written_out, rel=1e-12
    )
    best = solve(log_r_NK, weights_N, totals_K).targets
    assert -written_out < objective(best, log_r_NK, weights_N)


def test_the_dual_is_the_same_where_exp_would_overflow():
    """Rows of weight 1e-3 and one of weight 1: α / w is in the hundreds, on either side of MAX_SAFE_EXPONENT."""
    log_r_NK, _, totals_K = instance()
    weights_N = torch.full((12,), 1e-3, dtype=torch.float64)
    weights_N[0] = 1.0
    for scale in (0.2, 0.29, 0.31, 0.7, 3.0):
        alpha_K = scale * np.array([1.0, -0.5, -0.7, 0.2])
        here = problem_of(log_r_NK, weights_N, totals_K).dual(alpha_K)
        assert here.value == pytest.approx(
            dual_value(torch.from_numpy(alpha_K), log_r_NK, weights_N, totals_K), rel=1e-12
        )
        g_NK = (log_r_NK - torch.from_numpy(alpha_K) / weights_N[:, None]).softmax(1)
        assert np.abs(here.gradient_C - (totals_K - g_NK.sum(0)).numpy()).max() < 1e-12


def test_hessian_keeps_its_digits_on_one_hot_rows():
    log_r_NK = torch.tensor([[0.0, -45.0, -46.0]], dtype=torch.float64)
    hessian_KK = problem_of(log_r_NK, [1.0], [0.5, 0.25, 0.25]).dual(np.zeros(3), curvature=True).curvature
    assert float(hessian_KK[0, 0]) == pytest.approx(math.exp(-45) + math.exp(-46), rel=1e-12, abs=0)


@pytest.mark.parametrize("chunk_rows", [1, 7, 12, 50])
def test_the_chunk_size_does_not_change_the_solution(monkeypatch, chunk_rows):
    inputs = instance(50)
    whole = solve(*inputs)
    monkeypatch.setitem(chunks.CHUNK_ENTRIES, "cpu", 4 * chunk_rows)
    chunked = solve(*inputs)
    assert (chunked.targets - whole.targets).abs().max() < 1e-12
    assert chunked.passes == whole.passes


# ---------------------------------------------------------------- random and hard problems


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    rows=st.integers(1, 12),
    classes=st.integers(1, 6),
    spread=st.sampled_from([0.1, 1.0, 10.0, 60.0]),
    exponent=st.floats(-2, 2),
    seed=st.integers(0, 10_000),
    zeros=st.integers(0, 3),
)
def test_random_problems_converge(rows, classes, spread, exponent, seed, zeros):
    generator = torch.Generator().manual_seed(seed)
    log_r_NK = spread * logits(rows, classes, seed=seed)
    weights_N = torch.where(torch.rand(rows, generator=generator) < 0.5, 1.0, 10.0**exponent).double()
    totals_K = torch.rand(classes, generator=generator, dtype=torch.float64) + 1e-3
    totals_K[: min(zeros, classes - 1)] = 0
    totals_K *= rows / totals_K.sum()
    solution = project(log_r_NK, weights_N, totals_K, max_iterations=300)
    assert solution.status == "converged", solution.message
    assert_sane(solution)
    assert (solution.targets.sum(0) - totals_K).abs().max() <= 1.01e-9 * rows
    assert (solution.targets[:, totals_K == 0] == 0).all()


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_rounding_of_the_dual_does_not_stop_the_iteration(offset):
    """Weights 1e4 apart: at the end the decrease of D is far below the rounding of its value."""
    log_r_NK, _, totals_K = instance(60, 3)
    weights_N = torch.where(torch.arange(60) < 30, 1e-4, 1.0).double()
    solution = project(log_r_NK / 50 + offset, weights_N, totals_K, tolerance=1e-12)
    assert solution.status == "converged", solution.message


@pytest.mark.parametrize("lam", [1.0, 4.0])
@pytest.mark.parametrize("margin", [2.0, 8.0, 20.0])
def test_small_scale_selective_forgetting(margin, lam):
    solution = project(*forgetting(500, 5, torch.arange(0, 125, 5), margin=margin, lam=lam))
    assert solution.residual <= 1e-9
    assert solution.passes <= 30


@pytest.mark.parametrize("emptied", [False, True])
@pytest.mark.parametrize("lam", [0.1, 1.0, 4.0, 100.0])
@pytest.mark.parametrize("margin", [8.0, 20.0, 40.0])
def test_a_whole_class_forgotten(margin, lam, emptied):
    forget_rows = torch.arange(1, 5000, 10)
    solution = project(*forgetting(5000, 10, forget_rows, margin=margin, lam=lam, emptied=emptied))
    assert solution.status == "converged"
    assert solution.residual <= 1e-9
    assert solution.passes <= 30
    assert_sane(solution)


@pytest.mark.parametrize("margin", [20.0, 40.0, 80.0])
def test_float32_logits_converge_to_float64_accuracy(margin):
    log_r_NK, weights_N, totals_K = forgetting(1000, 10, torch.arange(1, 1000, 10), margin=margin, lam=4.0)
    solution = project((log_r_NK + 30).float(), weights_N.float(), totals_K)
    assert solution.status == "converged"
    assert solution.targets.dtype == torch.float32
    assert solution.multipliers.dtype == torch.float64
    assert_sane(solution, 1e-6)  # the cast
    assert solution.residual <= 1e-9
    # Each entry is within half a float32 unit of the float64 target.
    assert (solution.targets.double().sum(0) - totals_K).abs().max() < 1000 * 2**-25 + 1e-6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu():
    log_r_NK, weights_N, totals_K = instance(50)
    totals_K = torch.cat([totals_K[:3] * 50 / totals_K[:3].sum(), torch.zeros(1, dtype=torch.float64)])
    host, device = solve(log_r_NK, weights_N, totals_K), solve(log_r_NK.cuda(), weights_N.cuda(), totals_K.cuda())
    assert device.targets.device.type == "cuda"
    assert (device.targets.cpu() - host.targets).abs().max() < 1e-12
    assert torch.equal(device.multipliers.isinf(), host.multipliers.isinf())


# ---------------------------------------------------------------- zero totals, −inf entries, limits of float64


def test_a_zero_total_drops_its_class():
    log_r_NK, weights_N, _ = instance()
    totals_K = torch.tensor([5.0, 0.0, 4.0, 3.0], dtype=torch.float64)
    solution, columns = solve(log_r_NK, weights_N, totals_K), [0, 2, 3]
    assert (solution.targets[:, 1] == 0).all()
    assert solution.multipliers[1] == INF
    reduced = solve(log_r_NK[:, columns], weights_N, totals_K[columns])
    assert (solution.targets[:, columns] - reduced.targets).abs().max() < 1e-12
    only = solve(log_r_NK, weights_N, torch.tensor([0, 0, 12.0, 0]))
    assert torch.equal(only.targets, torch.tensor([[0, 0, 1.0, 0]]).double().expand(12, 4))


def test_minus_infinity_keeps_a_target_at_zero():
    log_r_NK, weights_N, totals_K = instance()
    log_r_NK[:4, 0] = -INF
    solution = solve(log_r_NK, weights_N, totals_K)
    assert_sane(solution)
    assert (solution.targets[:4, 0] == 0).all()
    assert (solution.targets.sum(0) - totals_K).abs().max() < 1e-11


def test_totals_at_the_edge_of_feasibility():
    log_r_NK, weights_N, _ = instance()
    log_r_NK[3:, 0] = -INF  # rows 0 to 2 must then be wholly in class 0: α_0 → −∞
    solution = project(log_r_NK, weights_N, [3.0, 3.0, 3.0, 3.0])
    assert solution.status == "converged", solution.message
    assert_sane(solution)
    assert solution.targets[:3, 0].min() > 1 - 1e-7


def test_too_few_iterations_and_too_small_a_tolerance_are_reported():
    inputs = forgetting(500, 5, torch.arange(0, 500, 5), margin=20.0, lam=4.0)
    short = project(*inputs, max_iterations=2)
    assert (short.status, short.iterations) == ("max_iterations", 2)
    assert "raise max_iterations" in short.message
    assert f"{short.residual:.2g}" in short.message
    strict = project(*instance(200), tolerance=1e-30, max_iterations=1000)
    assert strict.status in ("stalled", "converged")  # rounding may hit the totals exactly
    assert strict.residual < 1e-15
    assert_sane(strict)


def test_weights_beyond_the_range_of_float64_stall_with_finite_targets():
    log_r_NK, _, totals_K = instance(100)
    solution = project(log_r_NK, torch.logspace(-150, 150, 100, dtype=torch.float64), totals_K)
    assert solution.status == "stalled"
    assert "narrower range" in solution.message
    assert_sane(solution)


@pytest.mark.parametrize("classes", [5, 300])
@pytest.mark.parametrize("margin", [60.0, 200.0, 720.0])
def test_nearly_one_hot_rows_converge(classes, margin):
    """Where g (1 − g) vanishes in float64: the first step must still go somewhere."""
    solution = project(*forgetting(4 * classes, classes, torch.arange(1, 4 * classes, classes), margin=margin, lam=1.0))
    assert_sane(solution)
    assert solution.status == "converged", solution.message


def test_one_hot_rows_with_totals_in_one_class_converge():
    log_r_NK = torch.zeros(200, 5, dtype=torch.float64)
    log_r_NK[torch.arange(200), torch.arange(200) % 5] = 720.0
    solution = project(log_r_NK, torch.ones(200), [196.0, 1, 1, 1, 1])
    assert solution.status == "converged", solution.message


@pytest.mark.parametrize("lightest", [1e-38, 5e-324])
def test_weights_far_below_the_range_of_float32_give_valid_targets(lightest):
    log_r_NK, weights_N, totals_K = instance(8000, 5)
    weights_N[::8] = lightest
    assert_sane(project(log_r_NK, weights_N, totals_K))
    assert_sane(project(log_r_NK, torch.logspace(-80, 80, 8000, dtype=torch.float64), totals_K))


def test_scaling_reports_no_nan():
    inputs = torch.zeros(100, 4).double(), torch.logspace(-300, 0, 100, dtype=torch.float64), [1e-310, 50.0, 50.0, 0.0]
    for solver in ("scaling", "newton", "dual_ascent"):
        solution = project(*inputs, solver=solver)
        assert not solution.trajectory.isnan().any()
        assert_sane(solution)
