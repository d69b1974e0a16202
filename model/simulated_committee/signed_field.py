"""A structure's surface as signed distances in a box of the volume: what errors and faults move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.grid import Box, Grid, Triple
from model.placed_crop import Mask, foreground_bounds, grown, union_box

Values = npt.NDArray[np.float32]

FAR_MM = 60.0
"""Distance of what is surely outside or inside."""

# Distances of voxel centres from a voxelised surface are whole voxels; a little smoothing tells
# how a surface lies between them.
_SMOOTH_VOXELS = 0.7
_LEAST_VOXELS = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class SignedField:
    """Distances in mm to a surface, positive inside; outside of the box all is far outside.

    Attributes:
        values: Shape ``box.shape``.
        box: Where they lie in the volume.
    """

    values: Values
    box: Box

    def over(self, box: Box) -> Values:
        """Return the values in another box; far outside where this field has none."""
        result = np.full(box.shape, -FAR_MM, np.float32)
        low = np.maximum(box.start, self.box.start)
        high = np.minimum(box.stop, self.box.stop)
        if (low < high).all():
            target = tuple(
                slice(a - s, b - s) for a, b, s in zip(low, high, box.start, strict=True)
            )
            start = self.box.start
            source = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
            result[target] = self.values[source]
        return result

    def joined(self, other: SignedField) -> SignedField:
        """Return the union of two shapes."""
        box = union_box([self.box, other.box])
        return SignedField(np.maximum(self.over(box), other.over(box)), box)

    def without(self, other: SignedField) -> SignedField:
        """Return this shape less another one."""
        return SignedField(np.minimum(self.values, -other.over(self.box)), self.box)


def truth_field(mask: Mask, grid: Grid, reach_mm: float) -> SignedField | None:
    """Return the surface of a mask in its box and ``reach_mm`` round it; None where it is empty.

    The field is above 0 exactly where the mask is. Where the volume ends there is no surface.

    Args:
        mask: Shape ``grid.shape``.
        grid: Of the volume.
        reach_mm: What the box holds beside the mask.
    """
    bounds = foreground_bounds(mask)
    if bounds is None:
        return None
    i, j, k = (int(np.ceil(reach_mm / size)) + 1 for size in grid.spacing_mm)
    box = grown(bounds, (i, j, k), grid.shape)
    return SignedField(signed_distance(mask[box.slices], grid.spacing_mm), box)


def signed_distance(mask: Mask, spacing_mm: Triple) -> Values:
    """Return distances to a mask's surface in mm, above 0 exactly inside, shape of the mask.

    Half a voxel is taken off distances between centres, and they are smoothed by less than a voxel.
    A mask that fills its array, or nothing of it, is far inside or outside everywhere.
    """
    if mask.all() or not mask.any():
        return np.where(mask, FAR_MM, -FAR_MM).astype(np.float32)
    half = float(np.mean(spacing_mm)) / 2
    inward = np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing_mm))
    outward = np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm))
    rough = np.where(mask, inward - half, half - outward).astype(np.float32)
    smooth = ndimage.gaussian_filter(rough, _SMOOTH_VOXELS, mode="nearest", truncate=3.0)
    least = np.float32(2 * half * _LEAST_VOXELS)
    return np.where(mask, np.maximum(smooth, least), np.minimum(smooth, -least))


def ball(
    center: npt.NDArray[np.float64], radii_mm: npt.NDArray[np.float64], grid: Grid
) -> SignedField:
    """Return an ellipsoid round a voxel, its distances those of a ball of the mean radius.

    Args:
        center: Voxel position, shape (3,).
        radii_mm: Along the axes, shape (3,).
        grid: Of the volume; what is outside of it is cut off.
    """
    spacing = np.asarray(grid.spacing_mm)
    reach = np.ceil(1.6 * radii_mm / spacing).astype(int) + 1
    start = np.clip(np.floor(center).astype(int) - reach, 0, np.asarray(grid.shape) - 1)
    stop = np.clip(np.ceil(center).astype(int) + reach + 1, start + 1, grid.shape)
    axes = [
        (np.arange(a, b) - c) * s / r
        for a, b, c, s, r in zip(start, stop, center, spacing, radii_mm, strict=True)
    ]
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    values = float(radii_mm.mean()) * (1 - np.sqrt(i**2 + j**2 + k**2))
    box = Box(
        (int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2]))
    )
    return SignedField(values.astype(np.float32), box)
