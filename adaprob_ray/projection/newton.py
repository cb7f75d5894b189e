"""Newton's method on the dual of Eq. (1)-(4), held in a trust region of absolute radius in α, from a start on a sample.

The paper's Eq. (7) is a step along −∇D for the same D. Here each step minimises a quadratic model of D (models.py).

The radius counts in units of α, not of column mass. Where rows are nearly one-hot the Hessian is nearly 0 and the gradient
is not, until α has crossed the rows' log-odds. Damping in proportion to the mass of a column stands still there as soon as
that column empties; steps of a given length, twice as long each time that the model proves right, cross in a few passes.
Most of these passes are spent on a sample of the rows (sample.py); the whole is then a few steps from its solution.

A Hessian costs a product on top of a pass. Over all rows it is formed only where one more step without a new one would not
arrive; otherwise the change of the gradient mends the old one. Where the next pass is likely to be the last, it writes the
targets as well, which saves a pass.

Acceptance and radius follow Nocedal and Wright, Numerical Optimization, Algorithm 4.1.

Axes: C classes whose total is above 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from adaprob_ray.projection import subsample
from adaprob_ray.projection.dual import Dual, Problem, Vector
from adaprob_ray.projection.quadratic import Model, model_for, without_gauge
from adaprob_ray.projection.solution import Outcome, Status

ACCEPT, POOR, GOOD = 1e-3, 0.25, 0.75  # of the decrease that the model predicts
GROWTH = 2.0  # of the radius
LONGEST = 1e100  # a radius whose square still fits in float64
FIRST = 0.9  # of the mean log-odds
CONTRACTION = (
    1 / 3
)  # a step of s times the smallest weight changes g, and so the Hessian, by about s/3, and leaves as much
NO_HESSIAN, WRITE = 0.5, 4.0  # of the tolerance: the residual expected two passes and one pass from here
EASY_STEP = 4.0  # of the smallest weight: Newton's method itself arrives in a few passes
SAMPLE_ITERATIONS, SAMPLE_TOLERANCE = 60, 1e-4  # the latter of the residual at the start
_EPS = np.finfo(np.float64).eps


@dataclass
class Point:
    """An α that was reached, D there, how long the next step may be, and what is known of D's curvature."""

    alpha_C: Vector
    here: Dual
    radius: float
    model: Model


def minimise(problem: Problem, start: Dual, *, tolerance: float, max_iterations: int) -> Outcome:
    """From α = 0, where the dual is `start`, to max_k |∂D/∂α_k| ≤ tolerance · N, or to the reason why not."""
    trajectory = [start.residual]
    point = _first_point(problem, start, tolerance, trajectory)
    status, iterations = _descend(problem, point, tolerance, max_iterations, trajectory)
    return Outcome(point.alpha_C, point.here, status, iterations, trajectory)


def _first_point(problem: Problem, start: Dual, tolerance: float, trajectory: list[float]) -> Point:
    """α = 0, or where a sample of the rows has its solution if D is lower there.

    The first radius is the smallest weight: α / w then changes by at most 1 in every row, where the model holds; but where
    rows are confident, most of the way to their log-odds, as D is all but linear until there.
    """
    radius = problem.smallest_weight * max(1.0, FIRST * problem.log_odds)
    origin = Point(np.zeros(problem.classes), start, radius, model_for(problem))
    origin.model.renew(start.curvature)
    if start.residual <= tolerance or not subsample.worth_sampling(problem) or _is_easy(problem, origin):
        return origin
    smaller, small_start = subsample.draw(problem, start)
    goal = max(SAMPLE_TOLERANCE * start.residual, tolerance)
    point = _first_point(smaller, small_start, goal, [])
    _descend(smaller, point, goal, SAMPLE_ITERATIONS, [])
    there = problem.dual(point.alpha_C, curvature=not problem.dense)
    trajectory.append(there.residual)
    if not (there.finite and there.value < start.value):
        return origin
    if problem.dense:  # the sample's Hessian will do: its error is mended by what the next passes show
        return Point(point.alpha_C, there, point.radius, point.model)
    origin.model.renew(there.curvature)
    return Point(point.alpha_C, there, point.radius, origin.model)


def _is_easy(problem: Problem, origin: Point) -> bool:
    """Whether Newton's step from α = 0 stays where its model holds."""
    if not (problem.dense and origin.model.ready):
        return False
    step_C, _ = origin.model.step(without_gauge(origin.here.gradient_C), LONGEST)
    return float(np.abs(step_C).max()) <= EASY_STEP * problem.smallest_weight


def _descend(
    problem: Problem, point: Point, tolerance: float, max_iterations: int, trajectory: list[float]
) -> tuple[Status, int]:
    """Moves the point until it converges or cannot go on: why it stopped, and the number of accepted steps."""
    iterations = 0
    model = point.model
    if not model.ready and point.here.residual > tolerance:
        point.here = problem.dual(point.alpha_C, curvature=True)
        model.renew(point.here.curvature)
        if not model.ready:
            return "stalled", 0
    while (status := verdict(point.here, tolerance)) is None:
        if iterations >= max_iterations:
            return "max_iterations", iterations
        gradient_C = without_gauge(point.here.gradient_C)
        step_C, predicted = model.step(gradient_C, point.radius)
        length = math.sqrt(float(step_C @ step_C))
        reach = max(math.sqrt(float(point.alpha_C @ point.alpha_C)), problem.smallest_weight)
        if not predicted > 0 or length <= _EPS * reach:
            if point.here.curvature is not None:
                return "stalled", iterations
            point.here = problem.dual(point.alpha_C, curvature=True)  # the model was mended or a sample's: try D's own
            model.renew(point.here.curvature)
            continue
        shrink = CONTRACTION * float(np.abs(step_C).max()) / problem.smallest_weight
        ahead_C = point.alpha_C + step_C
        there = problem.dual(
            ahead_C,
            curvature=not problem.dense or problem.sampled or point.here.residual * shrink**2 > NO_HESSIAN * tolerance,
            last=point.here.residual * shrink <= WRITE * tolerance,
        )
        trajectory.append(there.residual)
        ratio = decrease(point.here, there, step_C) / predicted
        slopes = float(gradient_C @ step_C), float(there.gradient_C @ step_C)
        point.radius = next_radius(point.radius, length, ratio, slopes=slopes)
        if there.finite and (there.curvature is None or ratio <= ACCEPT or not problem.dense):
            model.learn(step_C, without_gauge(there.gradient_C) - gradient_C)
        if ratio > ACCEPT:
            point.alpha_C, point.here, iterations = ahead_C, there, iterations + 1
            model.renew(there.curvature)
    return status, iterations


def verdict(here: Dual, tolerance: float) -> Status | None:
    """How α stands, None to go on."""
    if here.residual <= tolerance:
        return "converged"
    return None if here.finite else "stalled"


def decrease(here: Dual, there: Dual, step_C: Vector) -> float:
    """D(α) − D(α + s), −∞ where the latter overflows.

    Where the difference drowns in rounding it is −½ (g_here + g_there)ᵀ s, exact for a quadratic: without it no step
    below the square root of the rounding would be accepted, and a residual of 1e-9 stay out of reach.
    """
    if not there.finite:
        return -math.inf
    difference = here.value - there.value
    if abs(difference) > 100 * (here.rounding + there.rounding):
        return difference
    return -0.5 * float((here.gradient_C + there.gradient_C) @ step_C)


def next_radius(radius: float, length: float, ratio: float, *, slopes: tuple[float, float]) -> float:
    """After a step that the model misjudged, up to where D's slope along it crosses 0 between its two ends, by linear
    interpolation, but a tenth to a half of it; twice the radius where the model was right up to the edge."""
    if ratio < POOR:
        before, after = slopes
        crossing = -before / (after - before) if math.isfinite(after) and after > 0 else 0.5
        return min(max(crossing, 0.1), 0.5) * length
    return min(GROWTH * radius, LONGEST) if ratio > GOOD and length > 0.9 * radius else radius
