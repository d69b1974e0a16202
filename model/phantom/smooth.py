"""Smooth random fields on a coarse lattice of cubic B-spline coefficients, cheap on any grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.floating[Any]]
"""Real values on a grid or at points; float32 wherever they fill a volume."""

_UNIT_SD = (151.0 / 315.0) ** 1.5
"""Standard deviation of a cubic B-spline field with independent unit coefficients, mean over
position: the mean of the squared basis weights along one axis is 151/315."""


def basis(position: Field) -> tuple[npt.NDArray[np.intp], Field]:
    """Return first coefficient index and the four cubic B-spline weights at lattice positions.

    Args:
        position: Positions in knots, shape (N,).

    Returns:
        Index of the first of four coefficients, shape (N,), and weights, shape (N, 4).

    Source:
        Uniform cubic B-spline basis, any textbook on splines.
    """
    first = np.floor(position)
    t = (position - first).astype(np.float32)
    s = 1 - t
    weights = np.stack(
        [s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], axis=-1
    ) / np.float32(6)
    return first.astype(np.intp), weights


def basis_matrix(position: Field, knots: int) -> Field:
    """Return the dense interpolation matrix from ``knots`` coefficients, shape (N, knots)."""
    first, weights = basis(np.clip(position, 0, knots - 4 + 0.999))
    matrix = np.zeros((len(position), knots), np.float32)
    rows = np.arange(len(position))
    for offset in range(4):
        matrix[rows, first + offset] = weights[:, offset]
    return matrix


def expand(coefficients: Field, matrices: tuple[Field, Field, Field]) -> Field:
    """Return the field of a coefficient lattice (A, B, C) on a grid (I, J, K)."""
    along_k = coefficients @ matrices[2].T
    along_j = np.matmul(matrices[1], along_k)
    flat = along_j.reshape(along_j.shape[0], -1)
    return (matrices[0] @ flat).reshape(matrices[0].shape[0], *along_j.shape[1:])


def random_field(
    axes_mm: tuple[Field, Field, Field], knot_mm: float, rng: np.random.Generator
) -> Field:
    """Return a smooth field of unit standard deviation on a rectangular grid, shape (I, J, K).

    Args:
        axes_mm: Grid positions along each axis.
        knot_mm: Distance of the lattice knots; structures are about this large.
        rng: Source of the coefficients.
    """
    matrices: list[Field] = []
    for axis in axes_mm:
        position = (axis - axis[0]) / knot_mm
        matrices.append(basis_matrix(position, int(position[-1]) + 4))
    shape = [matrix.shape[1] for matrix in matrices]
    coefficients = rng.standard_normal(shape, np.float32) / np.float32(_UNIT_SD)
    return expand(coefficients, (matrices[0], matrices[1], matrices[2]))


@dataclass(frozen=True, slots=True)
class Displacement:
    """A smooth displacement of space.

    Attributes:
        coefficients: B-spline coefficients in mm, shape (3, A, B, C).
        corner_mm: Position of lattice knot (1, 1, 1).
        knot_mm: Distance of the knots.
    """

    coefficients: Field
    corner_mm: tuple[float, float, float]
    knot_mm: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, *, sd_mm: float, knot_mm: float, half_extent_mm: float
    ) -> Displacement:
        """Return a random displacement over a cube round the origin."""
        knots = int(np.ceil(2 * half_extent_mm / knot_mm)) + 4
        noise = rng.standard_normal((3, knots, knots, knots), np.float32)
        scale = np.float32(sd_mm / _UNIT_SD)
        corner = (-half_extent_mm, -half_extent_mm, -half_extent_mm)
        return cls(np.clip(noise, -2, 2) * scale, corner, knot_mm)

    def on_grid(self, axis: int, axes_mm: tuple[Field, Field, Field]) -> Field:
        """Return one component on a rectangular grid, in mm, shape (I, J, K)."""
        knots = self.coefficients.shape[1]
        matrices = [
            basis_matrix((values - corner) / self.knot_mm, knots)
            for values, corner in zip(axes_mm, self.corner_mm, strict=True)
        ]
        return expand(self.coefficients[axis], (matrices[0], matrices[1], matrices[2]))

    def at(self, points_mm: Field) -> Field:
        """Return the displacement at points, in mm, shape (N, 3)."""
        last = self.coefficients.shape[1] - 4 + 0.999
        place = np.clip((points_mm - np.array(self.corner_mm)) / self.knot_mm, 0, last)
        first, weights = basis(place.reshape(-1))
        index = (first[:, None] + np.arange(4)).reshape(-1, 3, 4)
        w = weights.reshape(-1, 3, 4)
        near = self.coefficients[
            :, index[:, 0, :, None, None], index[:, 1, None, :, None], index[:, 2, None, None, :]
        ]
        near = (near * w[:, 2, None, None, :]).sum(axis=-1)
        near = (near * w[:, 1, None, :]).sum(axis=-1)
        return (near * w[:, 0]).sum(axis=-1).T
