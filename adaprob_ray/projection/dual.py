"""The dual of Eq. (1)-(4): its value, gradient and curvature in one pass over the rows.

    D(α) = Σ_n w_n log Σ_k r_nk exp(−α_k / w_n) + Σ_k α_k M_k

is to be minimised; it is the negative of the paper's Lagrangian, Eq. (5), at its minimum over g, once the row sums of
Eq. (3), which Eq. (5) leaves out, are held at 1. The minimum over g is Eq. (6) with the rows normalised,

    g_nk ∝ r_nk exp(−α_k / w_n),   ∂D/∂α_k = M_k − Σ_n g_nk,   ∂²D = Σ_n (diag g_n − g_n g_nᵀ) / w_n,

and −D(α) is a lower bound of the objective of Eq. (1) at every α, equal to it at the optimum.

g depends on α / w alone, so the weights here are relative to the largest, and α and D with them. r is normalised over
the kept classes, which changes D by a constant.

Axes: N rows, B rows of one chunk, K classes, C classes whose total is above 0 (the others are dropped: their targets
are 0 in every feasible solution, and their multipliers +∞).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection.feasibility import Support
from adaprob_ray.projection.row_source import Source

Vector = NDArray[np.float64]

CHEAP = 32  # classes up to which a Hessian costs less than half a pass
DENSE = 256  # classes up to which the curvature is the whole Hessian, beyond it its diagonal
CHUNK = {"cpu": 2**17}  # entries of a chunk, 1 MiB in float64: it stays in the cache through all operations of a pass
CHUNK_ELSEWHERE = 2**24
MANY_ENTRIES, LEAST_IN_FLOAT32 = 2**15, 1e-30  # products in float32 are worth it, and Σ 1/w does not overflow
WORTH_KEEPING = 64  # rows
WIDE, MANY = 24, 1024  # columns that make the product of so many rows with themselves efficient
SAFE_EXPONENT = 300.0  # exp(±300) and its square are far inside float64, so that rows need no maximum taken out
_EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False, kw_only=True)
class Dual:
    """D and its derivatives at one α, in float64 on the CPU.

    `rounding` is how far `value` may be off; `residual` is max_k |∂D/∂α_k| / N; `curvature` is the Hessian [C, C] or
    its diagonal [C], if it was asked for; `row_error` is max_n |Σ_k g_nk − 1|, 0 by construction where rows are normalised.
    """

    value: float
    rounding: float
    gradient_C: Vector
    residual: float
    curvature: Vector | None
    row_error: float

    @property
    def finite(self) -> bool:
        """False where α / w or w log r overflowed."""
        return math.isfinite(self.value) and math.isfinite(self.residual)


class Constants(NamedTuple):
    """What a chunk of rows has at every α: 1/w, log-sum-exp, what a row counts in D, and how often it counts."""

    inverse_B1: Tensor
    log_mass_B: Tensor
    mass_B: Tensor
    counts_B: Tensor | None


class Tilted(NamedTuple):
    """One chunk of a pass: exp_BC / sum_B is g of Eq. (6); log_partition_B is log Σ_k r_nk exp(−α_k / w_n)."""

    constants: Constants
    exp_BC: Tensor
    sum_B: Tensor
    log_partition_B: Tensor

    def divisor_B(self, *, normalise: bool) -> Tensor:
        """What exp_BC is divided by to be g."""
        return self.sum_B if normalise else self.sum_B * (-self.log_partition_B).exp()


@dataclass
class Work:
    """Rows through a softmax so far, by the problem itself and by its samples, and targets already written with their α."""

    rows: int = 0
    draft: tuple[Vector, Tensor] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """One projection over `rows` rows that stand for `size` (they differ for a sample, whose `counts_N` are not None).

    `log_mass_N` is each row's log-sum-exp over the kept classes; `kept_C` is None where no class is dropped; `log_odds` is
    the mean over rows of log p / (1 − p) of the likeliest class. Without `normalise` it is Eq. (6) as printed,
    g_nk = r_nk exp(−α_k / w_n), and D has Σ_k r_nk exp(−α_k / w_n) without its log.
    """

    source: Source
    rows: int
    size: int
    weights_N: Tensor
    counts_N: Tensor | None
    log_mass_N: Tensor
    largest_weight: float
    totals_C: Vector
    kept_C: Tensor | None
    support: Support
    work: Work
    normalise: bool = True
    log_odds: float = 0.0
    scratch: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    cached: dict[tuple[int, int], Constants] = field(default_factory=dict)

    @cached_property
    def magnitude(self) -> float:
        """The size of the numbers that D is the difference of, at α = 0."""
        mass_N = self.weights_N if self.counts_N is None else self.weights_N * self.counts_N
        return float(mass_N @ (1 + 2 * self.log_mass_N.abs()))

    @cached_property
    def smallest_weight(self) -> float:
        return float(self.weights_N.min())

    @cached_property
    def spread(self) -> float:
        """How far the rows' log-sum-exp is from 0 at most, NaN or inf where a row has no entry in any kept class."""
        return float(self.log_mass_N.abs().max())

    def constants(self, rows: slice) -> Constants:
        """Computed once for each chunk, unless chunks are so short that keeping them costs more than their rows."""
        key = rows.start, rows.stop
        if key in self.cached:
            return self.cached[key]
        weights_B = self.weights_N[rows]
        counts_B = None if self.counts_N is None else self.counts_N[rows]
        inverse_B = weights_B.reciprocal()
        constants = Constants(
            inverse_B1=inverse_B[:, None],
            log_mass_B=self.log_mass_N[rows],
            mass_B=weights_B if counts_B is None else weights_B * counts_B,
            counts_B=counts_B,
        )
        if rows.stop - rows.start >= min(WORTH_KEEPING, self.rows):
            self.cached[key] = constants
        return constants

    @property
    def classes(self) -> int:
        """C."""
        return len(self.totals_C)

    @property
    def sampled(self) -> bool:
        return self.counts_N is not None

    @property
    def dense(self) -> bool:
        return self.classes <= DENSE

    def numbered_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """The reference as it was given, all classes, each block with its rows. Raises InputError if they are others now."""
        at = 0
        for block in self.source.blocks():
            at += len(block)
            if at <= self.rows:
                yield slice(at - len(block), at), block
        if at != self.rows:
            raise InputError(f"log_reference yielded {self.rows} rows when it was first read, and {at} later")

    def tilted(self, alpha_C: Vector) -> Iterator[tuple[Tensor, Iterator[Tilted]]]:
        """Eq. (6) at α: each block and its chunks, each of which overwrites the one before; one pass over the rows."""
        self.work.rows += self.rows
        reach = float(np.abs(alpha_C).max())
        tilt = Tilt(self, alpha_C, safe=self.spread + reach / self.smallest_weight <= SAFE_EXPONENT)
        for numbers, block in self.numbered_blocks():
            yield block, (tilt(rows, log_BC) for rows, log_BC in split(block, numbers.start, self.kept_C))

    def dual(self, alpha_C: Vector, *, curvature: bool = False, last: bool = False) -> Dual:
        """D(α) and its gradient, and its curvature if asked for, in one pass over the rows.

        Where it is expected to be the `last` one, the targets are written on the way, which saves the pass that `targets`
        would take.
        """
        sums, centred_C = Sums(self, curvature=curvature), self.centred(alpha_C)
        writes = last and self.source.whole and not self.sampled
        for block, chunks in self.tilted(centred_C):
            sheet = Sheet(self, block, self.work.draft) if writes else None
            for chunk in chunks:
                sums.add(chunk)
                if sheet is not None:
                    sheet.write(chunk)
            if sheet is not None:
                self.work.draft = alpha_C, sheet.targets_BK
        return sums.dual(centred_C)

    def centred(self, alpha_C: Vector) -> Vector:
        """α with its largest and smallest entry equally far from 0, which changes nothing where rows are normalised and keeps
        exponents small."""
        return alpha_C - (alpha_C.max() + alpha_C.min()) / 2 if self.normalise else alpha_C

    def targets(self, alpha_C: Vector) -> Tensor | TargetBlocks:
        """g_NK of Eq. (6) in the dtype of the reference, with exact zeros in the dropped classes."""
        draft, self.work.draft = self.work.draft, None
        if draft is not None and draft[0] is alpha_C:
            return draft[1]
        blocks = TargetBlocks(self, alpha_C)
        return next(iter(blocks)) if self.source.whole else blocks

    def multipliers(self, alpha_C: Vector) -> Tensor:
        """α_K for the weights as given, +∞ in the dropped classes; Σ_C α = 0 where rows are normalised, which leaves that
        free."""
        gauge = alpha_C.mean() if self.normalise else 0.0
        alpha = torch.from_numpy((alpha_C - gauge) * self.largest_weight)
        if self.kept_C is None:
            return alpha
        alpha_K = torch.full((self.source.classes,), torch.inf, dtype=torch.float64)
        alpha_K[self.kept_C.cpu()] = alpha
        return alpha_K

    def room(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Memory of this shape, used again whenever it is asked for."""
        key = name, shape[0]
        if key not in self.scratch:
            longest = self.scratch.get((name, 0))
            if longest is None or len(longest) < shape[0]:
                for old in [other for other in self.scratch if other[0] == name]:
                    del self.scratch[old]  # views of what is too short now
                longest = torch.empty(shape, dtype=dtype, device=self.source.device)
                self.scratch[name, 0] = longest
            self.scratch[key] = longest[: shape[0]]
        return self.scratch[key]


class Tilt:
    """One α, applied to chunk after chunk. Rows are shifted by their maximum where exp is not `safe` from overflow."""

    def __init__(self, problem: Problem, alpha_C: Vector, *, safe: bool) -> None:
        self.problem, self.safe = problem, safe
        self.alpha_C = torch.from_numpy(alpha_C).to(problem.source.device)

    def __call__(self, rows: slice, log_BC: Tensor) -> Tilted:
        constants = self.problem.constants(rows)
        tilt_BC = self.problem.room("tilt", log_BC.shape, torch.float64)
        if log_BC.dtype == torch.float64:
            torch.addcmul(log_BC, constants.inverse_B1, self.alpha_C, value=-1, out=tilt_BC)
        else:
            tilt_BC.copy_(log_BC).addcmul_(constants.inverse_B1, self.alpha_C, value=-1)
        log_mass_B = constants.log_mass_B
        if not self.safe:
            shift_B1 = tilt_BC.amax(dim=1, keepdim=True)
            tilt_BC.sub_(shift_B1)
            log_mass_B = log_mass_B - shift_B1[:, 0]
        sum_B = tilt_BC.exp_().sum(dim=1)
        return Tilted(constants, tilt_BC, sum_B, sum_B.log().sub_(log_mass_B))


class Sums:
    """What a pass adds up. Of a Hessian only the off-diagonal part is kept: its rows sum to 0, so the diagonal follows
    without the cancellation in g − g², which would lose all digits where rows are within 1e-16 of one-hot."""

    def __init__(self, problem: Problem, *, curvature: bool) -> None:
        self.problem, self.wanted = problem, curvature
        self.value: Tensor | None = None
        self.mass_C: Tensor | None = None
        self.curvature: Tensor | None = None
        self.row_error = 0.0
        # A Hessian only steers: float32 products halve its price, and long sums are still in float64.
        fits = problem.rows * problem.classes > MANY_ENTRIES and problem.smallest_weight > LEAST_IN_FLOAT32
        self.narrow = torch.float32 if fits else torch.float64

    def add(self, chunk: Tilted) -> None:
        constants, normalise = chunk.constants, self.problem.normalise
        inverse_B = chunk.divisor_B(normalise=normalise).reciprocal()
        share_B = inverse_B if constants.counts_B is None else inverse_B * constants.counts_B
        self.mass_C = _plus(self.mass_C, torch.mv(chunk.exp_BC.t(), share_B))
        if normalise:
            self.value = _plus(self.value, torch.dot(constants.mass_B, chunk.log_partition_B))
        else:
            partition_B = chunk.log_partition_B.exp()
            self.value = _plus(self.value, torch.dot(constants.mass_B, partition_B))
            self.row_error = max(self.row_error, float((partition_B - 1).abs().max()))
        if self.wanted:
            self.curvature = _plus(self.curvature, self._curvature(chunk, inverse_B))

    def _curvature(self, chunk: Tilted, inverse_B: Tensor) -> Tensor:
        """Of one chunk Σ_b g_b g_bᵀ / w_b, or the diagonal of its Hessian."""
        constants = chunk.constants
        root_B = (
            constants.inverse_B1[:, 0]
            if constants.counts_B is None
            else constants.inverse_B1[:, 0] * constants.counts_B
        )
        root_B = root_B.sqrt().mul_(inverse_B)
        if not self.problem.dense:  # Σ g (1 − g) / w: entry by entry, which no small g can drown in
            others_BC = (chunk.sum_B[:, None] - chunk.exp_BC).clamp_(min=0.0)
            return torch.mv(others_BC.mul_(chunk.exp_BC).t(), root_B.square_())
        scaled_BC = self.problem.room("scaled", chunk.exp_BC.shape, self.narrow)
        return gram(torch.mul(chunk.exp_BC, root_B[:, None], out=scaled_BC)).to(torch.float64)

    def dual(self, alpha_C: Vector) -> Dual:
        problem, reach = self.problem, float(np.abs(alpha_C).max())
        assert self.mass_C is not None, "no rows"
        assert self.value is not None
        gradient_C = problem.totals_C - self.mass_C.cpu().numpy()
        curvature = None if self.curvature is None else self.curvature.cpu().numpy()
        if curvature is not None and problem.dense:
            curvature = -curvature
            np.fill_diagonal(curvature, 0.0)
            np.fill_diagonal(curvature, -curvature.sum(axis=1))
        residual = float(np.abs(gradient_C).max()) / problem.size
        return Dual(
            value=float(self.value) + float(alpha_C @ problem.totals_C),
            rounding=_EPS * (problem.magnitude + 3 * reach * problem.size),
            gradient_C=gradient_C,
            residual=residual if residual < math.inf else math.inf,  # NaN is no number to report
            curvature=curvature,
            row_error=self.row_error,
        )


class TargetBlocks:
    """g_NK as blocks of the rows and the dtype of the reference, computed anew each time that they are iterated."""

    def __init__(self, problem: Problem, alpha_C: Vector) -> None:
        self._problem, self._alpha_C = problem, alpha_C

    def __iter__(self) -> Iterator[Tensor]:
        for block, chunks in self._problem.tilted(self._problem.centred(self._alpha_C)):
            sheet = Sheet(self._problem, block)
            for chunk in chunks:
                sheet.write(chunk)
            yield sheet.targets_BK


class Sheet:
    """g of one block, written chunk after chunk, over an older draft of the same targets if there is one."""

    def __init__(self, problem: Problem, block: Tensor, draft: tuple[Vector, Tensor] | None = None) -> None:
        self.problem, self.done = problem, 0
        if draft is not None:
            self.targets_BK = draft[1]
        else:
            self.targets_BK = torch.empty_like(block) if problem.kept_C is None else torch.zeros_like(block)

    def write(self, chunk: Tilted) -> None:
        """Leaves exp_BC undefined."""
        kept_C, divisor_B1 = self.problem.kept_C, chunk.divisor_B(normalise=self.problem.normalise)[:, None]
        part_BK = self.targets_BK[self.done : self.done + len(divisor_B1)]
        if kept_C is None:
            torch.div(chunk.exp_BC, divisor_B1, out=part_BK)
        else:
            part_BK.index_copy_(1, kept_C, chunk.exp_BC.div_(divisor_B1).to(part_BK.dtype))
        self.done += len(divisor_B1)


def _plus(total: Tensor | None, part: Tensor) -> Tensor:
    return part if total is None else total.add_(part)


def gram(rows_BC: Tensor) -> Tensor:
    """Σ_b x_b x_bᵀ. Products with few columns are slow, so short rows are laid side by side, and the blocks along the
    diagonal of the wider product are added up."""
    size = rows_BC.shape[1]
    fold = max(1, WIDE // size) if len(rows_BC) >= MANY else 1
    if fold == 1:
        return rows_BC.T @ rows_BC
    whole = len(rows_BC) - len(rows_BC) % fold
    wide = rows_BC[:whole].view(-1, fold * size)
    product = (wide.T @ wide).view(fold, size, fold, size).diagonal(dim1=0, dim2=2).sum(dim=-1)
    rest_BC = rows_BC[whole:]
    return product + rest_BC.T @ rest_BC if len(rest_BC) else product


def split(block: Tensor, at: int, kept_C: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """Chunks of a block whose first row is row `at`, kept classes only, each with its rows."""
    classes = block.shape[1] if kept_C is None else len(kept_C)
    size = max(1, CHUNK.get(block.device.type, CHUNK_ELSEWHERE) // classes)
    for start in range(0, len(block), size):
        log_BC = block[start : start + size]
        rows = slice(at + start, at + start + len(log_BC))
        yield rows, log_BC if kept_C is None else log_BC.index_select(1, kept_C)
