"""What a solver returns (SolverResult) and what the caller receives (Solution): targets with a status, never a bare tensor.

Axes: N rows, K classes, C classes whose total is above 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from torch import Tensor

from adaprob_ray.projection.chunks import Vector
from adaprob_ray.projection.dual import Dual

Targets = TypeVar("Targets", Tensor, Iterable[Tensor])
Status = Literal["converged", "stalled", "infeasible", "max_iterations", "diverged"]


@dataclass(frozen=True, eq=False)
class SolverResult:
    """The last α of a solver, D there, and the residual at every α that was evaluated on all rows, beginning with α = 0."""

    alpha_C: Vector
    dual: Dual
    status: Status
    iterations: int
    trajectory: list[float]
    step_size: float | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution(Generic[Targets]):
    """The result of `project`.

        g_nk ∝ r_nk exp(−α_k / w_n),

    which is the optimum of the paper's Eq. (1)-(4) if `status` is "converged". No field ever holds NaN.

    Attributes:
        targets: g [N, K] in the dtype of log_reference, or blocks of it if that came in blocks. Rows sum to 1 whatever the
            status, except with `normalise=False`. If the totals are infeasible this is the normalized reference.
        multipliers: α [K], float64 on the CPU, in the units of the weights. The finite ones sum to 0, except with
            `normalise=False`; it is +inf where the total is 0, and all 0 if the totals are infeasible.
        status: "converged" (the residual is within the tolerance), "max_iterations", "stalled" (no step makes progress in
            float64), "diverged" (dual_ascent only: `step_size` is too large) or "infeasible" (no targets meet the totals).
        residual: `max_k |Σ_n g_nk − M_k| / N`, in float64, before the targets are cast.
        iterations: accepted steps.
        passes: softmax evaluations of all rows, rounded up: the validation of the input, each α that was evaluated (on a
            sample in proportion to its rows), and writing the targets unless the last evaluation did so.
        message: the status in words, with advice if the solver did not converge.
        trajectory: residuals [number of α's evaluated on all rows], float64, in order, beginning with α = 0.
        row_error: `max_n |Σ_k g_nk − 1|`: 0, except with `normalise=False`.
        step_size: η of dual_ascent, None for other solvers.

    Example:
        >>> import torch
        >>> from adaprob_ray.projection import project
        >>> solution = project(torch.zeros(3, 2), weights=torch.ones(3), totals=[2.0, 1.0])
        >>> solution.status, round(float(solution.multipliers.diff()), 4)
        ('converged', 0.6931)
    """

    targets: Targets
    multipliers: Tensor
    status: Status
    residual: float
    iterations: int
    passes: int
    message: str
    trajectory: Tensor
    row_error: float
    step_size: float | None


def status_message(result: SolverResult, tolerance: float, *notes: str) -> str:
    """The residual, advice if the solver did not converge, and the notes."""
    residual = f"The column sums are within {result.dual.residual:.2g} N of the totals (tolerance {tolerance:.2g})."
    return " ".join(filter(None, [residual, _advice(result), *notes]))


def _advice(result: SolverResult) -> str:
    # Newton's method solves the normalized problem only, so it is no alternative where rows do not sum to 1.
    alternative = ", or use solver='newton'" if result.dual.row_error == 0 else ""
    if result.status == "max_iterations":
        setting = f" or step_size{alternative}" if result.step_size is not None else " or the tolerance"
        return f"Stopped after {result.iterations} iterations; raise max_iterations{setting}."
    if result.status == "stalled":
        return (
            f"No step makes progress in float64 below a residual of {result.dual.residual:.2g}; raise the tolerance, or "
            "bring the weights and log-probabilities into a narrower range."
        )
    if result.status == "diverged":
        return (
            f"A step of size {result.step_size:.3g} raised the dual above its value at the start; lower step_size, or omit it "
            f"for a default that cannot diverge{alternative}. The targets are those before that step."
        )
    return ""
