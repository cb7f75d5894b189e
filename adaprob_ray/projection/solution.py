"""What a solver leaves (Outcome) and what the caller gets (Solution): targets with a status, never a bare tensor.

Axes: N rows, K classes, C classes whose total is above 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from torch import Tensor

from adaprob_ray.projection.dual import Dual, Vector

Targets = TypeVar("Targets", Tensor, Iterable[Tensor])
Status = Literal["converged", "stalled", "infeasible", "max_iterations", "diverged"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Where a solver stopped, D there, and the residuals at every α that it tried on all rows, the first at α = 0."""

    alpha_C: Vector
    dual: Dual
    status: Status
    iterations: int
    trajectory: list[float]
    step_size: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution(Generic[Targets]):
    """g_nk ∝ r_nk exp(−α_k / w_n), the optimum of the paper's Eq. (1)-(4) where `status` is "converged".

    `message` says in words what the status means here and what can be done. No field ever holds NaN.
    """

    targets: Targets
    """g [N, K] in the dtype of log_reference, blocks where that was given in blocks. Rows sum to 1 whatever the status, but for
    `normalise=False`. Where the totals are infeasible this is the reference, over all classes."""
    multipliers: Tensor
    """α [K] float64 on the CPU, summing to 0 over the finite ones (but for `normalise=False`); +inf where the total is 0;
    all 0 where the totals are infeasible."""
    status: Status
    residual: float
    """max_k |Σ_n g_nk − M_k| / N, in float64, before the targets are cast."""
    iterations: int
    """Accepted steps."""
    passes: int
    """Softmaxes over all rows, rounded up: the check, each α tried, those on a sample by its rows, and writing the targets
    unless the last α tried did that in passing."""
    message: str
    trajectory: Tensor
    """The residual [passes over all rows] float64 at each α tried, in order."""
    row_error: float
    """max_n |Σ_k g_nk − 1|: 0 but for `normalise=False`."""
    step_size: float | None
    """η of `dual_ascent`, None for other solvers."""


def message(outcome: Outcome, tolerance: float, *notes: str) -> str:
    """The verdict, advice if it is not convergence, and the notes."""
    reached = f"The column sums are within {outcome.dual.residual:.2g} N of the totals (tolerance {tolerance:.2g})."
    return " ".join(filter(None, [reached, _advice(outcome), *notes]))


def _advice(outcome: Outcome) -> str:
    other = ", or take solver='newton'" if outcome.dual.row_error == 0 else ""  # which solves the normalised problem
    if outcome.status == "max_iterations":
        faster = f" or step_size{other}" if outcome.step_size is not None else " or the tolerance"
        return f"Stopped after {outcome.iterations} iterations; raise max_iterations{faster}."
    if outcome.status == "stalled":
        return (
            f"No step makes progress in float64 below a residual of {outcome.dual.residual:.2g}; raise the tolerance, or "
            "bring the weights and log-probabilities into a narrower range."
        )
    if outcome.status == "diverged":
        return (
            f"A step of size {outcome.step_size:.3g} led to a dual above the one at the start; lower step_size, or leave it "
            f"out for one that cannot diverge{other}. The targets are those before that step."
        )
    return ""
