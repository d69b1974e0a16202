"""Whether two files lie on one grid, whatever the order of their axes."""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from configs.errors import CaseError, Reason
from storage.grid import Grid

MAX_DISTANCE_VOXELS = 0.05
"""Farthest that a corner voxel may lie off, in voxels of the smallest spacing: float32 headers that
another tool wrote again differ far less, a shift by half a voxel far more."""


def corner_distance_mm(found: Grid, expected: Grid) -> float:
    """Return how far the farthest corner voxel of one grid lies from the other's, in RAS order.

    Infinite where the shapes differ. Axes may be permuted and flipped.
    """
    if found.ras_shape != expected.ras_shape:
        return math.inf
    ends = [(0, length - 1) for length in expected.ras_shape]
    corners = np.array([(*corner, 1) for corner in product(*ends)])
    difference = np.array(found.ras_affine) - np.array(expected.ras_affine)
    return float(np.linalg.norm((difference @ corners.T)[:3], axis=0).max())


def is_same_grid(found: Grid, expected: Grid) -> bool:
    """Whether the voxels of two grids are the same ones, whatever the order of the axes."""
    return corner_distance_mm(found, expected) <= _limit_mm(expected)


def _limit_mm(expected: Grid) -> float:
    return MAX_DISTANCE_VOXELS * min(expected.spacing_mm)


def check_same_grid(found: Grid, expected: Grid, name: str) -> None:
    """Refuse a file whose voxels are not those of another one.

    Axes may be permuted and flipped: both grids are compared in RAS order.

    Args:
        found: The file's grid.
        expected: The CT's grid.
        name: File name for messages.

    Raises:
        CaseError: GRID_MISMATCH.
    """
    if found.ras_shape != expected.ras_shape:
        raise CaseError(
            Reason.GRID_MISMATCH,
            f"{name} must lie on its CT's grid, {expected.ras_shape} voxels along R, A, S, got "
            f"{found.ras_shape}; resample it onto the CT with nearest neighbour",
        )
    farthest_mm, limit_mm = corner_distance_mm(found, expected), _limit_mm(expected)
    if farthest_mm > limit_mm:
        raise CaseError(
            Reason.GRID_MISMATCH,
            f"{name} must lie where its CT lies, within {limit_mm:.3f} mm, but a corner is "
            f"{farthest_mm:.3f} mm off; resample it onto the CT with nearest neighbour",
        )
