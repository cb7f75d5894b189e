"""The projection of the paper's Eq. (1)-(4): the nearest probabilities with given column sums.

    minimise over g  Σ_n w_n KL(g_n ‖ r_n)   with  Σ_k g_nk = 1,  Σ_n g_nk = M_k,  0 ≤ g_nk ≤ 1

Eq. (1) has w = 1 on forget rows and w = λ on retain rows. problem.py holds the checked input and the dual in K numbers,
newton.py minimises that dual, solution.py says what comes back.

Axes: N rows, K classes, C classes whose total is above 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.projection import newton
from adaprob_ray.projection.problem import Problem, check
from adaprob_ray.projection.solution import Outcome, Solution, describe

__all__ = ["Solution", "project"]

SOLVERS = {"newton": newton.minimise}


def project(
    log_reference: Tensor,
    weights: Any,
    totals: Any,
    *,
    solver: str = "newton",
    tolerance: float = 1e-9,
    max_iterations: int = 100,
) -> Solution:
    """g* = argmin Σ_n w_n KL(g_n ‖ r_n) under the paper's Eq. (2)-(4).

    log_reference: log r [N, K], float32 or float64, on any device. Rows are normalised here by log-softmax, so logits
        do as well. An entry of −inf keeps its target at 0 and may make the totals infeasible.
    weights: w [N] > 0.  totals: M [K] ≥ 0 with sum N; a gap of up to 1e-6 N is scaled away, and the message says so.
    tolerance: on max_k |Σ_n g_nk − M_k| / N.  max_iterations: accepted steps.

    A class whose total is exactly 0 is taken out: its targets are 0 and its multiplier +inf. The arithmetic is float64
    whatever the dtype, in blocks of rows: memory beyond input and output is O(N + block · K + K²).

    InputError names the argument, what was given and what is possible. A problem that is well formed never raises: see
    Solution.status, one of "converged", "stalled", "infeasible" (only if proved) and "max_iterations".
    """
    _check_options(solver, tolerance, max_iterations)
    problem = check(log_reference, weights, totals)
    if problem.stranded:
        outcome = _unmoved(problem)
    else:
        outcome = SOLVERS[solver](problem, tolerance=tolerance, max_iterations=max_iterations)
    return Solution(
        targets=problem.targets(outcome.alpha_C),
        multipliers=problem.multipliers(outcome.alpha_C),
        status=outcome.status,
        residual=outcome.dual.residual,
        iterations=outcome.iterations,
        passes=outcome.passes + 2,  # the check and the targets
        message=describe(problem, outcome, tolerance),
    )


def _check_options(solver: str, tolerance: float, max_iterations: int) -> None:
    faults = []
    if solver not in SOLVERS:
        faults.append(unknown_name("solver", solver, SOLVERS))
    if not 0 < tolerance < math.inf:
        faults.append(f"tolerance must be a finite number above 0; given {tolerance!r}")
    if not (isinstance(max_iterations, int) and max_iterations >= 1):
        faults.append(f"max_iterations must be a whole number of at least 1; given {max_iterations!r}")
    if faults:
        raise InputError(*faults)


def _unmoved(problem: Problem) -> Outcome:
    """α = 0, the reference itself, for a problem in which some row has no class to go to."""
    alpha_C = torch.zeros_like(problem.totals_C)
    return Outcome(alpha_C, problem.dual(alpha_C), "infeasible", 0, 1)
