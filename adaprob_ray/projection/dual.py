"""The dual of Eq. (1)-(4): its value, gradient and curvature in one pass over the rows.

    D(α) = Σ_n w_n log Σ_k r_nk exp(−α_k / w_n) + Σ_k α_k M_k

is to be minimized. It is the negative of the paper's Lagrangian, Eq. (5), at its minimum over g, with the row sums of Eq. (3),
which Eq. (5) leaves out, held at 1. The minimum over g is Eq. (6) with the rows normalized,

    g_nk ∝ r_nk exp(−α_k / w_n),   ∂D/∂α_k = M_k − Σ_n g_nk,   ∂²D = Σ_n (diag g_n − g_n g_nᵀ) / w_n,

and −D(α) is a lower bound of the objective of Eq. (1) at every α, equal to it at the optimum.

g depends only on α / w, so weights are stored relative to the largest, and α and D with them. r is normalized over the
classes whose total is above 0, which changes D by a constant.

Axes: N rows, B rows of one block, K classes, C classes whose total is above 0 (the others are dropped: their targets are 0 in
every feasible solution, and their multipliers +∞).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.projection.chunks import ChunkAccumulator, TargetWriter, Vector, WeightedRows
from adaprob_ray.projection.feasibility import Support

_EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False, kw_only=True)
class Dual:
    """D and its derivatives at one α, in float64 on the CPU.

    `rounding` bounds the rounding error of `value`; `residual` is max_k |∂D/∂α_k| / N; `curvature` is the Hessian [C, C] or
    its diagonal [C], None if it was not computed; `row_error` is max_n |Σ_k g_nk − 1|, 0 where rows are normalized.
    """

    value: float
    rounding: float
    gradient_C: Vector
    residual: float
    curvature: Vector | None
    row_error: float

    @property
    def is_finite(self) -> bool:
        """False if α / w or w log r overflowed."""
        return math.isfinite(self.value) and math.isfinite(self.residual)


@dataclass(eq=False, kw_only=True)
class Problem(WeightedRows):
    """One projection: weighted rows, the totals, and the targets that the last evaluation cached.

    `size` is N; it differs from `rows` only for a sample. `log_odds` is the mean over rows of log p / (1 − p) of the most
    probable class; like `logsumexp_N` and `support` it is filled in by the first pass. Without `normalise` the problem is
    Eq. (6) as printed, g_nk = r_nk exp(−α_k / w_n), and D has Σ_k r_nk exp(−α_k / w_n) in place of its logarithm.
    """

    size: int
    largest_weight: float
    totals_C: Vector
    support: Support
    log_odds: float = 0.0
    cached_targets: tuple[Vector, Tensor] | None = field(init=False, default=None)  # α and the targets at it

    @cached_property
    def magnitude(self) -> float:
        """The scale of the terms that D is summed from at α = 0, which sets its rounding error."""
        weight_N = self.weights_N if self.counts_N is None else self.weights_N * self.counts_N
        return float(weight_N @ (1 + 2 * self.logsumexp_N.abs()))

    @property
    def is_sample(self) -> bool:
        return self.counts_N is not None

    def dual(self, alpha_C: Vector, *, curvature: bool = False, cache_targets: bool = False) -> Dual:
        """D(α) and its gradient, and its curvature if asked for, in one pass over the rows.

        `cache_targets` writes the targets in the same pass, so that `targets` at the same α needs no further pass. Blocks and
        samples ignore it.
        """
        sums, centered_C = ChunkAccumulator(self, curvature=curvature), self.centered(alpha_C)
        writes = cache_targets and self.source.in_memory and not self.is_sample
        for block, chunks in self.evaluate(centered_C):
            writer = TargetWriter(self, block, self.cached_targets and self.cached_targets[1]) if writes else None
            for chunk in chunks:
                sums.add(chunk)
                if writer is not None:
                    writer.write(chunk)
            if writer is not None:
                self.cached_targets = alpha_C, writer.targets_BK
        return self.dual_from_sums(sums, centered_C)

    def dual_from_sums(self, sums: ChunkAccumulator, alpha_C: Vector) -> Dual:
        """D at α from the sums of a complete pass."""
        assert sums.column_sum_C is not None, "no rows"
        assert sums.value is not None
        max_alpha = float(np.abs(alpha_C).max())
        gradient_C = self.totals_C - sums.column_sum_C.cpu().numpy()
        residual = float(np.abs(gradient_C).max()) / self.size
        return Dual(
            value=float(sums.value) + float(alpha_C @ self.totals_C),
            rounding=_EPS * (self.magnitude + 3 * max_alpha * self.size),
            gradient_C=gradient_C,
            residual=residual if residual < math.inf else math.inf,  # a NaN is reported as inf
            curvature=sums.curvature(),
            row_error=sums.row_error,
        )

    def centered(self, alpha_C: Vector) -> Vector:
        """α shifted so that its largest and smallest entry are equally far from 0, which keeps exponents small.

        A shift changes nothing where rows are normalized; otherwise α stays as it is.
        """
        return alpha_C - (alpha_C.max() + alpha_C.min()) / 2 if self.normalise else alpha_C

    def targets(self, alpha_C: Vector) -> Tensor | TargetBlocks:
        """g_NK of Eq. (6) in the dtype of the reference, exactly 0 in dropped classes. Clears the cached targets."""
        cached_targets, self.cached_targets = self.cached_targets, None
        if cached_targets is not None and cached_targets[0] is alpha_C:
            return cached_targets[1]
        blocks = TargetBlocks(self, alpha_C)
        return next(iter(blocks)) if self.source.in_memory else blocks

    def multipliers(self, alpha_C: Vector) -> Tensor:
        """α_K in the units of the caller's weights, +∞ in dropped classes.

        Where rows are normalized α is determined up to an added number; then Σ_C α = 0.
        """
        mean = alpha_C.mean() if self.normalise else 0.0
        alpha = torch.from_numpy((alpha_C - mean) * self.largest_weight)
        if self.columns_C is None:
            return alpha
        alpha_K = torch.full((self.source.classes,), torch.inf, dtype=torch.float64)
        alpha_K[self.columns_C.cpu()] = alpha
        return alpha_K


class TargetBlocks:
    """g_NK in blocks of the rows and the dtype of the reference, recomputed in each iteration."""

    def __init__(self, problem: Problem, alpha_C: Vector) -> None:
        self._problem, self._alpha_C = problem, alpha_C

    def __iter__(self) -> Iterator[Tensor]:
        for block, chunks in self._problem.evaluate(self._problem.centered(self._alpha_C)):
            writer = TargetWriter(self._problem, block)
            for chunk in chunks:
                writer.write(chunk)
            yield writer.targets_BK
