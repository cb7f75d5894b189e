"""Newton's method on the dual of Eq. (1)-(4), in a trust region of absolute radius in α, started on a sample of the rows.

The paper's Eq. (7) is a step along −∇D for the same D. Here each step minimizes a quadratic model of D (quadratic.py).

The radius is measured in α, not in column sums. Where rows are nearly one-hot, the Hessian is nearly 0 and the gradient is
not, until α has crossed the rows' log-odds. Damping in proportion to a column's sum stalls there as soon as that column
empties; steps of a given length, doubled each time that the model is right, cross in a few passes. Most of these passes run
on a sample of the rows (subsample.py); all rows then need only a few steps to the solution.

A Hessian costs a matrix product on top of a pass. Over all rows it is computed only where one more step without a new one
would not converge; otherwise the change of the gradient updates the old one. A pass that is likely to be the last writes the
targets as well, which saves a pass.

Acceptance and radius follow Nocedal and Wright, Numerical Optimization, Algorithm 4.1.

Axes: C classes whose total is above 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adaprob_ray.projection import subsample
from adaprob_ray.projection.chunks import Vector
from adaprob_ray.projection.dual import Dual, Problem
from adaprob_ray.projection.quadratic import QuadraticModel, model_for, subtract_mean
from adaprob_ray.projection.solution import SolverResult, Status

# Thresholds on the ratio of the decrease of D to the predicted one: a step is accepted above the first, the radius shrinks
# below the second and grows above the third (the usual values of Algorithm 4.1).
ACCEPT_RATIO, SHRINK_RATIO, GROW_RATIO = 1e-3, 0.25, 0.75
RADIUS_GROWTH = 2.0

# The radius grows only after a step of nearly its length: a shorter step says nothing about a larger region.
MIN_GROWTH_LENGTH = 0.9

# A shrunk radius is at least a tenth and at most half of the length of the step that failed.
MIN_SHRINKAGE, MAX_SHRINKAGE = 0.1, 0.5

# The largest radius whose square is inside float64 with room to spare.
MAX_RADIUS = 1e100

# The first radius is at most this fraction of the mean log-odds: D is almost linear until α reaches them.
INITIAL_RADIUS_FRACTION = 0.9

# A step of s times the smallest weight changes g, and with it the Hessian, by about s/3, so about this fraction of the
# residual remains after it.
CONTRACTION = 1 / 3

# Multiples of the tolerance. If the residual predicted two passes ahead is at most the first, no new Hessian is needed; if
# the one predicted for the next pass is at most the second, that pass writes the targets: a wasted write is cheap, a missed
# one costs a pass.
SKIP_HESSIAN_BELOW, WRITE_TARGETS_BELOW = 0.5, 4.0

# If Newton's step from α = 0 is at most this multiple of the smallest weight, Newton's method converges in a few passes over
# all rows, and a sample would cost more than it saves.
MAX_EASY_STEP = 4.0

# The sample is solved only to this fraction of the initial residual: it differs from the whole by more than that.
SAMPLE_TOLERANCE, SAMPLE_MAX_ITERATIONS = 1e-4, 60

# A difference of two values of D is trusted above this multiple of the bounds of their rounding errors.
ROUNDING_FACTOR = 100

_EPS = np.finfo(np.float64).eps


@dataclass
class Iterate:
    """An α, D there, the trust region's radius, and the model of D's curvature."""

    alpha_C: Vector
    dual: Dual
    radius: float
    model: QuadraticModel


def minimize(problem: Problem, start: Dual, *, tolerance: float, max_iterations: int) -> SolverResult:
    """Minimize D from α = 0, where the dual is `start`, until max_k |∂D/∂α_k| ≤ tolerance · N."""
    trajectory = [start.residual]
    iterate = _initial_iterate(problem, start, tolerance, trajectory)
    status, iterations = _descend(problem, iterate, tolerance, max_iterations, trajectory)
    return SolverResult(iterate.alpha_C, iterate.dual, status, iterations, trajectory)


def _initial_iterate(problem: Problem, start: Dual, tolerance: float, trajectory: list[float]) -> Iterate:
    """α = 0, or the solution of a sample of the rows if D is lower there.

    The first radius is the smallest weight: α / w then changes by at most 1 in every row, where the model is accurate. If
    rows are confident it is most of their log-odds, as D is almost linear up to there.
    """
    radius = problem.smallest_weight * max(1.0, INITIAL_RADIUS_FRACTION * problem.log_odds)
    origin = Iterate(np.zeros(problem.classes), start, radius, model_for(problem))
    origin.model.set_curvature(start.curvature)
    if start.residual <= tolerance or not subsample.worth_sampling(problem) or _is_easy(problem, origin):
        return origin
    # A sample may itself be large enough to start on a sample of its own.
    sample, sample_start = subsample.draw_sample(problem, start)
    sample_tolerance = max(SAMPLE_TOLERANCE * start.residual, tolerance)
    iterate = _initial_iterate(sample, sample_start, sample_tolerance, [])
    _descend(sample, iterate, sample_tolerance, SAMPLE_MAX_ITERATIONS, [])
    dual = problem.dual(iterate.alpha_C, curvature=not problem.is_dense)
    trajectory.append(dual.residual)
    # A sample that leads to a larger D is discarded: it may cost time but never correctness.
    if not (dual.is_finite and dual.value < start.value):
        return origin
    # The sample's Hessian is a good first model: the following passes correct it. A diagonal is as cheap to compute exactly.
    if problem.is_dense:
        return Iterate(iterate.alpha_C, dual, iterate.radius, iterate.model)
    origin.model.set_curvature(dual.curvature)
    return Iterate(iterate.alpha_C, dual, iterate.radius, origin.model)


def _is_easy(problem: Problem, origin: Iterate) -> bool:
    """Whether Newton's step from α = 0 stays where its model is accurate."""
    if not (problem.is_dense and origin.model.ready):
        return False
    step_C, _ = origin.model.step(subtract_mean(origin.dual.gradient_C), MAX_RADIUS)
    return float(np.abs(step_C).max()) <= MAX_EASY_STEP * problem.smallest_weight


def _descend(
    problem: Problem, iterate: Iterate, tolerance: float, max_iterations: int, trajectory: list[float]
) -> tuple[Status, int]:
    """Move the iterate until it converges or cannot be improved. Returns the status and the number of accepted steps."""
    iterations = 0
    model = iterate.model
    # The start has no curvature if computing it was not free; without one there is no model to step by.
    if not model.ready and iterate.dual.residual > tolerance:
        iterate.dual = problem.dual(iterate.alpha_C, curvature=True)
        model.set_curvature(iterate.dual.curvature)
        if not model.ready:
            return "stalled", 0
    while iterate.dual.residual > tolerance:
        if not iterate.dual.is_finite:
            return "stalled", iterations
        if iterations >= max_iterations:
            return "max_iterations", iterations
        gradient_C = subtract_mean(iterate.dual.gradient_C)
        step_C, predicted_decrease = model.step(gradient_C, iterate.radius)
        length = math.sqrt(float(step_C @ step_C))
        scale = max(math.sqrt(float(iterate.alpha_C @ iterate.alpha_C)), problem.smallest_weight)
        # The step vanishes in rounding. A model that was updated or came from a sample is replaced by D's own curvature;
        # if the model already is D's own, no further progress is possible.
        if not predicted_decrease > 0 or length <= _EPS * scale:
            if iterate.dual.curvature is not None:
                return "stalled", iterations
            iterate.dual = problem.dual(iterate.alpha_C, curvature=True)
            model.set_curvature(iterate.dual.curvature)
            continue
        shrink = CONTRACTION * float(np.abs(step_C).max()) / problem.smallest_weight
        trial_alpha_C = iterate.alpha_C + step_C
        # A diagonal, and any curvature of a sample, is always worth computing; a Hessian over all rows only if two more
        # passes with the old one would not converge.
        needs_hessian = iterate.dual.residual * shrink**2 > SKIP_HESSIAN_BELOW * tolerance
        trial = problem.dual(
            trial_alpha_C,
            curvature=not problem.is_dense or problem.is_sample or needs_hessian,
            cache_targets=iterate.dual.residual * shrink <= WRITE_TARGETS_BELOW * tolerance,
        )
        trajectory.append(trial.residual)
        ratio = decrease(iterate.dual, trial, step_C) / predicted_decrease
        slopes = float(gradient_C @ step_C), float(trial.gradient_C @ step_C)
        iterate.radius = next_radius(iterate.radius, length, ratio, slopes=slopes)
        # The change of the gradient updates the model unless a Hessian at the new α is about to replace it.
        if trial.is_finite and (trial.curvature is None or ratio <= ACCEPT_RATIO or not problem.is_dense):
            model.update(step_C, subtract_mean(trial.gradient_C) - gradient_C)
        if ratio > ACCEPT_RATIO:
            iterate.alpha_C, iterate.dual, iterations = trial_alpha_C, trial, iterations + 1
            model.set_curvature(trial.curvature)
    return "converged", iterations


def decrease(current: Dual, trial: Dual, step_C: Vector) -> float:
    """D(α) − D(α + s), or −∞ if the latter overflows.

    Where the difference is lost in rounding it is −½ (∇D(α) + ∇D(α + s))ᵀ s, which is exact for a quadratic. Otherwise no
    step smaller than the square root of the rounding error would be accepted, and a residual of 1e-9 not be reached.
    """
    if not trial.is_finite:
        return -math.inf
    difference = current.value - trial.value
    if abs(difference) > ROUNDING_FACTOR * (current.rounding + trial.rounding):
        return difference
    return -0.5 * float((current.gradient_C + trial.gradient_C) @ step_C)


def next_radius(radius: float, length: float, ratio: float, *, slopes: tuple[float, float]) -> float:
    """The radius after a step whose decrease was `ratio` times the predicted one; `slopes` are D's along it at both ends."""
    # After a poor step the radius ends where the slope along the step crosses 0 by linear interpolation, within bounds.
    if ratio < SHRINK_RATIO:
        before, after = slopes
        crossing = -before / (after - before) if math.isfinite(after) and after > 0 else MAX_SHRINKAGE
        return min(max(crossing, MIN_SHRINKAGE), MAX_SHRINKAGE) * length
    # The radius doubles where the model was right up to the edge of the region.
    if ratio > GROW_RATIO and length > MIN_GROWTH_LENGTH * radius:
        return min(RADIUS_GROWTH * radius, MAX_RADIUS)
    return radius
