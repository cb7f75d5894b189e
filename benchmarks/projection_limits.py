"""How Newton's method fares beyond the suite: on 200 problems of all kinds, and where weights are extreme.

    python -m benchmarks.projection_limits [--out results/projection_limits.csv]

Prints how many of the 200 are solved to 1e-9 and after how many α's, then each of the extreme problems with its iterations.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from adaprob_ray.projection import Solution, project
from benchmarks.projection_suite import Given

PROBLEMS, PATIENCE = 200, 4000


def mixed(seed: int) -> Given:
    """300 to 3,000 rows of 3 to 30 classes; margins 2 to 60, alike or not; noise 0.5 to 3; λ 0.03 to 100; both readings."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    rows, classes, noise = draw.choice([300, 1000, 3000]), draw.choice([3, 5, 10, 30]), draw.choice([0.5, 1.0, 3.0])
    margin, lam = draw.uniform(2, 60), 10 ** draw.uniform(-1.5, 2)
    labels = torch.randint(classes, (rows,), generator=generator)
    unlike = 0.3 + 1.4 * torch.rand(rows, generator=generator, dtype=torch.float64) if draw.random() < 0.5 else 1.0
    log_f_NK = noise * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    log_f_NK[torch.arange(rows), labels] += margin * unlike
    log_f_NK = log_f_NK.log_softmax(1)
    some = torch.randperm(rows, generator=generator)[: max(5, rows // draw.choice([10, 50]))]
    forget = (labels == 1).nonzero().squeeze(1) if draw.random() < 0.5 else some
    weights_N = torch.full((rows,), lam, dtype=torch.float64)
    weights_N[forget] = 1.0
    pseudo_NK = log_f_NK.exp()
    pseudo_NK[forget] = 1.0 / classes
    if draw.random() < 0.7:
        return log_f_NK, weights_N, pseudo_NK.sum(0)
    return pseudo_NK.log(), weights_N, log_f_NK.exp().sum(0)


def extremes() -> Iterator[tuple[str, Given]]:
    """The rows n with n mod K = 0 are forgotten; weights 1 and λ, or all different."""
    for rows, classes, margin, lam in ((9000, 50, 40.0, 1e4), (6000, 6, 40.0, 1e-8), (3000, 10, 40.0, 1e6)):
        weights_N = torch.full((rows,), lam, dtype=torch.float64)
        weights_N[::classes] = 1.0
        yield f"{rows}x{classes}, margin {margin:g}, λ {lam:g}", _forgetting(rows, classes, margin, weights_N)
    for margin, decades in ((40.0, 3), (200.0, 3), (20.0, 8)):
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(2))
        weights_N = torch.logspace(-decades, decades, 1000, dtype=torch.float64)[order]
        name = f"1000x10, margin {margin:g}, weights 1e-{decades} to 1e{decades}, all different"
        yield name, _forgetting(1000, 10, margin, weights_N)


def _forgetting(rows: int, classes: int, margin: float, weights_N: torch.Tensor) -> Given:
    log_f_NK = torch.randn(rows, classes, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_f_NK[torch.arange(rows), torch.arange(rows) % classes] += margin
    log_f_NK = log_f_NK.log_softmax(1)
    pseudo_NK = log_f_NK.exp()
    pseudo_NK[::classes] = 1.0 / classes
    return log_f_NK, weights_N, pseudo_NK.sum(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a CSV file for the numbers, as results/projection_limits.csv is one")
    options = parser.parse_args()
    rows = [_row("mixed", f"seed {seed}", project(*mixed(seed))) for seed in range(PROBLEMS)]
    rows += [_row("extreme", name, project(*given, max_iterations=PATIENCE)) for name, given in extremes()]
    found = pd.DataFrame(rows)
    tried = found.loc[found["kind"] == "mixed", "alphas_tried"]
    count = (found.loc[found["kind"] == "mixed", "status"] == "converged").sum()
    print(
        f"{count} of {PROBLEMS} mixed problems converged; α's tried: mean {tried.mean():.1f}, "
        f"median {tried.median():g}, most {tried.max()}"
    )
    for row in rows[PROBLEMS:]:
        print(f"{row['problem']}: {row['status']} after {row['iterations']} iterations, residual {row['residual']:.1e}")
    if options.out is not None:
        found.to_csv(options.out, index=False, float_format="%.3e")


def _row(kind: str, problem: str, solution: Solution) -> dict[str, Any]:
    return {
        "kind": kind,
        "problem": problem,
        "status": solution.status,
        "alphas_tried": len(solution.trajectory),
        "iterations": solution.iterations,
        "residual": solution.residual,
    }


if __name__ == "__main__":
    main()
