"""Quadratic models of the dual around α, and the steps that they propose within a given length.

    minimise over s  gᵀs + ½ sᵀHs   with  ‖s‖ ≤ radius,  Σ_k s_k = 0

`DenseModel` has the whole Hessian and solves this exactly; `DiagonalModel` has its diagonal and the last few changes of
the gradient, for so many classes that a Hessian would cost more than the passes that it saves. Both learn from every pass:
a step s that changed the gradient by y says that Hs = y (Broyden, Fletcher, Goldfarb and Shanno).

Axes: C classes whose total is above 0.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch

from adaprob_ray.projection.dual import Problem, Vector

SECULAR_STEPS = 50  # 2 to 4 are usual
SECULAR_SLACK = 0.1  # of the radius: the length of a step need not be exact
FEW = 64  # classes up to which NumPy uses one thread
PAIRS = 5  # changes of the gradient that a DiagonalModel remembers: older ones are of another curvature
_TINY = np.finfo(np.float64).tiny


class Model(Protocol):
    ready: bool

    def renew(self, curvature: Vector | None) -> None:
        """Take the curvature as it is at the α of the next step, if it is known."""

    def learn(self, step_C: Vector, change_C: Vector) -> None:
        """The gradient changed by `change_C` over `step_C`."""

    def step(self, gradient_C: Vector, radius: float) -> tuple[Vector, float]:
        """s with ‖s‖ ≤ radius (to within SECULAR_SLACK), and the decrease of D that it promises."""


def model_for(problem: Problem) -> Model:
    return DenseModel() if problem.dense else DiagonalModel()


class DenseModel:
    """The whole Hessian: by its Cholesky factor where Newton's step is short enough, by its eigenvalues where it is not
    (Moré and Sorensen, SIAM J. Sci. Stat. Comput. 4, 1983)."""

    def __init__(self) -> None:
        self.ready = False
        self._hessian_CC = np.empty((0, 0))
        self._eigen: tuple[Vector, Vector] | None = None

    def renew(self, curvature: Vector | None) -> None:
        if curvature is not None and math.isfinite(curvature.sum()):
            self._hessian_CC, self._eigen, self.ready = curvature, None, True

    def learn(self, step_C: Vector, change_C: Vector) -> None:
        along = float(step_C @ change_C)
        image_C = product(self._hessian_CC, step_C)
        bent = float(step_C @ image_C)
        if not (along > 0 and bent > 0):
            return
        change = change_C[:, None] * (change_C / along) - image_C[:, None] * (image_C / bent)
        if math.isfinite(change.sum()):
            self._hessian_CC, self._eigen = self._hessian_CC + change, None

    def step(self, gradient_C: Vector, radius: float) -> tuple[Vector, float]:
        """H maps the gauge direction 1 to 0; curvature is added along it, so that it is no smallest eigenvector."""
        lifted_CC = self._hessian_CC + self._hessian_CC.trace() / len(gradient_C)
        step_C = newton_step(lifted_CC, gradient_C, radius)
        if step_C is None:
            self._eigen = self._eigen or eigen(lifted_CC)
            eigenvalue_C, vector_CC = self._eigen
            step_C = product(vector_CC, secular(product(vector_CC.T, gradient_C), eigenvalue_C, radius))
        step_C = without_gauge(step_C)
        bent = float(step_C @ product(self._hessian_CC, step_C))
        return step_C, -float(gradient_C @ step_C) - 0.5 * max(bent, 0.0)


def newton_step(hessian_CC: Vector, gradient_C: Vector, radius: float) -> Vector | None:
    """−H⁻¹ g, None where it is longer than the radius or H is not positive definite to rounding."""
    factor_CC, failed = torch.linalg.cholesky_ex(torch.from_numpy(hessian_CC))
    if failed:
        return None
    step = torch.cholesky_solve(torch.from_numpy(-gradient_C[:, None]), factor_CC)[:, 0]
    if not float(torch.linalg.vector_norm(step)) <= radius:  # NaN where H is subnormal
        return None
    inside: Vector = step.numpy()
    return inside


def eigen(matrix_CC: Vector) -> tuple[Vector, Vector]:
    """Eigenvalues, those below 0 by rounding raised to it, and eigenvectors in columns."""
    eigenvalue_C, vector_CC = (part.numpy() for part in torch.linalg.eigh(torch.from_numpy(matrix_CC)))
    return np.maximum(eigenvalue_C, 0.0), vector_CC


def product(matrix_CC: Vector, vector_C: Vector) -> Vector:
    """By torch where a product is worth threads: NumPy's own would compete with torch's for the cores."""
    if len(vector_C) <= FEW:
        return matrix_CC @ vector_C
    image: Vector = (torch.from_numpy(matrix_CC) @ torch.from_numpy(vector_C)).numpy()
    return image


def without_gauge(vector_C: Vector) -> Vector:
    """The vector without its part along 1: all rows sum to 1, so that adding a number to all α changes nothing."""
    return vector_C - vector_C.sum() / len(vector_C)


class DiagonalModel:
    """The diagonal of the Hessian, and the two-loop recursion (Nocedal, Mathematics of Computation 35, 1980) on top.

    A step that is too long is shortened; only where classes have next to no curvature is it bent as well.
    """

    def __init__(self) -> None:
        self.ready = False
        self._diagonal_C = np.ones(0)
        self._pairs: list[tuple[Vector, Vector, float]] = []

    def renew(self, curvature: Vector | None) -> None:
        if curvature is not None:
            self._diagonal_C, self.ready = curvature, True

    def learn(self, step_C: Vector, change_C: Vector) -> None:
        along = float(step_C @ change_C)
        if along > max(1e-14 * math.sqrt(float(step_C @ step_C) * float(change_C @ change_C)), _TINY):
            self._pairs = [*self._pairs[1 - PAIRS :], (step_C, change_C, 1 / along)]

    def step(self, gradient_C: Vector, radius: float) -> tuple[Vector, float]:
        whole_C = self._whole_step(gradient_C, radius)
        slope = float(gradient_C @ whole_C)
        if not (math.isfinite(slope) and slope < 0):
            self._pairs = []  # they are of another curvature
            whole_C = self._whole_step(gradient_C, radius)
            slope = float(gradient_C @ whole_C)
        length = math.sqrt(float(whole_C @ whole_C))
        share = min(1.0, radius / length) if length > 0 else 1.0
        return share * whole_C, -slope * share * (1 - share / 2)

    def _whole_step(self, gradient_C: Vector, radius: float) -> Vector:
        part_C, factors = gradient_C, []
        for step_C, change_C, inverse in reversed(self._pairs):
            factors.append(inverse * float(step_C @ part_C))
            part_C = part_C - factors[-1] * change_C
        # Where a class has no curvature to speak of, as much of it as keeps its part of the step within the radius.
        part_C = part_C / np.maximum(self._diagonal_C, max(float(np.abs(part_C).max()) / radius, _TINY))
        for (step_C, change_C, inverse), factor in zip(self._pairs, reversed(factors), strict=True):
            part_C = part_C + (factor - inverse * float(change_C @ part_C)) * step_C
        return without_gauge(-part_C)


def secular(slope_C: Vector, eigenvalue_C: Vector, radius: float) -> Vector:
    """−slope / (eigenvalue + shift) with the smallest shift ≥ 0 that makes its norm at most the radius.

    Newton's method on 1/radius − 1/norm, which is concave in the shift, so from the left it never passes the root. The
    start is on the left: no part alone may exceed the radius, so shift ≥ |slope| / radius − eigenvalue for each.
    """
    shift = max(0.0, float((np.abs(slope_C) / radius - eigenvalue_C).max()))
    part_C = slope_C
    for _ in range(SECULAR_STEPS):
        stiffness_C = np.maximum(eigenvalue_C + shift, _TINY)
        part_C = -slope_C / stiffness_C
        square = float(part_C @ part_C)
        excess = math.sqrt(square) / radius - 1
        slope = float((part_C * part_C / stiffness_C).sum())
        if not (excess > SECULAR_SLACK and slope > 0):
            break
        shift += excess * square / slope
    return part_C
