"""What a solver leaves (Outcome) and what the caller gets (Solution): targets with a status, never a bare tensor.

Axes: N rows, K classes, C classes whose total is above 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from adaprob_ray.projection.problem import Dual, Problem

Status = Literal["converged", "stalled", "infeasible", "max_iterations"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Where a solver stopped, and D there. `passes` are its own sweeps over the matrix."""

    alpha_C: Tensor
    dual: Dual
    status: Status
    iterations: int
    passes: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution:
    """g_nk ∝ r_nk exp(−α_k / w_n), the optimum of the paper's Eq. (1)-(4) where `status` is "converged".

    `message` says in words what the status means here and what can be done. No field ever holds NaN.
    """

    targets: Tensor  # g [N, K] in the dtype of log_reference; rows sum to 1 whatever the status
    multipliers: Tensor  # α [K] float64 on the CPU, summing to 0 over the finite ones; +inf where the total is 0
    status: Status
    residual: float  # max_k |Σ_n g_nk − M_k| / N, in float64, before the targets are cast
    iterations: int  # accepted steps
    passes: int  # sweeps over the matrix: checking the input, each step tried, writing the targets
    message: str


def describe(problem: Problem, outcome: Outcome, tolerance: float) -> str:
    """The message of a Solution: the verdict, advice if it is not convergence, and the problem's notes."""
    reached = f"The column sums are within {outcome.dual.residual:.2g} N of the totals (tolerance {tolerance:.2g})."
    return " ".join(filter(None, [reached, _advice(problem, outcome), *problem.notes]))


def _advice(problem: Problem, outcome: Outcome) -> str:
    if outcome.status == "converged":
        return ""
    if outcome.status == "max_iterations":
        return f"Stopped after {outcome.iterations} iterations; raise max_iterations or the tolerance.{_doubt(problem)}"
    if outcome.status == "stalled":
        return (
            "No step makes progress in float64; raise the tolerance, or bring the weights and log-probabilities "
            f"into a narrower range.{_doubt(problem)}"
        )
    if problem.stranded:
        return (
            f"No targets meet the totals: {problem.stranded} rows are -inf in every class whose total is above 0. "
            "The targets returned are the reference; give these classes a total, or these rows finite entries."
        )
    return (
        "No targets meet the totals: the -inf entries of log_reference leave some classes too little room, or too "
        "much; replace them by finite log-probabilities or change the totals."
    )


def _doubt(problem: Problem) -> str:
    """Entries of −inf may put the totals out of reach without the dual bound having shown it yet."""
    if math.isinf(problem.largest_objective):
        return ""
    return " It is not known whether the -inf entries of log_reference allow these totals at all."
