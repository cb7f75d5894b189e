"""The projection of the paper's Eq. (1)-(4): the nearest probabilities with given column sums.

    minimize over g  Σ_n w_n KL(g_n ‖ r_n)   with  Σ_k g_nk = 1,  Σ_n g_nk = M_k,  0 ≤ g_nk ≤ 1

Eq. (1) has w = 1 on forget rows and w = λ on retain rows. Its dual has one unknown per class (dual.py) and is evaluated in
chunks of rows (chunks.py). Three solvers minimize it: `newton` (fast), `dual_ascent` (the paper's Eq. (6)-(7)) and `scaling`
(slow and simple). row_source.py reads the rows, validation.py and feasibility.py check the input, and solution.py holds the
result. The derivation is in docs/projection.md.

Axes: N rows, K classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.errors import InputError, unknown_name
from adaprob_ray.projection import dual_ascent, newton, scaling
from adaprob_ray.projection.dual import Problem
from adaprob_ray.projection.feasibility import Violation
from adaprob_ray.projection.row_source import RowBlocks
from adaprob_ray.projection.solution import Solution, SolverResult, status_message
from adaprob_ray.projection.validation import validate

__all__ = ["SOLVERS", "RowBlocks", "Solution", "project"]

SOLVERS = ("newton", "dual_ascent", "scaling")

# A message lists at most this many classes, so that it stays readable with a thousand of them.
MAX_CLASSES_IN_MESSAGE = 10


class Options(TypedDict, total=False):
    """The keyword arguments of `project`."""

    solver: str
    tolerance: float
    max_iterations: int
    step_size: float | None
    normalise: bool


@overload
def project(log_reference: Tensor, weights: Any, totals: Any, **options: Unpack[Options]) -> Solution[Tensor]: ...


@overload
def project(
    log_reference: Iterable[Any], weights: Any, totals: Any, **options: Unpack[Options]
) -> Solution[Iterable[Tensor]]: ...


def project(
    log_reference: Tensor | Iterable[Any],
    weights: Any,
    totals: Any,
    *,
    solver: str = "newton",
    tolerance: float = 1e-9,
    max_iterations: int = 100,
    step_size: float | None = None,
    normalise: bool = True,
) -> Solution[Any]:
    """Find the probabilities nearest to a reference whose columns sum to given totals.

        g* = argmin over g  Σ_n w_n KL(g_n ‖ r_n)   with  Σ_k g_nk = 1,  Σ_n g_nk = M_k,  0 ≤ g_nk ≤ 1

    This is the paper's Eq. (1)-(4). Sums are float64 whatever the dtype, and rows are processed in chunks: memory beyond input
    and output is O(N + chunk · K + K²), and for newton a sixteenth of the rows.

    Args:
        log_reference: log r [N, K], in float16, bfloat16, float32 or float64, on any device. Rows are normalized by
            log-softmax, so logits may be passed as they are. An entry of −inf keeps its target at 0 and may make the totals
            infeasible. Instead of a tensor it may be an iterable of blocks of rows that can be iterated several times, such
            as a list of tensors, or RowBlocks of a memory-mapped file; the targets are then blocks too.
        weights: w [N] > 0, tensor, array or sequence. Only ratios matter to the targets; multipliers scale with them.
        totals: M [K] ≥ 0 with sum N, in rows. A gap of up to 1e-6 N is scaled away, which the message mentions. A class
            whose total is exactly 0 is dropped: its targets are 0 and its multiplier is +inf.
        solver: "newton"; "dual_ascent", the paper's Eq. (6)-(7); or "scaling", generalized iterative scaling.
        tolerance: upper bound on `max_k |Σ_n g_nk − M_k| / N`, a fraction of the rows.
        max_iterations: upper bound on accepted steps.
        step_size: η of dual_ascent; by default one that cannot diverge. No other solver takes it.
        normalise: False, with dual_ascent only, solves Eq. (6) as printed, whose rows do not sum to 1 (Solution.row_error).

    Returns:
        A Solution with the targets g [N, K] in the dtype of `log_reference`, multipliers α [K], and a `status`. A well-formed
        problem never raises: the status is "converged", "stalled", "infeasible" (only if proved; the message names the
        classes), "max_iterations" or "diverged".

    Raises:
        InputError: an argument has a wrong type, shape or value; one line for each.

    Example:
        >>> import torch
        >>> reference = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)
        >>> solution = project(reference.log(), weights=[1.0, 4.0, 4.0], totals=[1.5, 1.5])
        >>> solution.status
        'converged'
        >>> solution.targets.sum(0), solution.targets.sum(1)
        (tensor([1.5000, 1.5000], dtype=torch.float64), tensor([1., 1., 1.], dtype=torch.float64))
    """
    _check_options(solver, tolerance, max_iterations, step_size, normalise)
    problem, start, note = validate(log_reference, weights, totals, curvature=solver == "newton", normalise=normalise)
    violation = problem.support.violation(problem.totals_C) if normalise else None
    if violation is not None:
        return _infeasible(log_reference, problem, violation, note)
    if solver == "newton":
        result = newton.minimize(problem, start, tolerance=tolerance, max_iterations=max_iterations)
    elif solver == "scaling":
        result = scaling.minimize(problem, start, tolerance=tolerance, max_iterations=max_iterations)
    else:
        result = dual_ascent.minimize(
            problem, start, tolerance=tolerance, max_iterations=max_iterations, step_size=step_size
        )
    return _solution(problem, result, status_message(result, tolerance, note))


def _solution(problem: Problem, result: SolverResult, text: str) -> Solution[Any]:
    targets = problem.targets(result.alpha_C)
    # Targets in blocks are computed only when they are read, which takes one more pass.
    target_rows = 0 if problem.source.in_memory else problem.rows
    return Solution(
        targets=targets,
        multipliers=problem.multipliers(result.alpha_C),
        status=result.status,
        residual=result.dual.residual,
        iterations=result.iterations,
        passes=math.ceil((problem.work.rows + target_rows) / problem.rows),
        message=text,
        trajectory=torch.tensor(result.trajectory, dtype=torch.float64),
        row_error=result.dual.row_error,
        step_size=result.step_size,
    )


def _infeasible(log_reference: Any, problem: Problem, violation: Violation, note: str) -> Solution[Any]:
    """The normalized reference over all classes, and a message that names the classes whose totals cannot be met."""
    classes_C = np.arange(problem.source.classes) if problem.columns_C is None else problem.columns_C.cpu().numpy()
    names = ", ".join(map(str, classes_C[violation.classes_S][:MAX_CLASSES_IN_MESSAGE]))
    surplus = len(violation.classes_S) - MAX_CLASSES_IN_MESSAGE
    text = (
        f"The totals cannot be met: those of classes {names}{f' and {surplus} more' if surplus > 0 else ''} sum to "
        f"{violation.total:.10g}, but only {violation.rows} of the {problem.rows} rows have a finite entry in any of these "
        "classes. Lower these totals, or provide finite entries in more rows. The returned targets are the reference."
    )
    # Uniform totals are feasible in form and drop no class, so that their problem at α = 0 has the reference as its targets.
    uniform_K = np.full(problem.source.classes, problem.rows / problem.source.classes)
    reference, start, _ = validate(log_reference, np.ones(problem.rows), uniform_K)
    reference.work.rows += problem.work.rows
    totals_K = np.zeros_like(uniform_K)
    totals_K[classes_C] = problem.totals_C
    gradient_K = start.gradient_C - uniform_K + totals_K
    residual = float(np.abs(gradient_K).max()) / problem.rows
    start = dataclasses.replace(start, gradient_C=gradient_K, residual=residual)
    result = SolverResult(np.zeros_like(uniform_K), start, "infeasible", 0, [residual])
    return _solution(reference, result, " ".join(filter(None, [text, note])))


def _check_options(
    solver: str, tolerance: float, max_iterations: int, step_size: float | None, normalise: bool
) -> None:
    faults = []
    if solver not in SOLVERS:
        faults.append(unknown_name("solver", solver, SOLVERS))
    if not _is_positive(tolerance):
        faults.append(f"tolerance: must be a finite number above 0, got {tolerance!r}")
    is_integer = isinstance(max_iterations, (int, np.integer)) and not isinstance(max_iterations, bool)
    if not (is_integer and max_iterations >= 1):
        faults.append(f"max_iterations: must be an integer of at least 1, got {max_iterations!r}")
    if step_size is not None and not _is_positive(step_size):
        faults.append(f"step_size: must be a finite number above 0, got {step_size!r}")
    if step_size is not None and solver in SOLVERS and solver != "dual_ascent":
        faults.append(f"step_size: must be None unless solver='dual_ascent', got {step_size!r} with solver={solver!r}")
    if not normalise and solver in SOLVERS and solver != "dual_ascent":
        faults.append(f"normalise: must be True unless solver='dual_ascent', got False with solver={solver!r}")
    if faults:
        raise InputError(*faults)


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and bool(0 < value < math.inf)
