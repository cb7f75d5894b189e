"""A sample of the rows, on which the way from α = 0 to near the solution costs little.

Where networks are confident most steps of any solver are spent on finding out how far α must go; a sixteenth of the rows
knows that almost as well as all of them. Row n is kept with probability

    π_n = min(1, m/N · ⅓ (1 + u_n / mean(u) + q_n / mean(q))),
    u_n = 1 / (share of the rows with weights up to about w_n),   q_n = Σ_k r_nk |M_k − Σ r_k| / Σ r_k

and then stands for 1/π_n rows. A third of the sample is drawn evenly; a third for rows with small weights, which move
first and may be few (the forget rows, for λ > 1); a third for rows of classes that have far to go. The fractional parts of
n/φ, φ the golden ratio, replace random numbers: evenly spread, the same every time, and no period of the data set can fall
in with them.

Axes: N rows, B rows of one chunk, C classes whose total is above 0, F the few of them with the largest gap.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from adaprob_ray.projection.dual import Dual, Problem, Vector
from adaprob_ray.projection.row_source import Source

SHARE = 16
SMALLEST = 1024  # rows; fewer are hardly faster
STEPS = 256  # a quarter of an octave each
FAR_CLASSES, FAR = 4, 0.3  # at most so many, and a gap of at least so much of the largest
GOLDEN = 0.6180339887498949
LEAST_TOTAL = 0.5  # of what a class would hold if the sample shrank it as the totals shrink the whole


def worth_sampling(problem: Problem) -> bool:
    """With −inf entries the totals may be out of the sample's reach; with few rows nothing is saved."""
    return problem.support.full and problem.rows >= 4 * sample_size(problem)


def sample_size(problem: Problem) -> int:
    return max(problem.rows // SHARE, SMALLEST)


def draw(problem: Problem, here: Dual) -> tuple[Problem, Dual]:
    """A smaller Problem like `problem`, whose dual at α = 0 is `here`, and its own dual there. Reads the rows once."""
    mass_C = problem.totals_C - here.gradient_C
    rarity_N = rarity(problem)
    parts = (_choose(problem, rows, block, mass_C, rarity_N) for rows, block in problem.numbered_blocks())
    chosen = [part for part in parts if len(part[0])]
    log_SC, rows_S, counts_S = (torch.cat(parts) for parts in zip(*chosen, strict=True))
    counts_S = _stand_for_all(counts_S, problem.size)
    smaller = dataclasses.replace(
        problem,
        source=Source(log_SC, problem.classes, problem.source.dtype, problem.source.device),
        rows=len(log_SC),
        weights_N=problem.weights_N.index_select(0, rows_S),
        counts_N=counts_S,
        log_mass_N=problem.log_mass_N.index_select(0, rows_S),
        kept_C=None,
        scratch={},
        cached={},
    )
    start = smaller.dual(np.zeros(problem.classes), curvature=True)
    totals_C = _totals(problem.totals_C, mass_C, problem.totals_C - start.gradient_C, problem.size)
    gradient_C = start.gradient_C + (totals_C - problem.totals_C)
    residual = float(np.abs(gradient_C).max()) / problem.size
    smaller = dataclasses.replace(smaller, totals_C=totals_C)
    return smaller, dataclasses.replace(start, gradient_C=gradient_C, residual=residual)


def rarity(problem: Problem) -> Tensor:
    """u_n / mean(u), by weights in steps of a quarter octave."""
    steps_N = problem.weights_N.log2().mul_(-4.0).clamp_(max=STEPS - 1.0).to(torch.int64)
    rows_S = torch.bincount(steps_N, weights=problem.counts_N, minlength=STEPS).to(torch.float64)
    share_S = rows_S.flip(0).cumsum(0).flip(0).clamp_(min=1.0) / problem.size
    return ((1 / share_S) / float((rows_S / share_S).sum() / problem.size)).index_select(0, steps_N)


def _choose(
    problem: Problem, rows: slice, log_BK: Tensor, mass_C: Vector, rarity_N: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of a block that are kept, kept classes only, their positions, and how many rows each of them stands for."""
    gap_C = np.abs(problem.totals_C - mass_C) / np.maximum(mass_C, 1e-300)
    far_F = np.argsort(gap_C)[-FAR_CLASSES:]
    far_F = far_F[gap_C[far_F] >= FAR * gap_C.max()]
    mean = float(gap_C[far_F] @ mass_C[far_F]) / problem.size
    log_mass_B = problem.log_mass_N[rows]
    nearness_B = torch.zeros_like(log_mass_B)
    for c in far_F.tolist():
        k = c if problem.kept_C is None else int(problem.kept_C[c])
        nearness_B += (log_BK[:, k].to(torch.float64) - log_mass_B).exp_().mul_(gap_C[c])
    score_B = 1 + rarity_N[rows] + nearness_B / max(mean, 1e-300)
    counts_B = torch.ones_like(score_B) if problem.counts_N is None else problem.counts_N[rows]
    kept_B = counts_B * score_B * (sample_size(problem) / (3 * problem.size))
    position_B = torch.arange(rows.start, rows.stop, dtype=torch.float64, device=score_B.device)
    picked_S = (position_B.mul_(GOLDEN).frac_() < kept_B).nonzero().squeeze(1)
    counts_S = counts_B.index_select(0, picked_S) / kept_B.index_select(0, picked_S).clamp_(max=1.0)
    log_SK = log_BK.index_select(0, picked_S)
    log_SC = log_SK if problem.kept_C is None else log_SK.index_select(1, problem.kept_C)
    return log_SC, picked_S + rows.start, counts_S


def _stand_for_all(counts_S: Tensor, size: int) -> Tensor:
    """Rows that were not certain to be kept, scaled so that all counts add up to the size of the whole."""
    certain_S = counts_S <= 1.0
    rest = float(counts_S.sum() - counts_S[certain_S].sum())
    if rest <= 0:
        return counts_S * (size / float(counts_S.sum()))
    return torch.where(certain_S, counts_S, counts_S * ((size - float(counts_S[certain_S].sum())) / rest))


def _totals(totals_C: Vector, mass_C: Vector, sampled_C: Vector, size: int) -> Vector:
    """What the sample's columns are to hold: their own sums, changed as the whole's are to change, and never below 0."""
    least_C = LEAST_TOTAL * totals_C * sampled_C / np.maximum(mass_C, 1e-300)
    moved_C = np.maximum(sampled_C + (totals_C - mass_C), np.maximum(least_C, 1e-300))
    scaled: Vector = moved_C * (size / moved_C.sum())
    return scaled
