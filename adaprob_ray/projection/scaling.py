"""Generalized iterative scaling: each class is moved by the ratio of its column sum to its total, all classes at once.

    α_k ← α_k + (min_n w_n) log(Σ_n g_nk / M_k)

Darroch and Ratcliff (Ann. Math. Statist. 43, 1972) for equal weights, where it is iterative proportional fitting, also
called Sinkhorn's algorithm, with exact rows. For unequal weights it minimizes a bound of D: as w (exp(−δ/w) − 1) falls
with w,

    D(α + δ) − D(α) ≤ Σ_k [ w_min Σ_n g_nk (exp(−δ_k / w_min) − 1) + δ_k M_k ],

so D never rises. It needs no derivatives, no step size and no safeguard, and shares only the pass over the rows with
Newton's method: it is the reference that the other solvers are tested against. It is slow where classes share few rows.

Axes: C classes whose total is above 0.
"""

from __future__ import annotations

import numpy as np

from adaprob_ray.projection.dual import Dual, Problem
from adaprob_ray.projection.solution import SolverResult, Status


def minimize(problem: Problem, start: Dual, *, tolerance: float, max_iterations: int) -> SolverResult:
    """Scale from α = 0 until the totals are met to within tolerance · N."""
    alpha_C, current, iterations, trajectory = np.zeros(problem.classes), start, 0, [start.residual]
    while current.residual > tolerance and iterations < max_iterations:
        # Rounding may leave a column sum of 0 or below, whose logarithm does not exist.
        column_sum_C = np.maximum(problem.totals_C - current.gradient_C, np.finfo(np.float64).tiny)
        trial_alpha_C = alpha_C + problem.smallest_weight * (np.log(column_sum_C) - np.log(problem.totals_C))
        trial_alpha_C = trial_alpha_C - trial_alpha_C.mean()
        trial = problem.dual(trial_alpha_C)
        trajectory.append(trial.residual)
        if not trial.is_finite:
            return SolverResult(alpha_C, current, "stalled", iterations, trajectory)
        alpha_C, current, iterations = trial_alpha_C, trial, iterations + 1
    status: Status = "converged" if current.residual <= tolerance else "max_iterations"
    return SolverResult(alpha_C, current, status, iterations, trajectory)
