"""Problems for the projection, and the properties of every Solution.

Axes: N rows, K classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adaprob_ray.projection import Solution, project

INF = math.inf


def logits(rows: int, classes: int, *, margin: float = 0.0, seed: int = 0) -> Tensor:
    """Standard normal noise with `margin` added for the class row mod K."""
    noise_NK = torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise_NK[torch.arange(rows), torch.arange(rows) % classes] += margin
    return noise_NK


def instance(rows: int = 12, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A small problem with weights in 0.5 to 4 and totals of at least N / (10 K)."""
    generator = torch.Generator().manual_seed(1000 + seed)
    weights_N = 0.5 + 3.5 * torch.rand(rows, generator=generator, dtype=torch.float64)
    totals_K = 0.1 + torch.rand(classes, generator=generator, dtype=torch.float64)
    return logits(rows, classes, seed=seed).log_softmax(1), weights_N, totals_K * (rows / totals_K.sum())


def forgetting(
    rows: int, classes: int, forget_rows: Tensor, *, margin: float, lam: float, emptied: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights 1 on the forget rows and λ elsewhere; totals of uniform forget rows, or with class 1 emptied."""
    log_r_NK = logits(rows, classes, margin=margin).log_softmax(1)
    weights_N = torch.full((rows,), lam, dtype=torch.float64)
    weights_N[forget_rows] = 1.0
    pseudo_NK = log_r_NK.exp()
    pseudo_NK[forget_rows] = 1.0 / classes
    totals_K = pseudo_NK.sum(0)
    if emptied:
        totals_K = log_r_NK.exp().sum(0)
        moved = totals_K[1] * (1 - 1e-6)
        totals_K = totals_K + moved / (classes - 1)
        totals_K[1] -= moved + moved / (classes - 1)
    return log_r_NK, weights_N, totals_K


def objective(g_NK: Tensor, log_r_NK: Tensor, weights_N: Tensor) -> float:
    """Σ_n w_n KL(g_n ‖ r_n), Eq. (1)."""
    return float(weights_N @ (torch.special.xlogy(g_NK, g_NK) - g_NK * log_r_NK).nansum(1))


def dual_value(alpha_K: Tensor, log_r_NK: Tensor, weights_N: Tensor, totals_K: Tensor) -> float:
    """D(α), written out without chunks."""
    tilted_NK = log_r_NK - alpha_K / weights_N[:, None]
    return float(weights_N @ tilted_NK.logsumexp(1) + alpha_K @ totals_K)


def solve(*inputs: Tensor, tolerance: float = 1e-13) -> Solution:
    """A solution to near rounding, for comparisons of targets rather than of column sums."""
    solution = project(*inputs, tolerance=tolerance)
    assert solution.status == "converged", solution.message
    return solution


def assert_sane(solution: Solution, tolerance: float = 1e-12) -> None:
    """No NaN, entries in [0, 1] and rows that sum to 1: Eq. (3) and (4), whatever the status."""
    assert not solution.targets.isnan().any()
    assert not solution.multipliers.isnan().any()
    assert math.isfinite(solution.residual)
    assert ((solution.targets >= 0) & (solution.targets <= 1)).all()
    assert (solution.targets.double().sum(1) - 1).abs().max() < tolerance
