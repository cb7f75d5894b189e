"""The projection of the paper's Eq. (1)-(4): the nearest probabilities with given column sums.

    minimise over g  Σ_n w_n KL(g_n ‖ r_n)   with  Σ_k g_nk = 1,  Σ_n g_nk = M_k,  0 ≤ g_nk ≤ 1

Eq. (1) has w = 1 on forget rows and w = λ on retain rows. Its dual has one unknown a class (problem.py). Three solvers:
`newton` (fast), `dual_ascent` (the paper's Eq. (6)-(7)) and `scaling` (slow and sure). source.py is where rows are read,
validation.py and feasibility.py what may be asked, solution.py what comes back. The derivation is in docs/projection.md.

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
from adaprob_ray.projection.solution import Outcome, Solution, message
from adaprob_ray.projection.validation import check

__all__ = ["SOLVERS", "RowBlocks", "Solution", "project"]

SOLVERS = ("newton", "dual_ascent", "scaling")
MOST_CLASSES = 10  # named in a message


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
    """g* = argmin Σ_n w_n KL(g_n ‖ r_n) under the paper's Eq. (2)-(4).

    log_reference: log r [N, K], float16, bfloat16, float32 or float64, on any device; or blocks of its rows that can be
        read again and again, such as a list of tensors or RowBlocks of a memory-mapped file: the targets are then blocks
        too. Rows are normalised here by log-softmax, so logits do as well. An entry of −inf keeps its target at 0 and may
        make the totals infeasible.
    weights: w [N] > 0.  totals: M [K] ≥ 0 with sum N; a gap of up to 1e-6 N is scaled away, and the message says so.
    solver: "newton"; "dual_ascent", the paper's Eq. (6)-(7) with step size η = `step_size` (default: one that cannot
        diverge); or "scaling", generalised iterative scaling.
    tolerance: on max_k |Σ_n g_nk − M_k| / N.  max_iterations: accepted steps.
    normalise: False, with dual_ascent only, is Eq. (6) as printed, whose rows do not sum to 1: see Solution.row_error.

    A class whose total is exactly 0 is taken out: its targets are 0 and its multiplier +inf. Sums are float64 whatever
    the dtype, in chunks of rows: memory beyond input and output is O(N + chunk · K + K²), and for newton a sixteenth of the
    rows.

    InputError names the argument, what was given and what is possible. A problem that is well formed never raises: see
    Solution.status, one of "converged", "stalled", "infeasible" (only if proved: the message names the classes),
    "max_iterations" and "diverged".
    """
    _check_options(solver, tolerance, max_iterations, step_size, normalise)
    problem, start, note = check(log_reference, weights, totals, curvature=solver == "newton", normalise=normalise)
    violation = problem.support.violation(problem.totals_C) if normalise else None
    if violation is not None:
        return _infeasible(log_reference, problem, violation, note)
    if solver == "newton":
        outcome = newton.minimise(problem, start, tolerance=tolerance, max_iterations=max_iterations)
    elif solver == "scaling":
        outcome = scaling.minimise(problem, start, tolerance=tolerance, max_iterations=max_iterations)
    else:
        outcome = dual_ascent.minimise(
            problem, start, tolerance=tolerance, max_iterations=max_iterations, step_size=step_size
        )
    return _solution(problem, outcome, message(outcome, tolerance, note))


def _solution(problem: Problem, outcome: Outcome, text: str) -> Solution[Any]:
    targets = problem.targets(outcome.alpha_C)
    written = 0 if problem.source.whole else problem.rows  # blocks are computed when they are read
    return Solution(
        targets=targets,
        multipliers=problem.multipliers(outcome.alpha_C),
        status=outcome.status,
        residual=outcome.dual.residual,
        iterations=outcome.iterations,
        passes=math.ceil((problem.work.rows + written) / problem.rows),
        message=text,
        trajectory=torch.tensor(outcome.trajectory, dtype=torch.float64),
        row_error=outcome.dual.row_error,
        step_size=outcome.step_size,
    )


def _infeasible(log_reference: Any, problem: Problem, violation: Violation, note: str) -> Solution[Any]:
    """The reference itself, over all classes, and which classes ask for more rows than they can have."""
    kept_C = np.arange(problem.source.classes) if problem.kept_C is None else problem.kept_C.cpu().numpy()
    names = ", ".join(map(str, kept_C[violation.among][:MOST_CLASSES]))
    more = f" and {len(violation.among) - MOST_CLASSES} more" if len(violation.among) > MOST_CLASSES else ""
    text = (
        f"No targets meet the totals: classes {names}{more} ask for {violation.asked:.10g} rows together, and only "
        f"{violation.rows} of the {problem.rows} rows have a finite entry in any of them. Give these classes less, or the "
        "other rows finite entries there. The targets returned are the reference."
    )
    even = np.full(problem.source.classes, problem.rows / problem.source.classes)
    whole, start, _ = check(log_reference, np.ones(problem.rows), even)
    whole.work.rows += problem.work.rows
    totals_K = np.zeros_like(even)
    totals_K[kept_C] = problem.totals_C
    gradient_K = start.gradient_C - even + totals_K
    residual = float(np.abs(gradient_K).max()) / problem.rows
    start = dataclasses.replace(start, gradient_C=gradient_K, residual=residual)
    outcome = Outcome(np.zeros_like(even), start, "infeasible", 0, [residual])
    return _solution(whole, outcome, " ".join(filter(None, [text, note])))


def _check_options(
    solver: str, tolerance: float, max_iterations: int, step_size: float | None, normalise: bool
) -> None:
    faults = []
    if solver not in SOLVERS:
        faults.append(unknown_name("solver", solver, SOLVERS))
    if not _positive(tolerance):
        faults.append(f"tolerance must be a finite number above 0; given {tolerance!r}")
    whole = isinstance(max_iterations, (int, np.integer)) and not isinstance(max_iterations, bool)
    if not (whole and max_iterations >= 1):
        faults.append(f"max_iterations must be a whole number of at least 1; given {max_iterations!r}")
    if step_size is not None and not _positive(step_size):
        faults.append(f"step_size must be a finite number above 0; given {step_size!r}")
    if step_size is not None and solver in SOLVERS and solver != "dual_ascent":
        faults.append(f"step_size is η of solver='dual_ascent'; given {step_size!r} with solver={solver!r}")
    if not normalise and solver in SOLVERS and solver != "dual_ascent":
        faults.append(f"normalise=False is for solver='dual_ascent' only; given with solver={solver!r}")
    if faults:
        raise InputError(*faults)


def _positive(given: Any) -> bool:
    return isinstance(given, (int, float, np.number)) and bool(0 < given < math.inf)
