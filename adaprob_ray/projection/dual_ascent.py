"""The paper's own algorithm, Eq. (6)-(7): follow the gap of the column sums with a step size η.

    (6)  g_nk = r_nk exp(−α_k / w_n),  w = 1 on forget rows and λ on retain rows
    (7)  α_k ← α_k + η (Σ_n g_nk − M_k)

As printed, Eq. (6) has no row normalizer, so that Eq. (3) does not hold; here its rows are divided by their sums unless
`normalise=False` asks for Eq. (6) as printed. Either way (7) is gradient descent on a convex D, namely

    D(α) = Σ_n w_n log Σ_k r_nk exp(−α_k / w_n) + Σ_k α_k M_k      (normalized)
    D(α) = Σ_n w_n Σ_k r_nk exp(−α_k / w_n) + Σ_k α_k M_k          (as printed)

The paper does not specify η. With L a bound on the curvature of D, every η ≤ 1/L descends. The default is η = 1/L with

    normalized:     L = ½ Σ_n 1/w_n, as diag g − g gᵀ ⪯ ½ (Böhning, Ann. Inst. Statist. Math. 44, 1992)
    as printed:     L = max_k max(Σ_n r_nk, M_k) / min_n w_n, which holds from α = 0 to the solution

A larger η may converge faster, oscillate forever, or diverge: D then exceeds its value at the start.

Axes: N rows, C classes whose total is above 0.
"""

from __future__ import annotations

import numpy as np

from adaprob_ray.projection.dual import Dual, Problem
from adaprob_ray.projection.solution import SolverResult, Status

# An increase of D counts as divergence only if it exceeds this many times the bounds of the rounding errors of both values,
# so that rounding at a stationary point is not mistaken for it.
ROUNDING_FACTOR = 100


def minimize(
    problem: Problem,
    start: Dual,
    *,
    tolerance: float,
    max_iterations: int,
    step_size: float | None = None,
) -> SolverResult:
    """Eq. (6)-(7) from α = 0. `step_size` is η in the units of the caller's weights, by default 1/L."""
    eta = step_size if step_size is not None else problem.largest_weight / curvature_bound(problem, start)
    alpha_C, current, iterations, trajectory = np.zeros(problem.classes), start, 0, [start.residual]
    status: Status = "max_iterations"
    while current.residual > tolerance and iterations < max_iterations:
        trial_alpha_C = alpha_C - (eta / problem.largest_weight) * current.gradient_C
        trial = problem.dual(trial_alpha_C)
        trajectory.append(trial.residual)
        # A step that overflows or raises D above its first value shows that η is too large; the last good α is returned.
        if not trial.is_finite or trial.value > start.value + ROUNDING_FACTOR * (trial.rounding + start.rounding):
            status = "diverged"
            break
        alpha_C, current, iterations = trial_alpha_C, trial, iterations + 1
    if current.residual <= tolerance:
        status = "converged"
    return SolverResult(alpha_C, current, status, iterations, trajectory, step_size=eta)


def curvature_bound(problem: Problem, start: Dual) -> float:
    """L for weights relative to the largest."""
    if problem.normalise:
        return 0.5 * float(problem.weights_N.reciprocal().sum())
    column_sum_C = problem.totals_C - start.gradient_C
    return float(np.maximum(column_sum_C, problem.totals_C).max()) / problem.smallest_weight
