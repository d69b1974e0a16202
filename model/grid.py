"""Voxel grids and boxes of them; axes are (I, J, K) everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
