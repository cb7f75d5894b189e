"""The instances that the projection is measured on, and every solver that it is measured against.

An instance models a data set from which some rows are to be forgotten: standard normal logits with a margin added for the
row's class (n mod K), and weights 1 on the forget rows and λ on the others. In the reading of Eq. (1) the reference is the
model's output and the totals are those with uniform forget rows; the reading "restore" exchanges the two.

Axes: N rows, K classes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from adaprob_ray.projection import project
from adaprob_ray.projection.validation import validate

Inputs = tuple[Tensor, Tensor, Tensor]
# L-BFGS is ended by an exception in its objective, so that this limit is never reached.
MAX_LBFGS_ITERATIONS = 10**6


@dataclass(frozen=True)
class Instance:
    rows: int
    classes: int
    forget: int
    selection: str  # of the forget rows: "class", the first rows of class 1, or "random"
    margin: float
    lam: float
    reading: str = "eq1"

    @property
    def name(self) -> str:
        return (
            f"{self.rows}x{self.classes}, {self.forget} {self.selection}, margin {self.margin:g}, λ {self.lam:g}"
            + f", {self.reading}" * (self.reading != "eq1")
        )

    def make(self) -> Inputs:
        """log-probabilities [N, K], weights [N] and totals [K], float64."""
        log_f_NK = torch.randn(self.rows, self.classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        log_f_NK[torch.arange(self.rows), torch.arange(self.rows) % self.classes] += self.margin
        log_f_NK = log_f_NK.log_softmax(1)
        shuffled = torch.randperm(self.rows, generator=torch.Generator().manual_seed(5))
        forget = torch.arange(1, self.rows, self.classes) if self.selection == "class" else shuffled
        weights_N = torch.full((self.rows,), self.lam, dtype=torch.float64)
        weights_N[forget[: self.forget]] = 1.0
        pseudo_NK = log_f_NK.exp()
        pseudo_NK[forget[: self.forget]] = 1.0 / self.classes
        if self.reading == "eq1":
            return log_f_NK, weights_N, pseudo_NK.sum(0)
        return pseudo_NK.log(), weights_N, log_f_NK.exp().sum(0)


def instances(reading: str = "eq1") -> Iterator[Instance]:
    for margin in (8.0, 20.0):
        for lam in (1.0, 4.0):
            yield Instance(500, 5, 25, "class", margin, lam, reading)
    for forget in (100, 5000):
        for selection in ("random", "class"):
            for margin in (8.0, 20.0, 40.0):
                for lam in (0.1, 1.0, 4.0, 100.0):
                    yield Instance(50_000, 10, forget, selection, margin, lam, reading)
    for margin in (8.0, 20.0, 40.0):
        for lam in (0.1, 1.0, 4.0, 100.0):
            yield Instance(20_000, 100, 200, "class", margin, lam, reading)
    for margin in (8.0, 20.0):
        for lam in (1.0, 4.0):
            yield Instance(50_000, 1000, 50, "class", margin, lam, reading)


@dataclass(frozen=True)
class Run:
    """`passes` over the rows include validation and targets; None if a solver does not count them in the same way."""

    seconds: float
    residual: float
    converged: bool
    passes: int | None = None


Solver = Callable[[Inputs, float, float], Run]  # (instance, tolerance, seconds at most)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def ours(**options: Any) -> Solver:
    """One of `project`'s solvers."""

    def solve(inputs: Inputs, tolerance: float, limit: float) -> Run:
        def run(iterations: int) -> Run:
            arguments = {"tolerance": tolerance, "max_iterations": iterations, **options}
            seconds, solution = timed(lambda: project(*inputs, **arguments))
            return Run(seconds, solution.residual, solution.residual <= tolerance, solution.passes)

        return run_until_converged(run, limit)

    return solve


def run_until_converged(run: Callable[[int], Run], limit: float) -> Run:
    """Runs of 100, 400, 1,600 … iterations, each from the start, until one converges or takes too long."""
    iterations = 100
    while not (result := run(iterations)).converged and result.seconds < limit:
        iterations *= 4
    return result


class _Converged(Exception):
    pass


def lbfgs(inputs: Inputs, tolerance: float, limit: float) -> Run:
    """SciPy's L-BFGS-B on the same dual, in units of N, with the same validation and the same targets. It stops as soon as
    the residual is reached; the dual at α = 0 comes from the validation, as for Newton's method."""
    start = time.perf_counter()
    problem, dual, _ = validate(*inputs)
    cached, visited = [dual], []

    def value_and_slope(alpha_K: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal dual
        dual = cached.pop() if cached else problem.dual(np.array(alpha_K))
        visited.append(np.array(alpha_K))
        if dual.residual <= tolerance or time.perf_counter() - start > limit:
            raise _Converged
        return dual.value / problem.size, dual.gradient_C / problem.size

    with contextlib.suppress(_Converged):
        optimize.minimize(
            value_and_slope,
            np.zeros(problem.classes),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_LBFGS_ITERATIONS, "maxfun": MAX_LBFGS_ITERATIONS, "ftol": 0.0, "gtol": 0.0},
        )
    problem.targets(visited[-1])
    passes = -(-problem.work.rows // problem.rows)
    return Run(time.perf_counter() - start, dual.residual, dual.residual <= tolerance, passes)


def sinkhorn(inputs: Inputs, tolerance: float, limit: float) -> Run:
    """POT's sinkhorn_log, for equal weights, with cost −log r and regularization 1.

    It stops by the 2-norm of the gap, checked every ten iterations. The threshold starts at √K times the tolerance and is
    lowered until the largest gap of a column is within the tolerance.
    """
    import ot

    log_r_NK, _, totals_K = inputs
    rows, classes = log_r_NK.shape
    masses = torch.full((rows,), 1 / rows, dtype=torch.float64), totals_K / rows
    threshold = tolerance * classes**0.5

    def run(iterations: int) -> Run:
        seconds, (plan_NK, log) = timed(
            lambda: ot.bregman.sinkhorn_log(
                *masses, -log_r_NK, 1.0, numItermax=iterations, stopThr=threshold, warn=False, log=True
            )
        )
        residual = float((plan_NK.sum(0) - masses[1]).abs().max())
        return Run(seconds, residual, float(log["err"][-1]) < threshold)

    result = run_until_converged(run, limit)
    while result.converged and result.residual > tolerance:
        threshold *= 0.95 * tolerance / result.residual
        result = run_until_converged(run, limit)
    return result
