"""How far a mask is from a reference mask, on the native grid.

Every function gives ``Agreement.ABSENT`` when both masks are empty: agreeing that a structure is
absent is reported apart and never averaged as a perfect overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure

from model.grid import Triple

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

# Distances of whole voxels must not miss a tolerance of the same length by rounding.
_ROUNDING_MM = 1e-6


class Agreement(Enum):
    """A result that is not a number."""

    ABSENT = "agree absent"


def dice(prediction: Mask, reference: Mask) -> float | Agreement:
    """Return the Dice similarity of two masks of one shape; 0 when one is empty."""
    _check_shapes(prediction, reference)
    total = int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference))
    if total == 0:
        return Agreement.ABSENT
    return 2 * int(np.count_nonzero(prediction & reference)) / total


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distances between two surfaces, computed once and read several times.

    Attributes:
        from_prediction_mm: From each surface element of the prediction to the nearest of the
            reference.
        prediction_mm2: Areas of those elements.
        from_reference_mm: From each surface element of the reference to the nearest of the
            prediction.
        reference_mm2: Areas of those elements.
        spacing_mm: Of the grid.
    """

    from_prediction_mm: Floats
    prediction_mm2: Floats
    from_reference_mm: Floats
    reference_mm2: Floats
    spacing_mm: Triple


def surface_distances(
    prediction: Mask, reference: Mask, spacing_mm: Triple
) -> SurfaceDistances | Agreement | None:
    """Return the distances between the surfaces of two masks; None when exactly one is empty.

    A surface element is a cell of 2 x 2 x 2 voxels that holds foreground and background. Its area
    is that of the marching-cubes triangles in the cell, its place the cell's centre. Past the edge
    of the array is background.

    Args:
        prediction: Mask, shape (I, J, K).
        reference: Mask of the same shape.
        spacing_mm: Of the grid.

    Source:
        Surface Dice weighted by surface elements: Nikolov et al. 2018; the areas are ours, from
        marching cubes (Lorensen and Cline 1987).
    """
    _check_shapes(prediction, reference)
    if not prediction.any() and not reference.any():
        return Agreement.ABSENT
    if not prediction.any() or not reference.any():
        return None
    box = _bounding_box(prediction | reference)
    areas = [_cell_areas(mask[box], spacing_mm) for mask in (prediction, reference)]
    on_prediction, on_reference = (area > 0 for area in areas)
    to_prediction = _distance_to(on_prediction, spacing_mm)
    to_reference = _distance_to(on_reference, spacing_mm)
    return SurfaceDistances(
        to_reference[on_prediction],
        areas[0][on_prediction],
        to_prediction[on_reference],
        areas[1][on_reference],
        spacing_mm,
    )


def surface_dice(
    distances: SurfaceDistances | Agreement | None, tolerance_mm: float
) -> float | Agreement | None:
    """Return the share of both surfaces that lies within a tolerance of the other.

    0 when exactly one mask is empty. None when the tolerance is under the largest voxel spacing:
    the grid cannot tell such distances. ``distances`` is what ``surface_distances`` gave.
    """
    if distances is None:
        return 0.0
    if isinstance(distances, Agreement):
        return distances
    if tolerance_mm < max(distances.spacing_mm) - _ROUNDING_MM:
        return None
    reach = tolerance_mm + _ROUNDING_MM
    near = distances.prediction_mm2[distances.from_prediction_mm <= reach].sum()
    near += distances.reference_mm2[distances.from_reference_mm <= reach].sum()
    total = distances.prediction_mm2.sum() + distances.reference_mm2.sum()
    return float(near / total)


def hausdorff95_mm(distances: SurfaceDistances | Agreement | None) -> float | Agreement | None:
    """Return the 95th percentile of surface distance, by area, the larger of both directions.

    None when exactly one mask is empty: no distance is defined, and the Dice of 0 carries the miss.
    ``distances`` is what ``surface_distances`` gave.
    """
    if distances is None or isinstance(distances, Agreement):
        return distances
    return max(
        _weighted_percentile(distances.from_prediction_mm, distances.prediction_mm2),
        _weighted_percentile(distances.from_reference_mm, distances.reference_mm2),
    )


def volume_ml(mask: Mask, spacing_mm: Triple) -> float:
    """Return the volume of a mask, shape (I, J, K)."""
    return int(np.count_nonzero(mask)) * float(np.prod(spacing_mm)) / 1000.0


def _cell_areas(mask: Mask, spacing_mm: Triple) -> Floats:
    """Return the surface area in mm2 of every cell, shape (I + 1, J + 1, K + 1)."""
    i, j, k = (size + 1 for size in mask.shape)
    padded = np.pad(mask, 1)
    code = np.zeros((i, j, k), np.uint8)
    for bit, (a, b, c) in enumerate(np.ndindex(2, 2, 2)):
        code |= padded[a : a + i, b : b + j, c : c + k].astype(np.uint8) << bit
    return _areas_by_code(spacing_mm)[code]


@lru_cache(maxsize=32)
def _areas_by_code(spacing_mm: Triple) -> Floats:
    """Return the marching-cubes area of all 256 ways to fill a cell; bits as in ``_cell_areas``."""
    areas = np.zeros(256)
    for code in range(1, 255):
        corners = np.array([code >> bit & 1 for bit in range(8)], np.float32).reshape(2, 2, 2)
        vertices, faces, *_ = measure.marching_cubes(corners, 0.5, spacing=spacing_mm)
        areas[code] = measure.mesh_surface_area(vertices, faces)
    return areas


def _distance_to(surface: Mask, spacing_mm: Triple) -> Floats:
    return np.asarray(ndimage.distance_transform_edt(~surface, sampling=spacing_mm), np.float64)


def _weighted_percentile(distance_mm: Floats, weight: Floats) -> float:
    """Return the smallest distance that 95 % of the weight does not exceed."""
    order = np.argsort(distance_mm, kind="stable")
    reached = np.cumsum(weight[order])
    index = int(np.searchsorted(reached, 0.95 * reached[-1] * (1 - 1e-12)))
    return float(distance_mm[order][min(index, len(order) - 1)])


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    hits = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(int(found[0]), int(found[-1]) + 1) for found in hits)


def _check_shapes(prediction: Mask, reference: Mask) -> None:
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise ValueError(
            f"masks must share one shape (I, J, K), got {prediction.shape} and {reference.shape}"
        )
