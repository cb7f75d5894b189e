"""Newton's method beyond the suite: on 200 mixed problems, and with extreme weights.

    python -m benchmarks.projection_limits [--out results/projection_limits.csv]

Prints how many of the 200 are solved to 1e-9 and after how many α's, then the iterations of each extreme problem.
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
from benchmarks import run_command
from benchmarks.projection_suite import Inputs

PROBLEM_COUNT, MAX_ITERATIONS = 200, 4000


def mixed_problem(seed: int) -> Inputs:
    """300 to 3,000 rows of 3 to 30 classes; margins 2 to 60, alike or not; noise 0.5 to 3; λ 0.03 to 100; both readings."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    rows, classes, noise = draw.choice([300, 1000, 3000]), draw.choice([3, 5, 10, 30]), draw.choice([0.5, 1.0, 3.0])
    margin, lam = draw.uniform(2, 60), 10 ** draw.uniform(-1.5, 2)
    labels = torch.randint(classes, (rows,), generator=generator)
    margin_factor = (
        0.3 + 1.4 * torch.rand(rows, generator=generator, dtype=torch.float64) if draw.random() < 0.5 else 1.0
    )
    log_f_NK = noise * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    log_f_NK[torch.arange(rows), labels] += margin * margin_factor
    log_f_NK = log_f_NK.log_softmax(1)
    random_rows = torch.randperm(rows, generator=generator)[: max(5, rows // draw.choice([10, 50]))]
    forget = (labels == 1).nonzero().squeeze(1) if draw.random() < 0.5 else random_rows
    weights_N = torch.full((rows,), lam, dtype=torch.float64)
    weights_N[forget] = 1.0
    pseudo_NK = log_f_NK.exp()
    pseudo_NK[forget] = 1.0 / classes
    if draw.random() < 0.7:
        return log_f_NK, weights_N, pseudo_NK.sum(0)
    return pseudo_NK.log(), weights_N, log_f_NK.exp().sum(0)


def extreme_problems() -> Iterator[tuple[str, Inputs]]:
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


def _forgetting(rows: int, classes: int, margin: float, weights_N: torch.Tensor) -> Inputs:
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
    rows = [_row("mixed", f"seed {seed}", project(*mixed_problem(seed))) for seed in range(PROBLEM_COUNT)]
    rows += [
        _row("extreme", name, project(*inputs, max_iterations=MAX_ITERATIONS)) for name, inputs in extreme_problems()
    ]
    table = pd.DataFrame(rows)
    alphas_tried = table.loc[table["kind"] == "mixed", "alphas_tried"]
    count = (table.loc[table["kind"] == "mixed", "status"] == "converged").sum()
    print(
        f"{count} of {PROBLEM_COUNT} mixed problems converged; α's tried: mean {alphas_tried.mean():.1f}, "
        f"median {alphas_tried.median():g}, most {alphas_tried.max()}"
    )
    for row in rows[PROBLEM_COUNT:]:
        print(f"{row['problem']}: {row['status']} after {row['iterations']} iterations, residual {row['residual']:.1e}")
    if options.out is not None:
        table.to_csv(options.out, index=False, float_format="%.3e")


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
    run_command(main)
