"""Validation of a projection's input: its faults, or the Problem and its dual at α = 0, in one pass over the rows.

Axes: N rows, B rows of one chunk, K classes, C classes whose total is above 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection.chunks import MAX_SAFE_EXPONENT, ChunkAccumulator, ChunkResult, WorkCounter, split
from adaprob_ray.projection.dual import Dual, Problem
from adaprob_ray.projection.feasibility import Support
from adaprob_ray.projection.row_source import open_source

# Up to this many classes a Hessian costs less than half a pass, so that the first pass may compute one that is never used.
MAX_CLASSES_FREE_HESSIAN = 32

# Totals may miss N by this fraction of it, which is about the error of totals that were summed in float32. A gap above
# rounding in float64 is mentioned in the solution's message.
MAX_TOTALS_GAP, MIN_REPORTED_GAP = 1e-6, 1e-12

# One row in seven is enough to estimate the mean log-odds. No usual number of classes is a multiple of 7, so that rows in an
# order of classes are sampled evenly.
LOG_ODDS_STRIDE = 7

# Weights are raised to this fraction of the largest, since sums of 1/w must not overflow.
MIN_RELATIVE_WEIGHT = 1e-200

_EPS = torch.finfo(torch.float64).eps


def validate(
    log_reference: Any, weights: Any, totals: Any, *, curvature: bool = False, normalize: bool = True
) -> tuple[Problem, Dual, str]:
    """The Problem, its dual at α = 0 (with its Hessian if `curvature` and that is nearly free), and a note on the totals.

    Raises InputError with a line for each fault.
    """
    source = open_source(log_reference)
    rows = len(source.reference) if isinstance(source.reference, Tensor) else None
    weights_N, weight_fault = _vector("weights", weights, rows, "a number above 0 for each row")
    totals_K, total_fault = _vector("totals", totals, source.classes, "a number of at least 0 for each class")
    rows = rows if weight_fault else len(weights_N)
    faults = [weight_fault or _weights_fault(weights_N), total_fault or _totals_fault(totals_K, rows)]
    if any(faults):
        raise InputError(*filter(None, faults))
    rows, total = len(weights_N), float(totals_K.sum())
    totals_K = totals_K * (rows / total)
    # A class whose total is 0 is dropped, except from Eq. (6) as printed, in which it changes no other class.
    columns_C = totals_K.nonzero().squeeze(1) if normalize else torch.arange(len(totals_K))
    largest_weight = float(weights_N.max())
    relative_N = (weights_N / largest_weight).clamp(min=MIN_RELATIVE_WEIGHT).to(source.device)
    problem = Problem(
        source=source,
        rows=rows,
        size=rows,
        weights_N=relative_N,
        counts_N=None,
        logsumexp_N=torch.zeros_like(relative_N),
        largest_weight=largest_weight,
        totals_C=totals_K[columns_C].numpy(),
        columns_C=None if len(columns_C) == len(totals_K) else columns_C.to(source.device),
        support=Support(len(columns_C)),
        work=WorkCounter(),
        normalize=normalize,
    )
    # The scan fills in the problem's logsumexp_N, support and log_odds.
    start = _Scan(problem, curvature=curvature and problem.classes <= MAX_CLASSES_FREE_HESSIAN).run()
    note = f"The totals summed to {total!r} instead of {rows} and were multiplied by {rows / total!r}."
    return problem, start, note if abs(total - rows) > MIN_REPORTED_GAP * rows else ""


class _Scan:
    """The first pass: each row's log-sum-exp, the supports, the sums of the dual at α = 0, and rows that are not valid."""

    def __init__(self, problem: Problem, *, curvature: bool) -> None:
        self.problem, self.sums = problem, ChunkAccumulator(problem, curvature=curvature)
        self.invalid_rows: list[tuple[int, str]] = []
        self.log_odds_sum, self.log_odds_rows = 0.0, 0

    def run(self) -> Dual:
        problem = self.problem
        problem.work.rows += problem.rows
        row_count = 0
        for block in problem.source.blocks():
            # Surplus blocks are only counted, so that the message can name the number of rows.
            if row_count + len(block) <= problem.rows:
                for rows, log_BK in split(block, row_count, None):
                    self._add(rows, log_BK)
            row_count += len(block)
        if row_count != problem.rows:
            raise InputError(
                f"weights: must hold a number above 0 for each row, shape [{row_count}], got shape [{problem.rows}]"
            )
        if self.invalid_rows:
            row, content = self.invalid_rows[0]
            raise InputError(
                "log_reference: must hold finite numbers or -inf, with a finite one in each row, "
                f"got {content} in row {row} ({len(self.invalid_rows)} such rows)"
            )
        problem.log_odds = self.log_odds_sum / self.log_odds_rows
        return problem.dual_from_sums(self.sums, np.zeros(problem.classes))

    def _add(self, rows: slice, log_BK: Tensor) -> None:
        problem = self.problem
        smallest, largest = map(float, torch.aminmax(log_BK))
        # All entries are finite and exp of them is safe: rows need neither a check nor a shift.
        if smallest >= -MAX_SAFE_EXPONENT and largest <= MAX_SAFE_EXPONENT:
            log_BC, max_B = log_BK if problem.columns_C is None else log_BK.index_select(1, problem.columns_C), None
            problem.support.add_full(len(log_BC))
        # Entries are large, infinite or NaN: rows without a finite maximum are invalid, others are shifted by it.
        else:
            max_B = log_BK.amax(dim=1).to(torch.float64)
            if not bool(max_B.isfinite().all()):
                for row in (~max_B.isfinite()).nonzero().squeeze(1).tolist():
                    content = "only -inf" if max_B[row] == -torch.inf else "NaN or +inf"
                    self.invalid_rows.append((rows.start + row, content))
                return
            log_BC = log_BK
            # A row may have no finite entry in the remaining classes. Its maximum is then replaced by a finite number.
            if problem.columns_C is not None:
                log_BC = log_BK.index_select(1, problem.columns_C)
                max_B = log_BC.amax(dim=1).to(torch.float64).clamp(min=-torch.finfo(torch.float64).max)
            if bool(log_BC.amin() == -torch.inf):
                problem.support.add(log_BC > -torch.inf)
            else:
                problem.support.add_full(len(log_BC))
        exp_BC = problem.buffer("exp", log_BC.shape, torch.float64)
        # exp is taken with as few operations as the dtype and the shift allow.
        if max_B is not None:
            torch.exp(exp_BC.copy_(log_BC).sub_(max_B[:, None]), out=exp_BC)
        elif log_BC.dtype == torch.float64:
            torch.exp(log_BC, out=exp_BC)
        else:
            exp_BC.copy_(log_BC).exp_()
        sum_B = exp_BC.sum(dim=1)
        problem.logsumexp_N[rows] = sum_B.log() if max_B is None else sum_B.log().add_(max_B)
        self._add_log_odds(exp_BC[::LOG_ODDS_STRIDE], sum_B[::LOG_ODDS_STRIDE])
        self.sums.add(ChunkResult(problem.constants(rows), exp_BC, sum_B, torch.zeros_like(sum_B)))

    def _add_log_odds(self, exp_BC: Tensor, sum_B: Tensor) -> None:
        """Add log p / (1 − p) of the most probable class of these rows."""
        max_B = exp_BC.contiguous().amax(dim=1)
        self.log_odds_sum += float((max_B / (sum_B - max_B).clamp_(min=_EPS * sum_B)).log_().sum())
        self.log_odds_rows += len(sum_B)


def _vector(name: str, values: Any, length: int | None, content: str) -> tuple[Tensor, str | None]:
    """`values` as a float64 tensor on the CPU, or the fault in its type or shape."""
    try:
        if values is None:
            raise TypeError
        tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, dtype=np.float64))
        vector = tensor.detach().to_dense().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return torch.empty(0), f"{name}: must hold {content}, got {type(values).__name__} {values!r:.60}"
    if vector.ndim != 1 or len(vector) != (len(vector) if length is None else length) or not len(vector):
        expected_length = "rows" if length is None else length
        return vector, f"{name}: must hold {content}, shape [{expected_length}], got shape {list(vector.shape)}"
    return vector, None


def _weights_fault(weights_N: Tensor) -> str | None:
    invalid_N = ~((weights_N > 0) & (weights_N < torch.inf))
    if not invalid_N.any():
        return None
    row, count = int(invalid_N.nonzero()[0]), int(invalid_N.sum())
    return f"weights: must be finite and above 0, got {float(weights_N[row])!r} in row {row} ({count} such rows)"


def _totals_fault(totals_K: Tensor, rows: int | None) -> str | None:
    invalid_K = ~((totals_K >= 0) & totals_K.isfinite())
    if invalid_K.any():
        k = int(invalid_K.nonzero()[0])
        return f"totals: must be finite and at least 0, got {float(totals_K[k])!r} for class {k}"
    total = float(totals_K.sum())
    if rows is not None and abs(total - rows) > MAX_TOTALS_GAP * rows:
        return (
            f"totals: must sum to the number of rows, {rows}, to within {MAX_TOTALS_GAP} of it, got a sum of {total!r}"
        )
    return None
