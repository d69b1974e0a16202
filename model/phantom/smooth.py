"""Smooth random fields on a coarse lattice of cubic B-spline coefficients, cheap on any grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

_UNIT_SD = (151.0 / 315.0) ** 1.5
"""Standard deviation of a cubic B-spline field with independent unit coefficients, mean over
position: the mean of the squared basis weights along one axis is 151/315."""


def basis(position: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.intp], F32]:
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


def basis_matrix(position: npt.NDArray[np.floating], knots: int) -> F32:
    """Return the dense interpolation matrix from ``knots`` coefficients, shape (N, knots)."""
    first, weights = basis(np.clip(position, 0, knots - 4 + 0.999))
    matrix = np.zeros((len(position), knots), np.float32)
    rows = np.arange(len(position))
    for offset in range(4):
        matrix[rows, first + offset] = weights[:, offset]
    return matrix


def expand(coefficients: F32, matrices: tuple[F32, F32, F32]) -> F32:
    """Return the field of a coefficient lattice (A, B, C) on a grid (I, J, K)."""
    along_k = coefficients @ matrices[2].T
    along_j = np.matmul(matrices[1], along_k)
    flat = along_j.reshape(along_j.shape[0], -1)
    return (matrices[0] @ flat).reshape(matrices[0].shape[0], *along_j.shape[1:])


def random_field(axes_mm: tuple[F32, F32, F32], knot_mm: float, rng: np.random.Generator) -> F32:
    """Return a smooth field of unit standard deviation on a rectangular grid, shape (I, J, K).

    Args:
        axes_mm: Grid positions along each axis.
        knot_mm: Distance of the lattice knots; structures are about this large.
        rng: Source of the coefficients.
    """
    matrices: list[F32] = []
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

    coefficients: F32
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
        return cls(np.clip(noise, -2, 2) * scale, (-half_extent_mm,) * 3, knot_mm)

    def on_grid(self, axis: int, axes_mm: tuple[F32, F32, F32]) -> F32:
        """Return one component on a rectangular grid, in mm, shape (I, J, K)."""
        knots = self.coefficients.shape[1]
        matrices = [
            basis_matrix((values - corner) / self.knot_mm, knots)
            for values, corner in zip(axes_mm, self.corner_mm, strict=True)
        ]
        return expand(self.coefficients[axis], (matrices[0], matrices[1], matrices[2]))

    def at(self, points_mm: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return the displacement at points, in mm, shape (N, 3)."""
        last = self.coefficients.shape[1] - 4 + 0.999
        total = np.ones((len(points_mm), 1, 1, 1), np.float32)
        index: list[npt.NDArray[np.intp]] = []
        for axis in range(3):
            place = (points_mm[:, axis] - self.corner_mm[axis]) / self.knot_mm
            first, weights = basis(np.clip(place, 0, last))
            index.append(first[:, None] + np.arange(4))
            total = total * np.expand_dims(weights, [d for d in (1, 2, 3) if d != axis + 1])
        near = self.coefficients[
            :, index[0][:, :, None, None], index[1][:, None, :, None], index[2][:, None, None, :]
        ]
        return (near * total).sum(axis=(2, 3, 4)).T
