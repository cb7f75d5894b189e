"""One pass over the rows, chunk by chunk: Eq. (6) for each chunk of rows, and the sums that the dual needs over all of them.

    g_nk ∝ r_nk exp(−α_k / w_n)

`WeightedRows` holds the rows and the memory that passes reuse, and evaluates the chunks at one α. A `ChunkAccumulator` adds up
D, its gradient and its curvature (dual.py has the formulas), and a `TargetWriter` stores g.

Axes: N rows, B rows of one chunk, K classes, C classes whose total is above 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaprob_ray.errors import InputError
from adaprob_ray.projection.row_source import RowSource

Vector = NDArray[np.float64]

# Up to this many classes the curvature is the full Hessian, beyond it only the diagonal. A full Hessian costs N C² operations,
# which at 256 classes is several softmax passes; with more classes it costs more than the passes that it saves.
MAX_CLASSES_FULL_HESSIAN = 256

# Entries of one chunk. On the CPU 2^17 float64 entries are 1 MiB, so that a chunk stays in the cache through all operations
# of a pass. Accelerators need far larger chunks to hide the cost of launching kernels.
CHUNK_ENTRIES = {"cpu": 2**17}
ACCELERATOR_CHUNK_ENTRIES = 2**24

# The products of a Hessian run in float32 from this many matrix entries on, below which the conversion costs more than it
# saves, and only if the smallest weight (relative to the largest) keeps Σ 1/w inside float32, whose range ends at 3e38.
MIN_FLOAT32_ENTRIES, MIN_FLOAT32_WEIGHT = 2**15, 1e-30

# The constants of chunks shorter than this are recomputed in each pass: a cache entry would cost more than these rows do.
MIN_CACHED_ROWS = 64

# Matrix products run at full speed from about 24 columns and 1,024 rows on; `gram` folds narrower matrices to that width.
MIN_GEMM_COLUMNS, MIN_GEMM_ROWS = 24, 1024

# exp(±300) and its square are far inside the range of float64, so that rows with smaller exponents need no shift by their
# maximum before exp.
MAX_SAFE_EXPONENT = 300.0


@dataclass
class WorkCounter:
    """Softmax rows evaluated so far, by a problem and its samples together."""

    rows: int = 0


class ChunkConstants(NamedTuple):
    """The quantities of a chunk that do not depend on α: 1/w, log-sum-exp, weight in D (w times count), and count."""

    inverse_weight_B1: Tensor
    logsumexp_B: Tensor
    weight_B: Tensor
    counts_B: Tensor | None


class ChunkResult(NamedTuple):
    """One chunk at one α: exp_BC / sum_B is g of Eq. (6), and log_partition_B is log Σ_k r_nk exp(−α_k / w_n)."""

    constants: ChunkConstants
    exp_BC: Tensor
    sum_B: Tensor
    log_partition_B: Tensor

    def divisor_B(self, *, normalise: bool) -> Tensor:
        """The divisor that turns exp_BC into g."""
        return self.sum_B if normalise else self.sum_B * (-self.log_partition_B).exp()


@dataclass(eq=False, kw_only=True)
class WeightedRows:
    """Rows of a reference with their weights, and the scratch memory that passes over them reuse.

    The first pass fills `logsumexp_N`, each row's log-sum-exp over the classes `columns_C`, which is None if no class is
    dropped. Only a sample has `counts_N`: the number of rows that each of its rows stands for. `dataclasses.replace` starts
    with empty scratch memory (`buffers`, `chunk_constants`).
    """

    source: RowSource
    rows: int
    weights_N: Tensor
    counts_N: Tensor | None
    logsumexp_N: Tensor
    columns_C: Tensor | None
    work: WorkCounter
    normalise: bool = True
    buffers: dict[tuple[str, int], Tensor] = field(init=False, default_factory=dict)
    chunk_constants: dict[tuple[int, int], ChunkConstants] = field(init=False, default_factory=dict)

    @property
    def classes(self) -> int:
        """C."""
        return self.source.classes if self.columns_C is None else len(self.columns_C)

    @property
    def is_dense(self) -> bool:
        """True if the curvature is the full Hessian, False if it is the diagonal."""
        return self.classes <= MAX_CLASSES_FULL_HESSIAN

    @cached_property
    def smallest_weight(self) -> float:
        return float(self.weights_N.min())

    @cached_property
    def max_logsumexp(self) -> float:
        """The largest |log-sum-exp| of a row; NaN or inf if a row has no finite entry in any of the classes."""
        return float(self.logsumexp_N.abs().max())

    def constants(self, rows: slice) -> ChunkConstants:
        key = rows.start, rows.stop
        if key in self.chunk_constants:
            return self.chunk_constants[key]
        weights_B = self.weights_N[rows]
        counts_B = None if self.counts_N is None else self.counts_N[rows]
        weight_B = weights_B if counts_B is None else weights_B * counts_B
        constants = ChunkConstants(weights_B.reciprocal()[:, None], self.logsumexp_N[rows], weight_B, counts_B)
        if rows.stop - rows.start >= min(MIN_CACHED_ROWS, self.rows):
            self.chunk_constants[key] = constants
        return constants

    def buffer(self, name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """Uninitialized memory of this shape; later calls with the same name return the same memory."""
        key = name, shape[0]
        if key not in self.buffers:
            longest = self.buffers.get((name, 0))
            # A chunk longer than all before it needs new memory; views of the old memory are dropped.
            if longest is None or len(longest) < shape[0]:
                for stale_key in [other for other in self.buffers if other[0] == name]:
                    del self.buffers[stale_key]
                longest = torch.empty(shape, dtype=dtype, device=self.source.device)
                self.buffers[name, 0] = longest
            self.buffers[key] = longest[: shape[0]]
        return self.buffers[key]

    def indexed_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Each block of the source, with all K classes, and its row range. Raises InputError if the row count has changed."""
        stop = 0
        for block in self.source.blocks():
            stop += len(block)
            if stop <= self.rows:
                yield slice(stop - len(block), stop), block
        if stop != self.rows:
            raise InputError(
                f"log_reference: must yield the same rows in every iteration, got {self.rows} rows at first and {stop} later"
                + ("; an iterator can be read only once" if stop == 0 else "")
            )

    def evaluate(self, alpha_C: Vector) -> Iterator[tuple[Tensor, Iterator[ChunkResult]]]:
        """One pass: Eq. (6) at α for each block and its chunks. A chunk's result is valid until the next chunk is evaluated."""
        self.work.rows += self.rows
        alpha = torch.from_numpy(alpha_C).to(self.source.device)
        safe = self.max_logsumexp + float(np.abs(alpha_C).max()) / self.smallest_weight <= MAX_SAFE_EXPONENT
        for row_range, block in self.indexed_blocks():
            chunks = split(block, row_range.start, self.columns_C)
            yield block, (self._evaluate_chunk(rows, log_BC, alpha, safe=safe) for rows, log_BC in chunks)

    def _evaluate_chunk(self, rows: slice, log_BC: Tensor, alpha_C: Tensor, *, safe: bool) -> ChunkResult:
        """Eq. (6) for one chunk. Unless exp is `safe` from overflow, rows are shifted by their maximum first."""
        constants = self.constants(rows)
        exp_BC = self.buffer("exp", log_BC.shape, torch.float64)
        # float64 rows are read in the same operation that tilts them; other dtypes are converted first.
        if log_BC.dtype == torch.float64:
            torch.addcmul(log_BC, constants.inverse_weight_B1, alpha_C, value=-1, out=exp_BC)
        else:
            exp_BC.copy_(log_BC).addcmul_(constants.inverse_weight_B1, alpha_C, value=-1)
        logsumexp_B = constants.logsumexp_B
        # Exponents that may overflow are taken relative to the row's maximum, which cancels in g.
        if not safe:
            max_B1 = exp_BC.amax(dim=1, keepdim=True)
            exp_BC.sub_(max_B1)
            logsumexp_B = logsumexp_B - max_B1[:, 0]
        sum_B = exp_BC.exp_().sum(dim=1)
        return ChunkResult(constants, exp_BC, sum_B, sum_B.log().sub_(logsumexp_B))


class ChunkAccumulator:
    """Sums of one pass: Σ w log Σ r exp(−α / w), the column sums of g, and the curvature if it is asked for.

    Of a Hessian only the off-diagonal part is summed. Its rows sum to 0, so the diagonal follows from the rest without the
    cancellation in g − g², which would lose all digits where rows are within 1e-16 of one-hot.
    """

    def __init__(self, data: WeightedRows, *, curvature: bool) -> None:
        self.data, self.with_curvature = data, curvature
        self.value: Tensor | None = None
        self.column_sum_C: Tensor | None = None
        self.curvature_sum: Tensor | None = None
        self.row_error = 0.0
        # The Hessian only steers the steps, so its products may be in float32, at half the cost; sums over chunks are float64.
        fits_float32 = data.rows * data.classes > MIN_FLOAT32_ENTRIES and data.smallest_weight > MIN_FLOAT32_WEIGHT
        self.product_dtype = torch.float32 if fits_float32 else torch.float64

    def add(self, chunk: ChunkResult) -> None:
        constants, normalise = chunk.constants, self.data.normalise
        inverse_B = chunk.divisor_B(normalise=normalise).reciprocal()
        row_scale_B = inverse_B if constants.counts_B is None else inverse_B * constants.counts_B
        self.column_sum_C = _add(self.column_sum_C, torch.mv(chunk.exp_BC.t(), row_scale_B))
        # With normalized rows D sums log-partitions. Eq. (6) as printed sums the partitions, which are its row sums.
        if normalise:
            self.value = _add(self.value, torch.dot(constants.weight_B, chunk.log_partition_B))
        else:
            partition_B = chunk.log_partition_B.exp()
            self.value = _add(self.value, torch.dot(constants.weight_B, partition_B))
            self.row_error = max(self.row_error, float((partition_B - 1).abs().max()))
        if self.with_curvature:
            self.curvature_sum = _add(self.curvature_sum, self._chunk_curvature(chunk, inverse_B))

    def _chunk_curvature(self, chunk: ChunkResult, inverse_B: Tensor) -> Tensor:
        """Σ_b g_b g_bᵀ / w_b of one chunk, or the diagonal of its Hessian."""
        constants = chunk.constants
        inverse_weight_B = constants.inverse_weight_B1[:, 0]
        scale_B = inverse_weight_B if constants.counts_B is None else inverse_weight_B * constants.counts_B
        root_scale_B = scale_B.sqrt().mul_(inverse_B)
        # The diagonal is Σ g (1 − g) / w, entry by entry from the sum of the other classes, so that small g keep their digits.
        if not self.data.is_dense:
            others_BC = (chunk.sum_B[:, None] - chunk.exp_BC).clamp_(min=0.0)
            return torch.mv(others_BC.mul_(chunk.exp_BC).t(), root_scale_B.square_())
        # The full Hessian is a matrix product of g √(1/w) with itself.
        scaled_BC = self.data.buffer("scaled", chunk.exp_BC.shape, self.product_dtype)
        return gram(torch.mul(chunk.exp_BC, root_scale_B[:, None], out=scaled_BC)).to(torch.float64)

    def curvature(self) -> Vector | None:
        """The Hessian [C, C] or its diagonal [C], on the CPU; None if it was not asked for."""
        if self.curvature_sum is None:
            return None
        curvature: Vector = self.curvature_sum.cpu().numpy()
        # The diagonal of a Hessian follows from its off-diagonal part, as each row sums to 0.
        if self.data.is_dense:
            curvature = -curvature
            np.fill_diagonal(curvature, 0.0)
            np.fill_diagonal(curvature, -curvature.sum(axis=1))
        return curvature


class TargetWriter:
    """Writes the targets g of a block chunk by chunk, into an existing tensor if there is one."""

    def __init__(self, data: WeightedRows, block: Tensor, targets_BK: Tensor | None = None) -> None:
        self.data, self.next_row = data, 0
        if targets_BK is None:
            targets_BK = torch.empty_like(block) if data.columns_C is None else torch.zeros_like(block)
        self.targets_BK = targets_BK

    def write(self, chunk: ChunkResult) -> None:
        """Write the next rows. Leaves exp_BC undefined."""
        columns_C, divisor_B1 = self.data.columns_C, chunk.divisor_B(normalise=self.data.normalise)[:, None]
        rows_BK = self.targets_BK[self.next_row : self.next_row + len(divisor_B1)]
        if columns_C is None:
            torch.div(chunk.exp_BC, divisor_B1, out=rows_BK)
        else:
            rows_BK.index_copy_(1, columns_C, chunk.exp_BC.div_(divisor_B1).to(rows_BK.dtype))
        self.next_row += len(divisor_B1)


def _add(total: Tensor | None, term: Tensor) -> Tensor:
    return term if total is None else total.add_(term)


def gram(rows_BC: Tensor) -> Tensor:
    """Σ_b x_b x_bᵀ. Of narrow matrices several rows are folded into one, and the diagonal blocks of the product added up."""
    classes = rows_BC.shape[1]
    fold = max(1, MIN_GEMM_COLUMNS // classes) if len(rows_BC) >= MIN_GEMM_ROWS else 1
    if fold == 1:
        return rows_BC.T @ rows_BC
    stop = len(rows_BC) - len(rows_BC) % fold
    folded = rows_BC[:stop].view(-1, fold * classes)
    product = (folded.T @ folded).view(fold, classes, fold, classes).diagonal(dim1=0, dim2=2).sum(dim=-1)
    rest_BC = rows_BC[stop:]
    return product + rest_BC.T @ rest_BC if len(rest_BC) else product


def split(block: Tensor, first_row: int, columns_C: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
    """The chunks of a block that starts at row `first_row`, restricted to the given columns, each with its row range."""
    classes = block.shape[1] if columns_C is None else len(columns_C)
    size = max(1, CHUNK_ENTRIES.get(block.device.type, ACCELERATOR_CHUNK_ENTRIES) // classes)
    for start in range(0, len(block), size):
        log_BC = block[start : start + size]
        rows = slice(first_row + start, first_row + start + len(log_BC))
        yield rows, log_BC if columns_C is None else log_BC.index_select(1, columns_C)
