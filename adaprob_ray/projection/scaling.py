"""Generalised iterative scaling: each class's total is met in turn with what it holds, as if the others stood still.

    α_k ← α_k + (min_n w_n) log(Σ_n g_nk / M_k)

Darroch and Ratcliff (Ann. Math. Statist. 43, 1972) for equal weights, where it is iterative proportional fitting, also
called Sinkhorn's algorithm, with exact rows. For unequal weights it minimises a bound of D: as w (exp(−δ/w) − 1) falls
with w,

    D(α + δ) − D(α) ≤ Σ_k [ w_min Σ_n g_nk (exp(−δ_k / w_min) − 1) + δ_k M_k ],

so D never rises. It needs no derivative, no step size and no safeguard, and shares nothing with Newton's method but the
pass over the rows: the reference that the others are compared with. It is slow where classes share few rows.

Axes: C classes whose total is above 0.
"""

from __future__ import annotations

import numpy as np

from adaprob_ray.projection.dual import Dual, Problem
from adaprob_ray.projection.solution import Outcome, Status


def minimise(problem: Problem, start: Dual, *, tolerance: float, max_iterations: int) -> Outcome:
    """From α = 0 until the totals are met to within tolerance · N."""
    alpha_C, here, iterations, trajectory = np.zeros(problem.classes), start, 0, [start.residual]
    while here.residual > tolerance and iterations < max_iterations:
        mass_C = np.maximum(problem.totals_C - here.gradient_C, np.finfo(np.float64).tiny)
        ahead_C = alpha_C + problem.smallest_weight * (np.log(mass_C) - np.log(problem.totals_C))
        there = problem.dual(ahead_C - ahead_C.mean())
        trajectory.append(there.residual)
        if not there.finite:
            return Outcome(alpha_C, here, "stalled", iterations, trajectory)
        alpha_C, here, iterations = ahead_C - ahead_C.mean(), there, iterations + 1
    status: Status = "converged" if here.residual <= tolerance else "max_iterations"
    return Outcome(alpha_C, here, status, iterations, trajectory)
