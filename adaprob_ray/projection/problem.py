"""The projection's input, checked, and its dual: value, gradient and Hessian in one sweep over blocks of rows.

    D(α) = Σ_n w_n log Σ_k r_nk exp(−α_k / w_n) + Σ_k α_k M_k

is to be minimised; it is the negative of the paper's Lagrangian, Eq. (5), at its minimum over g, once the row sums of
Eq. (3), which Eq. (5) leaves out, are held at 1. The minimum over g is Eq. (6) with the rows normalised,

    g_nk ∝ r_nk exp(−α_k / w_n),   ∂D/∂α_k = M_k − Σ_n g_nk,   ∂²D = Σ_n (diag g_n − g_n g_nᵀ) / w_n,

and −D(α) is a lower bound of the objective of Eq. (1) at every α, equal to it at the optimum.

g depends on α / w alone, so the weights here are relative to the largest, and α and D with them.

Axes: N rows, B rows of one block, K classes, C classes whose total is above 0 (the others are dropped: their targets
are 0 in every feasible solution, and their multipliers +∞).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaprob_ray.errors import InputError

BLOCK_ROWS = 16384  # a block in float64 with 1,000 classes is 128 MiB
TOTALS_GAP = 1e-6  # of N: totals that were added up in float32 miss it by up to about this much
_EPS, _TINY = torch.finfo(torch.float64).eps, torch.finfo(torch.float64).tiny


@dataclass(frozen=True, eq=False, kw_only=True)
class Dual:
    """D and its derivatives at one α, in float64 on the CPU.

    `rounding` is how far `value` may be off; `residual` is max_k |∂D/∂α_k| / N.
    """

    value: float
    rounding: float
    gradient_C: Tensor
    hessian_CC: Tensor
    residual: float

    @property
    def finite(self) -> bool:
        """False where α / w or w log r overflowed."""
        return math.isfinite(self.value) and bool(self.gradient_C.isfinite().all() and self.hessian_CC.isfinite().all())


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """One projection; `log_mass_N` is each row's log-sum-exp, so that r = exp(log_reference_NK − log_mass_N).

    `largest_objective` is Σ_n w_n max_k (−log r_nk) over the finite entries: the objective of Eq. (1) exceeds it at no
    feasible g, so an α with −D(α) above it proves that no g is feasible. It is +∞ where all entries are finite and
    totals above 0 can always be met. `stranded` counts the rows that are −inf in every class whose total is above 0:
    with one of them nothing is feasible, and C = K, as without the dropped classes such a row has no distribution.
    """

    log_reference_NK: Tensor
    log_mass_N: Tensor
    weights_N: Tensor
    largest_weight: float
    totals_C: Tensor
    kept_C: Tensor
    largest_objective: float
    stranded: int
    notes: tuple[str, ...]

    def sweep(self, alpha_C: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """For each block its rows, log Σ_k r_nk exp(−α_k / w_n) and g_BC of Eq. (6); one pass over the matrix."""
        alpha_C = alpha_C.to(self.log_reference_NK.device)
        for rows, log_BK in blocks(self.log_reference_NK):
            tilted_BC = log_BK.index_select(1, self.kept_C) - alpha_C / self.weights_N[rows, None]
            top_B = tilted_BC.amax(dim=1)
            g_BC = tilted_BC.sub_(top_B[:, None]).exp_()
            sum_B = g_BC.sum(dim=1)
            yield rows, top_B + sum_B.log() - self.log_mass_N[rows], g_BC.div_(sum_B[:, None])

    def dual(self, alpha_C: Tensor) -> Dual:
        """D(α), its gradient and its Hessian.

        Only the off-diagonal part of the Hessian is summed. Its rows sum to 0, so the diagonal follows without the
        cancellation in g − g², which would lose all digits where rows are within 1e-16 of one-hot. A row's share of the
        rounding is that of the sums that its log-partition is the difference of, also where the difference is 0.
        """
        device = self.log_reference_NK.device
        size = len(self.kept_C)
        mass_C = torch.zeros(size, dtype=torch.float64, device=device)
        coupling_CC = torch.zeros(size, size, dtype=torch.float64, device=device)
        value, magnitude = torch.zeros(2, dtype=torch.float64, device=device)
        for rows, log_partition_B, g_BC in self.sweep(alpha_C):
            weights_B = self.weights_N[rows]
            value += weights_B @ log_partition_B
            magnitude += weights_B @ (1 + log_partition_B.abs() + 2 * self.log_mass_N[rows].abs())
            mass_C += g_BC.sum(dim=0)
            coupling_CC += (g_BC / weights_B[:, None]).T @ g_BC
        coupling_CC.fill_diagonal_(0.0)
        gradient_C = self.totals_C - mass_C.cpu()
        return Dual(
            value=float(value) + float(alpha_C @ self.totals_C),
            rounding=_EPS * (float(magnitude) + float(alpha_C.abs().max()) * len(self.weights_N)),
            gradient_C=gradient_C,
            hessian_CC=(torch.diag(coupling_CC.sum(dim=1)) - coupling_CC).cpu(),
            residual=float(gradient_C.abs().max()) / len(self.weights_N),
        )

    def targets(self, alpha_C: Tensor) -> Tensor:
        """g_NK of Eq. (6) in the dtype of the input, with exact zeros in the dropped classes; one pass."""
        targets_NK = torch.zeros_like(self.log_reference_NK)
        for rows, _, g_BC in self.sweep(alpha_C):
            targets_NK[rows].index_copy_(1, self.kept_C, g_BC.to(targets_NK.dtype))
        return targets_NK

    def multipliers(self, alpha_C: Tensor) -> Tensor:
        """α_K for the weights as given, in the gauge Σ_C α = 0, +∞ in the dropped classes."""
        alpha_K = torch.full((self.log_reference_NK.shape[1],), torch.inf, dtype=torch.float64)
        alpha_K[self.kept_C.cpu()] = (alpha_C - alpha_C.mean()) * self.largest_weight
        return alpha_K


def blocks(matrix_NK: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The rows of the matrix, BLOCK_ROWS at a time, in float64."""
    for start in range(0, len(matrix_NK), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        yield rows, matrix_NK[rows].to(torch.float64)


def check(log_reference: Tensor, weights: Any, totals: Any) -> Problem:
    """The Problem, or InputError with a line for each fault; one pass over the matrix."""
    if fault := _matrix_fault(log_reference):
        raise InputError(fault)
    log_reference = log_reference.detach()
    rows, classes = log_reference.shape
    weights_N, weight_fault = _vector("weights", weights, rows, "a number above 0 for each row")
    totals_K, total_fault = _vector("totals", totals, classes, "a number of at least 0 for each class")
    faults = [weight_fault or _weights_fault(weights_N), total_fault or _totals_fault(totals_K, rows)]
    if any(faults):
        raise InputError(*filter(None, faults))
    return _scan(log_reference, weights_N, totals_K)


def _scan(log_reference_NK: Tensor, given_N: Tensor, totals_K: Tensor) -> Problem:
    """One pass: each row's normaliser and smallest log-probability, and whether the zero totals leave it any class."""
    largest_weight = float(given_N.max())
    weights_N = (given_N / largest_weight).clamp(min=_TINY).to(log_reference_NK.device)
    kept_C = totals_K.nonzero().squeeze(1).to(log_reference_NK.device)
    log_mass_N, least_N = torch.empty_like(weights_N), torch.empty_like(weights_N)
    full_support = True
    for rows, log_BK in blocks(log_reference_NK):
        log_mass_N[rows] = log_BK.logsumexp(dim=1)
        log_BC = log_BK.index_select(1, kept_C)
        absent_BC = log_BC == -torch.inf
        least_N[rows] = log_BC.masked_fill(absent_BC, torch.inf).amin(dim=1)
        full_support = full_support and not absent_BC.any()
    if fault := _rows_fault(log_mass_N):
        raise InputError(fault)
    stranded = int((least_N == torch.inf).sum())
    if stranded:
        kept_C = torch.arange(len(totals_K), device=log_reference_NK.device)
    rescaled_K, notes = _rescale(totals_K, len(weights_N))
    return Problem(
        log_reference_NK=log_reference_NK,
        log_mass_N=log_mass_N,
        weights_N=weights_N,
        largest_weight=largest_weight,
        totals_C=rescaled_K[kept_C.cpu()],
        kept_C=kept_C,
        largest_objective=math.inf if full_support else float(weights_N @ (log_mass_N - least_N)),
        stranded=stranded,
        notes=notes,
    )


def _rescale(totals_K: Tensor, rows: int) -> tuple[Tensor, tuple[str, ...]]:
    """Totals with sum N, and a note where the gap was more than rounding in float64."""
    given = float(totals_K.sum())
    note = f"The totals summed to {given!r} instead of {rows} and were multiplied by {rows / given!r}."
    return totals_K * (rows / given), (note,) if abs(given - rows) > 1e-12 * rows else ()


def _matrix_fault(log_reference: object) -> str | None:
    possible = "a torch tensor of log-probabilities, float32 or float64, of shape [rows, classes]"
    if not isinstance(log_reference, Tensor):
        return f"log_reference must be {possible}; given {type(log_reference).__name__}"
    if log_reference.dtype not in (torch.float32, torch.float64):
        return f"log_reference must be {possible}; given dtype {log_reference.dtype}"
    if log_reference.ndim != 2 or 0 in log_reference.shape:
        return f"log_reference must be {possible}, at least one of each; given shape {list(log_reference.shape)}"
    return None


def _vector(name: str, given: Any, length: int, possible: str) -> tuple[Tensor, str | None]:
    """`given` as a float64 tensor on the CPU, or what is wrong with its type or shape."""
    try:
        vector = torch.as_tensor(given, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError):
        return torch.empty(0), f"{name} must hold {possible}; given {type(given).__name__} {given!r:.60}"
    if vector.shape != (length,):
        return vector, f"{name} must hold {possible}, so have shape [{length}]; given shape {list(vector.shape)}"
    return vector, None


def _weights_fault(weights_N: Tensor) -> str | None:
    wrong_N = ~((weights_N > 0) & weights_N.isfinite())
    if not wrong_N.any():
        return None
    row = int(wrong_N.nonzero()[0])
    given = float(weights_N[row])
    return f"weights must be finite and above 0; given {given!r} in row {row} ({int(wrong_N.sum())} such rows)"


def _totals_fault(totals_K: Tensor, rows: int) -> str | None:
    wrong_K = ~((totals_K >= 0) & totals_K.isfinite())
    if wrong_K.any():
        k = int(wrong_K.nonzero()[0])
        return f"totals must be finite and at least 0; given {float(totals_K[k])!r} for class {k}"
    total = float(totals_K.sum())
    if abs(total - rows) > TOTALS_GAP * rows:
        return f"totals must sum to the number of rows, {rows}, to within {TOTALS_GAP} of it; given a sum of {total!r}"
    return None


def _rows_fault(log_mass_N: Tensor) -> str | None:
    """A row's log-sum-exp is finite unless the row holds NaN or +inf or nothing but −inf."""
    wrong_N = ~log_mass_N.isfinite()
    if not wrong_N.any():
        return None
    row = int(wrong_N.nonzero()[0])
    found = "only -inf" if float(log_mass_N[row]) == -torch.inf else "NaN or +inf"
    possible = "log_reference must hold finite numbers or -inf, with a finite one in each row"
    return f"{possible}; given {found} in row {row} ({int(wrong_N.sum())} such rows)"
