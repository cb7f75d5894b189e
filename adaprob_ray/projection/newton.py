"""Newton's method on the dual of the paper's Eq. (1)-(4), held in a trust region of absolute radius in α.

    minimise  gᵀs + ½ sᵀHs   over  ‖s‖ ≤ radius,  Σ_k s_k = 0

with g and H the derivatives of D at α. The paper's Eq. (7) is a step along −g for the same D.

The radius counts in units of α, not of column mass. Where rows are nearly one-hot H is nearly 0 and g is not, until α
has crossed the rows' log-odds. Damping in proportion to the mass of a column stands still there as soon as that column
empties; steps of a given length, fourfold longer each time that the model proves right, cross in a few passes.

The subproblem is solved exactly from the eigenvalues of H (Moré and Sorensen, SIAM J. Sci. Stat. Comput. 4, 1983);
acceptance and radius follow Nocedal and Wright, Numerical Optimization, Algorithm 4.1.

Axes: C classes whose total is above 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from adaprob_ray.projection.problem import Dual, Problem
from adaprob_ray.projection.solution import Outcome, Status

ACCEPT, POOR, GOOD = 1e-3, 0.25, 0.75  # of the decrease that the model predicts
LONGEST = 1e100  # a radius whose square still fits in float64
SECULAR_STEPS = 50  # 3 to 6 are usual
_EPS = torch.finfo(torch.float64).eps


def minimise(problem: Problem, *, tolerance: float, max_iterations: int) -> Outcome:
    """From α = 0 to max_k |∂D/∂α_k| ≤ tolerance · N, or to the reason why not.

    The first radius is the smallest weight: α / w then changes by at most 1 in every row, where the model holds.
    """
    alpha_C = torch.zeros_like(problem.totals_C)
    here = problem.dual(alpha_C)
    iterations, passes = 0, 1
    radius = unit = float(problem.weights_N.min())
    while (status := verdict(problem, here, tolerance)) is None and iterations < max_iterations:
        step_C, predicted = trust_region_step(here.gradient_C, here.hessian_CC, radius)
        if predicted <= 0 or float(step_C.norm()) <= _EPS * max(float(alpha_C.norm()), unit):
            status = "stalled"
            break
        there = problem.dual(alpha_C + step_C)
        passes += 1
        ratio = decrease(here, there, step_C) / predicted
        radius = next_radius(radius, float(step_C.norm()), ratio)
        if ratio > ACCEPT:
            alpha_C, here, iterations = alpha_C + step_C, there, iterations + 1
    return Outcome(alpha_C, here, status or "max_iterations", iterations, passes)


def verdict(problem: Problem, here: Dual, tolerance: float) -> Status | None:
    """How α stands, None to go on: "infeasible" where −D(α) is above the objective of Eq. (1) at any feasible g."""
    if here.residual <= tolerance:
        return "converged"
    if -here.value > problem.largest_objective * (1 + 1e-9) + 100 * here.rounding:
        return "infeasible"
    return None if here.finite else "stalled"


def trust_region_step(gradient_C: Tensor, hessian_CC: Tensor, radius: float) -> tuple[Tensor, float]:
    """The minimiser s = −(H + shift)⁻¹ g with ‖s‖ ≤ radius, shift ≥ 0, and the decrease −gᵀs − ½ sᵀHs.

    H maps the gauge direction 1 to 0; curvature is added along it, so that it is no smallest eigenvector.
    """
    gradient_C = gradient_C - gradient_C.mean()
    eigenvalue_C, vector_CC = torch.linalg.eigh(hessian_CC + hessian_CC.trace() / len(gradient_C))
    part_C = secular(vector_CC.T @ gradient_C, eigenvalue_C.clamp(min=0.0), radius)
    step_C = vector_CC @ part_C
    step_C = step_C - step_C.mean()
    return step_C, -float(gradient_C @ step_C) - 0.5 * float(step_C @ hessian_CC @ step_C)


def secular(slope_C: Tensor, eigenvalue_C: Tensor, radius: float) -> Tensor:
    """−slope / (eigenvalue + shift) with the smallest shift ≥ 0 that makes its norm at most the radius.

    Newton's method on 1/radius − 1/norm, which is concave in the shift, so from the left it never passes the root. The
    start is on the left: no part alone may exceed the radius, so shift ≥ |slope| / radius − eigenvalue for each.
    """
    shift = (slope_C.abs() / radius - eigenvalue_C).max().clamp(min=0.0)
    for _ in range(SECULAR_STEPS):
        part_C = torch.where(slope_C == 0, 0.0, -slope_C / (eigenvalue_C + shift))
        excess = part_C.norm() / radius - 1
        if excess <= 1e-6:
            break
        shift = shift + excess * part_C.square().sum() / (part_C.square() / (eigenvalue_C + shift)).sum()
    return part_C


def decrease(here: Dual, there: Dual, step_C: Tensor) -> float:
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


def next_radius(radius: float, length: float, ratio: float) -> float:
    """A quarter of a step that the model misjudged; four times the radius where it was right up to the edge."""
    if ratio < POOR:
        return 0.25 * length
    return min(4.0 * radius, LONGEST) if ratio > GOOD and length > 0.9 * radius else radius
