"""The instances that the projection is measured on, and every solver that it is measured against.

An instance stands for a data set from which some rows are to be forgotten: standard normal logits with a margin added for
the row's class (n mod K), weights 1 on the forget rows and λ on the others, and totals of Eq. (1)'s reading (the reference is
the model's output, the totals those of uniform forget rows) or of the one that restores the model's own totals.

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

Given = tuple[Tensor, Tensor, Tensor]
MOST = 10**6  # iterations of L-BFGS: its callback ends it


@dataclass(frozen=True)
class Instance:
    rows: int
    classes: int
    forget: int
    drawn: str  # "class": all of class 1, or as many of it as are asked for; "random"
    margin: float
    lam: float
    reading: str = "eq1"

    @property
    def name(self) -> str:
        return (
            f"{self.rows}x{self.classes}, {self.forget} {self.drawn}, margin {self.margin:g}, λ {self.lam:g}"
            + f", {self.reading}" * (self.reading != "eq1")
        )

    def make(self) -> Given:
        """log-probabilities [N, K], weights [N] and totals [K], float64."""
        log_f_NK = torch.randn(self.rows, self.classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        log_f_NK[torch.arange(self.rows), torch.arange(self.rows) % self.classes] += self.margin
        log_f_NK = log_f_NK.log_softmax(1)
        shuffled = torch.randperm(self.rows, generator=torch.Generator().manual_seed(5))
        forget = torch.arange(1, self.rows, self.classes) if self.drawn == "class" else shuffled
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
        for drawn in ("random", "class"):
            for margin in (8.0, 20.0, 40.0):
                for lam in (0.1, 1.0, 4.0, 100.0):
                    yield Instance(50_000, 10, forget, drawn, margin, lam, reading)
    for margin in (8.0, 20.0, 40.0):
        for lam in (0.1, 1.0, 4.0, 100.0):
            yield Instance(20_000, 100, 200, "class", margin, lam, reading)
    for margin in (8.0, 20.0):
        for lam in (1.0, 4.0):
            yield Instance(50_000, 1000, 50, "class", margin, lam, reading)


@dataclass(frozen=True)
class Run:
    """`passes` over the rows, input check and targets included; None where a solver does not count them alike."""

    seconds: float
    residual: float
    arrived: bool
    passes: int | None = None


Solver = Callable[[Given, float, float], Run]  # (instance, tolerance, seconds at most)


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def ours(**options: Any) -> Solver:
    """One of `project`'s solvers."""

    def solve(given: Given, tolerance: float, limit: float) -> Run:
        def run(iterations: int) -> Run:
            options_ = {"tolerance": tolerance, "max_iterations": iterations, **options}
            seconds, solution = timed(lambda: project(*given, **options_))
            return Run(seconds, solution.residual, solution.residual <= tolerance, solution.passes)

        return until_arrived(run, limit)

    return solve


def until_arrived(run: Callable[[int], Run], limit: float) -> Run:
    """Runs of 100, 400, 1,600 … iterations, each from the start, until one arrives or takes too long."""
    iterations = 100
    while not (done := run(iterations)).arrived and done.seconds < limit:
        iterations *= 4
    return done


class _Arrived(Exception):
    pass


def lbfgs(given: Given, tolerance: float, limit: float) -> Run:
    """SciPy's L-BFGS-B on the same dual, in units of N, with the same check of the input and the same targets. It stops
    where the residual is reached; the dual at α = 0 comes from the check, as Newton's does."""
    start = time.perf_counter()
    problem, here, _ = validate(*given)
    known, seen = [here], []

    def value_and_slope(alpha_K: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal here
        here = known.pop() if known else problem.dual(np.array(alpha_K))
        seen.append(np.array(alpha_K))
        if here.residual <= tolerance or time.perf_counter() - start > limit:
            raise _Arrived
        return here.value / problem.size, here.gradient_C / problem.size

    with contextlib.suppress(_Arrived):
        optimize.minimize(
            value_and_slope,
            np.zeros(problem.classes),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MOST, "maxfun": MOST, "ftol": 0.0, "gtol": 0.0},
        )
    problem.targets(seen[-1])
    passes = -(-problem.work.rows // problem.rows)
    return Run(time.perf_counter() - start, here.residual, here.residual <= tolerance, passes)


def sinkhorn(given: Given, tolerance: float, limit: float) -> Run:
    """POT's sinkhorn_log, for equal weights, with cost −log r and regularisation 1.

    It stops by the 2-norm of the gap, every ten iterations. The threshold is the largest at which the largest column's gap
    is within the tolerance: √K times the tolerance at first, then less by as much as it was too much.
    """
    import ot

    log_r_NK, _, totals_K = given
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

    done = until_arrived(run, limit)
    while done.arrived and done.residual > tolerance:
        threshold *= 0.95 * tolerance / done.residual
        done = until_arrived(run, limit)
    return done
