"""Voxel grids and boxes of them; axes are (I, J, K) everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.errors import UsageError

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Grid:
    """A voxel grid."""

    shape: Shape
    spacing_mm: Triple

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel."""
        return math.prod(self.spacing_mm) / 1000.0


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open range of native voxels, per axis."""

    start: Shape
    stop: Shape

    @property
    def shape(self) -> Shape:
        """Voxels per axis."""
        i, j, k = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return i, j, k

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the box in a native volume."""
        i, j, k = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return i, j, k


def volume_grid(hu: npt.NDArray[np.int16], spacing_mm: Triple) -> Grid:
    """Return a volume's grid.

    Raises:
        UsageError: Type, shape or spacing is not what a volume has.
    """
    if hu.ndim != 3 or hu.dtype != np.int16 or hu.size == 0:
        raise UsageError(
            f"a volume must be int16 of shape (I, J, K), got {hu.dtype} of shape {hu.shape}"
        )
    if len(spacing_mm) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing_mm):
        raise UsageError(f"spacing_mm must be three positive numbers, got {spacing_mm}")
    i, j, k = hu.shape
    return Grid((i, j, k), spacing_mm)
