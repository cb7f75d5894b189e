"""A sample of the rows, on which the steps from α = 0 to near the solution are cheap.

Where networks are confident, any solver spends most of its steps on finding how far α must go, and a sixteenth of the rows
determines that almost as well as all of them. Row n is sampled with probability

    π_n = min(1, m/N · ⅓ (1 + u_n / mean(u) + q_n / mean(q))),
    u_n = 1 / (share of the rows with weights up to about w_n),   q_n = Σ_k r_nk |M_k − Σ r_k| / Σ r_k

and then counts as 1/π_n rows. A third of the sample is drawn uniformly; a third favors rows with small weights, which move
first and may be few (the forget rows, for λ > 1); a third favors rows of classes whose column sums are far from their totals.
The fractional parts of n/φ, with φ the golden ratio, replace random numbers: they are evenly spread, always the same, and
do not coincide with any period of the data set.

Axes: N rows, B rows of one block, K classes, C classes whose total is above 0, F those with the largest gap, S sampled rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.projection.chunks import Vector
from adaprob_ray.projection.dual import Dual, Problem
from adaprob_ray.projection.row_source import RowSource

# The sample has one row in 16, so that a pass over it costs next to nothing, but at least 1,024 rows: passes over fewer are
# hardly faster, as their time is the overhead of the operations.
SAMPLE_DIVISOR, MIN_SAMPLE_ROWS = 16, 1024

# Weights are counted in 256 bins of a quarter of an octave each, which spans 64 octaves below the largest weight.
WEIGHT_BINS, BINS_PER_OCTAVE = 256, 4

# The gap term considers at most four classes, as each costs a pass over its column, and only those whose gap is at least 0.3
# of the largest: smaller gaps do not determine how far α must go.
MAX_GAP_CLASSES, MIN_GAP_FRACTION = 4, 0.3

# 1/φ, the number whose multiples modulo 1 are the most evenly spread.
INVERSE_GOLDEN_RATIO = 0.6180339887498949

# A sample's total is at least half of what it would be if its column shrank in proportion to the column of all rows, since
# an additive correction could make it negative.
MIN_TOTAL_FRACTION = 0.5

# Guards divisions by column sums, gaps and totals that may be 0.
_TINY = 1e-300


def worth_sampling(problem: Problem) -> bool:
    """False with −inf entries, as a sample may be unable to meet the totals, and with so few rows that nothing is saved."""
    return problem.support.is_full and problem.rows >= 4 * sample_size(problem)


def sample_size(problem: Problem) -> int:
    return max(problem.rows // SAMPLE_DIVISOR, MIN_SAMPLE_ROWS)


def draw_sample(problem: Problem, start: Dual) -> tuple[Problem, Dual]:
    """A smaller Problem like `problem`, whose dual at α = 0 is `start`, and its own dual there. Reads the rows once."""
    column_sum_C = problem.totals_C - start.gradient_C
    rarity_N = weight_rarity(problem)
    samples = (sample_block(problem, rows, block, column_sum_C, rarity_N) for rows, block in problem.indexed_blocks())
    log_SC, rows_S, counts_S = (torch.cat(tensors) for tensors in zip(*(s for s in samples if len(s[0])), strict=True))
    sample = dataclasses.replace(
        problem,
        source=RowSource(log_SC, problem.classes, problem.source.dtype, problem.source.device),
        rows=len(log_SC),
        weights_N=problem.weights_N.index_select(0, rows_S),
        counts_N=_rescale_counts(counts_S, problem.size),
        logsumexp_N=problem.logsumexp_N.index_select(0, rows_S),
        columns_C=None,
    )
    dual = sample.dual(np.zeros(problem.classes), curvature=True)
    totals_C = _sample_totals(problem.totals_C, column_sum_C, problem.totals_C - dual.gradient_C, problem.size)
    gradient_C = dual.gradient_C + (totals_C - problem.totals_C)
    residual = float(np.abs(gradient_C).max()) / problem.size
    sample.totals_C = totals_C
    return sample, dataclasses.replace(dual, gradient_C=gradient_C, residual=residual)


def weight_rarity(problem: Problem) -> Tensor:
    """u_n / mean(u), with weights binned by quarters of an octave. Axis W: bins of weights."""
    bins_N = problem.weights_N.log2().mul_(-float(BINS_PER_OCTAVE)).clamp_(max=WEIGHT_BINS - 1.0).to(torch.int64)
    rows_W = torch.bincount(bins_N, weights=problem.counts_N, minlength=WEIGHT_BINS).to(torch.float64)
    share_W = rows_W.flip(0).cumsum(0).flip(0).clamp_(min=1.0) / problem.size
    return ((1 / share_W) / float((rows_W / share_W).sum() / problem.size)).index_select(0, bins_N)


def sample_block(
    problem: Problem, rows: slice, log_BK: Tensor, column_sum_C: Vector, rarity_N: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The sampled rows of a block, restricted to the C classes, their positions among all rows, and their counts 1/π_n."""
    gap_C = np.abs(problem.totals_C - column_sum_C) / np.maximum(column_sum_C, _TINY)
    gap_classes_F = np.argsort(gap_C)[-MAX_GAP_CLASSES:]
    gap_classes_F = gap_classes_F[gap_C[gap_classes_F] >= MIN_GAP_FRACTION * gap_C.max()]
    mean_gap = float(gap_C[gap_classes_F] @ column_sum_C[gap_classes_F]) / problem.size
    logsumexp_B = problem.logsumexp_N[rows]
    gap_B = torch.zeros_like(logsumexp_B)
    for c in gap_classes_F.tolist():
        k = c if problem.columns_C is None else int(problem.columns_C[c])
        gap_B += (log_BK[:, k].to(torch.float64) - logsumexp_B).exp_().mul_(gap_C[c])
    score_B = 1 + rarity_N[rows] + gap_B / max(mean_gap, _TINY)
    counts_B = torch.ones_like(score_B) if problem.counts_N is None else problem.counts_N[rows]
    probability_B = counts_B * score_B * (sample_size(problem) / (3 * problem.size))
    position_B = torch.arange(rows.start, rows.stop, dtype=torch.float64, device=score_B.device)
    sample_S = (position_B.mul_(INVERSE_GOLDEN_RATIO).frac_() < probability_B).nonzero().squeeze(1)
    counts_S = counts_B.index_select(0, sample_S) / probability_B.index_select(0, sample_S).clamp_(max=1.0)
    log_SK = log_BK.index_select(0, sample_S)
    log_SC = log_SK if problem.columns_C is None else log_SK.index_select(1, problem.columns_C)
    return log_SC, sample_S + rows.start, counts_S


def _rescale_counts(counts_S: Tensor, size: int) -> Tensor:
    """Counts scaled to add up to the size of the whole; rows that were certain to be sampled count once."""
    certain_S = counts_S <= 1.0
    uncertain_count = float(counts_S.sum() - counts_S[certain_S].sum())
    if uncertain_count <= 0:
        return counts_S * (size / float(counts_S.sum()))
    scale = (size - float(counts_S[certain_S].sum())) / uncertain_count
    return torch.where(certain_S, counts_S, counts_S * scale)


def _sample_totals(totals_C: Vector, column_sum_C: Vector, sample_sum_C: Vector, size: int) -> Vector:
    """Totals for the sample: its own column sums, changed by as much as those of all rows are to change, and above 0."""
    min_total_C = MIN_TOTAL_FRACTION * totals_C * sample_sum_C / np.maximum(column_sum_C, _TINY)
    total_C = np.maximum(sample_sum_C + (totals_C - column_sum_C), np.maximum(min_total_C, _TINY))
    return total_C * (size / total_C.sum())
