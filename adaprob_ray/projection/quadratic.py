"""Quadratic models of the dual around α, and the steps that they propose within a given length.

    minimize over s  gᵀs + ½ sᵀHs   with  ‖s‖ ≤ radius,  Σ_k s_k = 0

`DenseModel` has the full Hessian and solves this exactly; `DiagonalModel` has its diagonal and the last few changes of the
gradient, for so many classes that a Hessian would cost more than the passes that it saves. Both are updated after every pass:
a step s that changed the gradient by y implies Hs = y (Broyden, Fletcher, Goldfarb and Shanno).

Axes: C classes whose total is above 0.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch

from adaprob_ray.projection.chunks import Vector
from adaprob_ray.projection.dual import Problem

# The secular equation takes 2 to 4 steps of Newton's method; 50 only bound the loop.
MAX_SECULAR_STEPS = 50

# A step may exceed the radius by this fraction of it: the trust region does not need an exact length.
SECULAR_SLACK = 0.1

# Up to this many classes NumPy computes a matrix-vector product in one thread.
MAX_SINGLE_THREAD_CLASSES = 64

# A DiagonalModel remembers this many changes of the gradient; older ones come from a part of D with another curvature.
MEMORY = 5

# A change of the gradient enters a DiagonalModel only if its angle to the step is not 90° to rounding.
MIN_COSINE = 1e-14

_TINY = np.finfo(np.float64).tiny


class QuadraticModel(Protocol):
    ready: bool

    def set_curvature(self, curvature: Vector | None) -> None:
        """Replace the curvature by that of D at the current α. None leaves the model unchanged."""

    def update(self, step_C: Vector, change_C: Vector) -> None:
        """Account for a step that changed the gradient by `change_C`."""

    def step(self, gradient_C: Vector, radius: float) -> tuple[Vector, float]:
        """s with ‖s‖ ≤ radius (to within SECULAR_SLACK), and the decrease of D that the model predicts for it."""


def model_for(problem: Problem) -> QuadraticModel:
    return DenseModel() if problem.is_dense else DiagonalModel()


class DenseModel:
    """The full Hessian: steps use its Cholesky factor if Newton's step is short enough, its eigenvalues otherwise
    (Moré and Sorensen, SIAM J. Sci. Stat. Comput. 4, 1983)."""

    def __init__(self) -> None:
        self.ready = False
        self._hessian_CC = np.empty((0, 0))
        self._eigen: tuple[Vector, Vector] | None = None

    def set_curvature(self, curvature: Vector | None) -> None:
        if curvature is not None and math.isfinite(curvature.sum()):
            self._hessian_CC, self._eigen, self.ready = curvature, None, True

    def update(self, step_C: Vector, change_C: Vector) -> None:
        """The BFGS formula, H + y yᵀ / sᵀy − Hs (Hs)ᵀ / sᵀHs."""
        step_change = float(step_C @ change_C)
        image_C = matvec(self._hessian_CC, step_C)
        step_image = float(step_C @ image_C)
        # The formula keeps H positive semidefinite only if both curvatures along the step are positive.
        if not (step_change > 0 and step_image > 0):
            return
        update_CC = change_C[:, None] * (change_C / step_change) - image_C[:, None] * (image_C / step_image)
        if math.isfinite(update_CC.sum()):
            self._hessian_CC, self._eigen = self._hessian_CC + update_CC, None

    def step(self, gradient_C: Vector, radius: float) -> tuple[Vector, float]:
        # H maps the vector of ones to 0. Curvature is added along it, so that it is not the smallest eigenvector.
        regular_CC = self._hessian_CC + self._hessian_CC.trace() / len(gradient_C)
        step_C = newton_step(regular_CC, gradient_C, radius)
        # Newton's step is too long or does not exist: the best step then has the length of the radius.
        if step_C is None:
            self._eigen = self._eigen or eigen(regular_CC)
            eigenvalue_C, vector_CC = self._eigen
            step_C = matvec(vector_CC, secular(matvec(vector_CC.T, gradient_C), eigenvalue_C, radius))
        step_C = subtract_mean(step_C)
        step_image = float(step_C @ matvec(self._hessian_CC, step_C))
        return step_C, -float(gradient_C @ step_C) - 0.5 * max(step_image, 0.0)


def newton_step(hessian_CC: Vector, gradient_C: Vector, radius: float) -> Vector | None:
    """−H⁻¹ g, None if it is longer than the radius or H is not positive definite to rounding."""
    factor_CC, failed = torch.linalg.cholesky_ex(torch.from_numpy(hessian_CC))
    if failed:
        return None
    step = torch.cholesky_solve(torch.from_numpy(-gradient_C[:, None]), factor_CC)[:, 0]
    # The negated comparison also rejects the NaN of a subnormal H.
    if not float(torch.linalg.vector_norm(step)) <= radius:
        return None
    return step.numpy()


def eigen(matrix_CC: Vector) -> tuple[Vector, Vector]:
    """Eigenvalues, with those below 0 by rounding raised to it, and eigenvectors in columns."""
    eigenvalues, vectors = torch.linalg.eigh(torch.from_numpy(matrix_CC))
    return np.maximum(eigenvalues.numpy(), 0.0), vectors.numpy()


def matvec(matrix_CC: Vector, vector_C: Vector) -> Vector:
    """The matrix-vector product, by torch where it uses threads: NumPy's threads would compete with torch's for the cores."""
    if len(vector_C) <= MAX_SINGLE_THREAD_CLASSES:
        return matrix_CC @ vector_C
    return (torch.from_numpy(matrix_CC) @ torch.from_numpy(vector_C)).numpy()


def subtract_mean(vector_C: Vector) -> Vector:
    """The vector without its component along the ones: adding a number to all α changes nothing, as rows sum to 1."""
    return vector_C - vector_C.sum() / len(vector_C)


class DiagonalModel:
    """The diagonal of the Hessian, and the two-loop recursion (Nocedal, Mathematics of Computation 35, 1980) on top.

    A step that is too long is shortened; it changes its direction only where classes have almost no curvature.
    """

    def __init__(self) -> None:
        self.ready = False
        self._diagonal_C = np.ones(0)
        self._pairs: list[tuple[Vector, Vector, float]] = []

    def set_curvature(self, curvature: Vector | None) -> None:
        if curvature is not None:
            self._diagonal_C, self.ready = curvature, True

    def update(self, step_C: Vector, change_C: Vector) -> None:
        step_change = float(step_C @ change_C)
        norms = math.sqrt(float(step_C @ step_C) * float(change_C @ change_C))
        if step_change > max(MIN_COSINE * norms, _TINY):
            self._pairs = [*self._pairs[1 - MEMORY :], (step_C, change_C, 1 / step_change)]

    def step(self, gradient_C: Vector, radius: float) -> tuple[Vector, float]:
        full_step_C = self._full_step(gradient_C, radius)
        slope = float(gradient_C @ full_step_C)
        # The remembered changes come from a part of D with another curvature if their step does not descend.
        if not (math.isfinite(slope) and slope < 0):
            self._pairs = []
            full_step_C = self._full_step(gradient_C, radius)
            slope = float(gradient_C @ full_step_C)
        length = math.sqrt(float(full_step_C @ full_step_C))
        fraction = min(1.0, radius / length) if length > 0 else 1.0
        return fraction * full_step_C, -slope * fraction * (1 - fraction / 2)

    def _full_step(self, gradient_C: Vector, radius: float) -> Vector:
        direction_C, factors = gradient_C, []
        for step_C, change_C, inverse in reversed(self._pairs):
            factors.append(inverse * float(step_C @ direction_C))
            direction_C = direction_C - factors[-1] * change_C
        # A class with almost no curvature gets as much as keeps its component of the step within the radius.
        min_curvature = max(float(np.abs(direction_C).max()) / radius, _TINY)
        direction_C = direction_C / np.maximum(self._diagonal_C, min_curvature)
        for (step_C, change_C, inverse), factor in zip(self._pairs, reversed(factors), strict=True):
            direction_C = direction_C + (factor - inverse * float(change_C @ direction_C)) * step_C
        return subtract_mean(-direction_C)


def secular(slope_C: Vector, eigenvalue_C: Vector, radius: float) -> Vector:
    """−slope / (eigenvalue + shift) with the smallest shift ≥ 0 that makes its norm at most the radius.

    Newton's method on 1/radius − 1/norm, which is concave in the shift, so that from the left it never passes the root. The
    initial shift is on the left: no component may exceed the radius, so shift ≥ |slope| / radius − eigenvalue for each.
    """
    shift = max(0.0, float((np.abs(slope_C) / radius - eigenvalue_C).max()))
    step_C = slope_C
    for _ in range(MAX_SECULAR_STEPS):
        stiffness_C = np.maximum(eigenvalue_C + shift, _TINY)
        step_C = -slope_C / stiffness_C
        square = float(step_C @ step_C)
        excess = math.sqrt(square) / radius - 1
        slope = float((step_C * step_C / stiffness_C).sum())
        if not (excess > SECULAR_SLACK and slope > 0):
            break
        shift += excess * square / slope
    return step_C
