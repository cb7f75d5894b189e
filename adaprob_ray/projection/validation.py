"""The input of a projection, checked: what is wrong with it, or the Problem and its dual at α = 0, in one pass.

Axes: N rows, B rows of one chunk, K classes, C classes whose total is above 0.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection.dual import CHEAP, SAFE_EXPONENT, Dual, Problem, Sums, Tilted, Work, split
from adaprob_ray.projection.feasibility import Support
from adaprob_ray.projection.row_source import Source, open_source

TOTALS_GAP = 1e-6  # of N: totals that were added up in float32 miss it by up to about this much
STRIDE = 7  # one row in so many tells how confident all are; no common number of classes is a multiple of it
LEAST_WEIGHT = 1e-200  # of the largest: sums of 1/w must not overflow
_EPS = torch.finfo(torch.float64).eps


def check(
    log_reference: Any, weights: Any, totals: Any, *, curvature: bool = False, normalise: bool = True
) -> tuple[Problem, Dual, str]:
    """The Problem, its dual at α = 0 (with its Hessian, if that is wanted and cheap), and a note on the totals.

    Raises InputError with a line for each fault.
    """
    source = open_source(log_reference)
    if isinstance(source, str):
        raise InputError(source)
    rows = len(source.given) if isinstance(source.given, Tensor) else None
    weights_N, weight_fault = _vector("weights", weights, rows, "a number above 0 for each row")
    totals_K, total_fault = _vector("totals", totals, source.classes, "a number of at least 0 for each class")
    rows = rows if weight_fault else len(weights_N)
    faults = [weight_fault or _weights_fault(weights_N), total_fault or _totals_fault(totals_K, rows)]
    if any(faults):
        raise InputError(*filter(None, faults))
    rows = len(weights_N)
    totals_K, note = _rescale(totals_K, rows)
    problem = _problem(source, weights_N, totals_K, normalise)
    scan = _Scan(problem, curvature=curvature and problem.classes <= CHEAP)
    start = scan.run()
    return dataclasses.replace(problem, log_odds=scan.log_odds / scan.looked), start, note


def _problem(source: Source, given_N: Tensor, totals_K: Tensor, normalise: bool) -> Problem:
    """The Problem; its log_mass_N and its support are written by the scan."""
    largest_weight = float(given_N.max())
    kept_C = totals_K.nonzero().squeeze(1) if normalise else torch.arange(len(totals_K))
    weights_N = (given_N / largest_weight).clamp(min=LEAST_WEIGHT).to(source.device)
    return Problem(
        source=source,
        rows=len(given_N),
        size=len(given_N),
        weights_N=weights_N,
        counts_N=None,
        log_mass_N=torch.zeros_like(weights_N),
        largest_weight=largest_weight,
        totals_C=totals_K[kept_C].numpy(),
        kept_C=None if len(kept_C) == len(totals_K) else kept_C.to(source.device),
        support=Support(len(kept_C)),
        work=Work(),
        normalise=normalise,
    )


class _Scan:
    """The first pass: each row's normaliser, the supports, the sums of the dual at α = 0, and rows that hold no numbers."""

    def __init__(self, problem: Problem, *, curvature: bool) -> None:
        self.problem, self.sums = problem, Sums(problem, curvature=curvature)
        self.wrong: list[tuple[int, str]] = []
        self.log_odds, self.looked = 0.0, 0  # of the likeliest class against all others, summed over some rows

    def run(self) -> Dual:
        problem = self.problem
        problem.work.rows += problem.rows
        at = 0
        for block in problem.source.blocks():
            if at + len(block) <= problem.rows:
                for rows, log_BK in split(block, at, None):
                    self._add(rows, log_BK)
            at += len(block)
        if at != problem.rows:
            raise InputError(
                f"weights must hold a number above 0 for each row, so have shape [{at}]; given shape [{problem.rows}]"
            )
        if self.wrong:
            row, found = self.wrong[0]
            raise InputError(
                "log_reference must hold finite numbers or -inf, with a finite one in each row; "
                f"given {found} in row {row} ({len(self.wrong)} such rows)"
            )
        return self.sums.dual(np.zeros(problem.classes))

    def _add(self, rows: slice, log_BK: Tensor) -> None:
        problem = self.problem
        least, most = map(float, torch.aminmax(log_BK))
        if least >= -SAFE_EXPONENT and most <= SAFE_EXPONENT:
            log_BC, top_B = log_BK if problem.kept_C is None else log_BK.index_select(1, problem.kept_C), None
            problem.support.add_full(len(log_BC))
        else:
            top_B = log_BK.amax(dim=1).to(torch.float64)
            if not bool(top_B.isfinite().all()):
                for row in (~top_B.isfinite()).nonzero().squeeze(1).tolist():
                    self.wrong.append((rows.start + row, "only -inf" if top_B[row] == -torch.inf else "NaN or +inf"))
                return
            log_BC = log_BK
            if problem.kept_C is not None:  # a row may have no kept class at all
                log_BC = log_BK.index_select(1, problem.kept_C)
                top_B = log_BC.amax(dim=1).to(torch.float64).clamp(min=-torch.finfo(torch.float64).max)
            if bool(log_BC.amin() == -torch.inf):
                problem.support.add(log_BC > -torch.inf)
            else:
                problem.support.add_full(len(log_BC))
        exp_BC = problem.room("tilt", log_BC.shape, torch.float64)
        if top_B is not None:
            torch.exp(exp_BC.copy_(log_BC).sub_(top_B[:, None]), out=exp_BC)
        elif log_BC.dtype == torch.float64:
            torch.exp(log_BC, out=exp_BC)
        else:
            exp_BC.copy_(log_BC).exp_()
        sum_B = exp_BC.sum(dim=1)
        problem.log_mass_N[rows] = sum_B.log() if top_B is None else sum_B.log().add_(top_B)
        self._look(exp_BC[::STRIDE], sum_B[::STRIDE])
        self.sums.add(Tilted(problem.constants(rows), exp_BC, sum_B, torch.zeros_like(sum_B)))

    def _look(self, exp_BC: Tensor, sum_B: Tensor) -> None:
        """At how confident these rows are."""
        top_B = exp_BC.contiguous().amax(dim=1)
        self.log_odds += float((top_B / (sum_B - top_B).clamp_(min=_EPS * sum_B)).log_().sum())
        self.looked += len(sum_B)


def _rescale(totals_K: Tensor, rows: int) -> tuple[Tensor, str]:
    """Totals with sum N, and a note where the gap was more than rounding in float64."""
    given = float(totals_K.sum())
    note = f"The totals summed to {given!r} instead of {rows} and were multiplied by {rows / given!r}."
    return totals_K * (rows / given), note if abs(given - rows) > 1e-12 * rows else ""


def _vector(name: str, given: Any, length: int | None, possible: str) -> tuple[Tensor, str | None]:
    """`given` as a float64 tensor on the CPU, or what is wrong with its type or shape."""
    try:
        if given is None:
            raise TypeError
        tensor = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given, dtype=np.float64))
        vector = tensor.detach().to_dense().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return torch.empty(0), f"{name} must hold {possible}; given {type(given).__name__} {given!r:.60}"
    if vector.ndim != 1 or len(vector) != (len(vector) if length is None else length) or not len(vector):
        wanted = "rows" if length is None else length
        return vector, f"{name} must hold {possible}, so have shape [{wanted}]; given shape {list(vector.shape)}"
    return vector, None


def _weights_fault(weights_N: Tensor) -> str | None:
    wrong_N = ~((weights_N > 0) & (weights_N < torch.inf))
    if not wrong_N.any():
        return None
    row = int(wrong_N.nonzero()[0])
    given = float(weights_N[row])
    return f"weights must be finite and above 0; given {given!r} in row {row} ({int(wrong_N.sum())} such rows)"


def _totals_fault(totals_K: Tensor, rows: int | None) -> str | None:
    wrong_K = ~((totals_K >= 0) & totals_K.isfinite())
    if wrong_K.any():
        k = int(wrong_K.nonzero()[0])
        return f"totals must be finite and at least 0; given {float(totals_K[k])!r} for class {k}"
    total = float(totals_K.sum())
    if rows is not None and abs(total - rows) > TOTALS_GAP * rows:
        return f"totals must sum to the number of rows, {rows}, to within {TOTALS_GAP} of it; given a sum of {total!r}"
    return None
