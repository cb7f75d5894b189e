"""Residual against seconds and against passes for every solver, on one instance: docs/projection.png.

    python -m benchmarks.projection_curve [--out docs/projection.png] [--csv results/projection_curve.csv]

50,000x10, all 5,000 rows of one class forgotten, margin 20, λ 1. Each solver runs several times, the time at which the residual
of each α was computed is recorded, and the fastest run counts. POT runs for 1, 2, 4, … iterations, always from the start.
"""

from __future__ import annotations

import argparse
import csv
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import threadpoolctl
import torch

from adaprob_ray.projection import dual, project
from adaprob_ray.projection.chunks import ChunkAccumulator
from benchmarks import run_command
from benchmarks.projection_suite import Inputs, Instance, lbfgs, timed

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INSTANCE = Instance(50_000, 10, 5000, "class", 20.0, 1.0)
SLOW_ITERATIONS = 4000
RUNS = 3
# Okabe and Ito's colors, and a marker each, so that solvers can be distinguished without color.
STYLES = {
    "newton": ("#0072B2", "o"),
    "L-BFGS": ("#E69F00", "s"),
    "scaling": ("#009E73", "^"),
    "dual ascent, default η": ("#CC79A7", "v"),
    "dual ascent, 8 times that": ("#D55E00", "D"),
    "POT sinkhorn_log": ("#000000", "x"),
}
Curve = list[tuple[float, int, float]]  # seconds, passes, smallest residual until then


def record_curve(action: Callable[[], Any]) -> Curve:
    """The time and the number of passes after which each residual over all rows was computed."""
    curve: Curve = []
    dual_from_sums = dual.Problem.dual_from_sums
    start = time.perf_counter()

    def recording(self: dual.Problem, sums: ChunkAccumulator, alpha_C: Any) -> dual.Dual:
        result = dual_from_sums(self, sums, alpha_C)
        if not self.is_sample:
            passes = -(-self.work.rows // self.rows)
            smallest = min(result.residual, curve[-1][2] if curve else result.residual)
            curve.append((time.perf_counter() - start, passes, smallest))
        return result

    dual.Problem.dual_from_sums = recording  # type: ignore[method-assign]
    try:
        action()
    finally:
        dual.Problem.dual_from_sums = dual_from_sums  # type: ignore[method-assign]
    return curve


def sinkhorn_curve(inputs: Inputs) -> Curve:
    import ot

    log_r_NK, _, totals_K = inputs
    masses = torch.full((len(log_r_NK),), 1 / len(log_r_NK), dtype=torch.float64), totals_K / len(log_r_NK)
    curve: Curve = []

    def run(iterations: int) -> torch.Tensor:
        plan: torch.Tensor = ot.bregman.sinkhorn_log(
            *masses, -log_r_NK, 1.0, numItermax=iterations, stopThr=0, warn=False
        )
        return plan

    for iterations in (2**power for power in range(10)):
        seconds, plan_NK = timed(functools.partial(run, iterations))
        curve.append((seconds, 2 * iterations, float((plan_NK.sum(0) - masses[1]).abs().max())))
    return curve


def curves(inputs: Inputs) -> dict[str, Curve]:
    eta = project(*inputs, solver="dual_ascent", max_iterations=1).step_size or 1.0
    slow: dict[str, Any] = {"tolerance": 1e-12, "max_iterations": SLOW_ITERATIONS}
    actions: dict[str, Callable[[], Any]] = {
        "newton": lambda: project(*inputs, tolerance=1e-12),
        "L-BFGS": lambda: lbfgs(inputs, 1e-12, 60.0),
        "scaling": lambda: project(*inputs, solver="scaling", **slow),
        "dual ascent, default η": lambda: project(*inputs, solver="dual_ascent", **slow),
        "dual ascent, 8 times that": lambda: project(*inputs, solver="dual_ascent", step_size=8 * eta, **slow),
    }
    curve_of = {
        name: min((record_curve(run) for _ in range(RUNS)), key=lambda c: c[-1][0]) for name, run in actions.items()
    }
    return {**curve_of, "POT sinkhorn_log": sinkhorn_curve(inputs)}


def draw(curve_of: dict[str, Curve], path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, constrained_layout=True)
    for axis, column, label in ((axes[0], 0, "seconds"), (axes[1], 1, "passes over the rows")):
        for name, curve in curve_of.items():
            color, marker = STYLES[name]
            x, y = [point[column] for point in curve], [max(point[2], 1e-16) for point in curve]
            axis.plot(
                x, y, color=color, marker=marker, markevery=max(1, len(x) // 12), markersize=4, label=name, lw=1.4
            )
        axis.set(xscale="log", yscale="log", xlabel=label)
        axis.axhline(1e-9, color="0.6", lw=0.8, ls="--")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("largest column error / N")
    axes[0].text(axes[0].get_xlim()[0] * 1.1, 1.4e-9, "the default tolerance", fontsize=8, color="0.4")
    axes[1].legend(fontsize=8, frameon=False, loc="lower left")
    figure.suptitle(INSTANCE.name, fontsize=10)
    figure.savefig(path, dpi=150)


def write(curve_of: dict[str, Curve], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["solver", "seconds", "passes", "residual"])
        for name, curve in curve_of.items():
            for seconds, passes, residual in thin(curve):
                writer.writerow([name, f"{seconds:.5f}", passes, f"{residual:.3e}"])


def thin(curve: Curve, count: int = 40) -> Sequence[tuple[float, int, float]]:
    """About `count` points, evenly spaced in the logarithm of their position."""
    positions = {round((len(curve) - 1) ** (i / (count - 1))) for i in range(count)} | {0, len(curve) - 1}
    return [curve[i] for i in sorted(positions)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("docs/projection.png"))
    parser.add_argument("--csv", type=Path, default=Path("results/projection_curve.csv"))
    options = parser.parse_args()
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        curve_of = curves(INSTANCE.make())
    for name, curve in curve_of.items():
        print(f"{name:28s} {curve[-1][0]:8.3f} s {curve[-1][1]:6d} passes, residual {curve[-1][2]:.1e}")
    draw(curve_of, options.out)
    write(curve_of, options.csv)


if __name__ == "__main__":
    run_command(main)
