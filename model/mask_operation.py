"""What a reader does to a whole mask at once: islands, holes, smoothing, growing, in mm and mL.

Every operation takes a mask (I, J, K) and returns a new one of the same shape. Where the array ends
the mask is taken to go on as it does at its edge, since an array is a region of a CT: nothing is
shrunk or filled from there.
"""

from __future__ import annotations

import math
from typing import Literal

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from configs.errors import UsageError
from model.components import label_counts, labeled
from model.grid import Box, Shape, Triple
from model.placed_crop import cropped, grown

Mask = npt.NDArray[np.bool_]

_Faces = Literal[4, 6]
_FACES_2D: _Faces = 4
_FACES_3D: _Faces = 6
_SMOOTHING_REACH = 3.0
# Distances to voxel centres are sums of squared spacings: a hair of rounding is not a voxel less.
_TIE = 1e-6


def without_islands(mask: Mask, spacing_mm: Triple, *, least_ml: float) -> Mask:
    """Return the mask without components under a volume; the largest stays whatever its size.

    Args:
        mask: Components touch by faces, edges or corners.
        spacing_mm: Voxel size.
        least_ml: Smallest volume that stays.
    """
    labels, count = labeled(mask)
    if count < 2:
        return mask.copy()
    counts = label_counts(labels, count)
    keep = counts * (math.prod(spacing_mm) / 1000.0) >= least_ml - _TIE
    keep[0] = False
    keep[counts.argmax()] = True
    return keep[labels]


def component_at(mask: Mask, voxel: Shape) -> Mask:
    """Return the component that holds a voxel.

    Raises:
        UsageError: The voxel lies outside of the mask.
    """
    if not all(0 <= at < length for at, length in zip(voxel, mask.shape, strict=True)):
        raise UsageError(f"a voxel must lie in the region {mask.shape}, got {voxel}")
    if not mask[voxel]:
        raise UsageError(f"a component is chosen by a voxel of the mask, {voxel} is none of it")
    labels, _ = labeled(mask)
    return labels == labels[voxel]


def with_holes_filled(mask: Mask, *, axis: int | None) -> Mask:
    """Return the mask with what it encloses.

    Args:
        mask: The mask.
        axis: Holes are those of each slice along this axis; None for holes closed in three
            dimensions. What reaches the end of the array is no hole.
    """
    crop = cropped(mask)
    if crop is None:
        return mask.copy()
    # One voxel of background around the crop joins everything outside of the mask.
    box = grown(crop.box, (1, 1, 1), _shape(mask.shape))
    result = mask.copy()
    part = mask[box.slices]
    if axis is None:
        result[box.slices] |= _enclosed(~part, _FACES_3D)
        return result
    for index in range(part.shape[axis]):
        where = tuple(index if other == axis else slice(None) for other in range(3))
        plane = np.ascontiguousarray(~part[where])
        result[box.slices][where] |= _enclosed(plane, _FACES_2D)
    return result


def smoothed(mask: Mask, spacing_mm: Triple, *, sigma_mm: float) -> Mask:
    """Return the mask where its Gaussian mean is above a half; thinner parts than that vanish.

    Args:
        mask: The mask.
        spacing_mm: Voxel size.
        sigma_mm: Standard deviation of the Gaussian; above 0.

    Raises:
        UsageError: ``sigma_mm`` is not above 0.
    """
    _check_distance(sigma_mm, "smoothing")
    box = _box_around(mask, spacing_mm, _SMOOTHING_REACH * sigma_mm)
    result = np.zeros_like(mask)
    if box is not None:
        sigmas = [sigma_mm / size for size in spacing_mm]
        mean = ndimage.gaussian_filter(
            mask[box.slices].astype(np.float32), sigmas, mode="nearest", truncate=_SMOOTHING_REACH
        )
        result[box.slices] = mean > 0.5
    return result


def grown_by(mask: Mask, spacing_mm: Triple, *, reach_mm: float) -> Mask:
    """Return every voxel whose centre is at most a distance from the centre of one of the mask.

    Raises:
        UsageError: ``reach_mm`` is not above 0.
    """
    _check_distance(reach_mm, "growing")
    box = _box_around(mask, spacing_mm, reach_mm)
    result = np.zeros_like(mask)
    if box is not None:
        result[box.slices] = _within(mask[box.slices], spacing_mm, reach_mm)
    return result


def shrunk_by(mask: Mask, spacing_mm: Triple, *, reach_mm: float) -> Mask:
    """Return the voxels farther than a distance from every voxel outside of the mask.

    Raises:
        UsageError: ``reach_mm`` is not above 0.
    """
    _check_distance(reach_mm, "shrinking")
    box = _box_around(mask, spacing_mm, 0.0)
    result = np.zeros_like(mask)
    if box is not None:
        # One voxel of background is enough, since every way out of the mask leads through it.
        box = grown(box, (1, 1, 1), _shape(mask.shape))
        part = mask[box.slices]
        result[box.slices] = part & ~_within(~part, spacing_mm, reach_mm)
    return result


def _within(mask: Mask, spacing_mm: Triple, reach_mm: float) -> Mask:
    """Return the voxels at most a distance from the mask; none where it is empty."""
    if not mask.any():
        return np.zeros_like(mask)
    # The distance field alone would take 8 bytes a voxel of the whole array; this is done by slabs.
    result = np.empty_like(mask)
    margin = math.ceil(reach_mm / spacing_mm[0]) + 1
    step = max(margin, 64)
    for start in range(0, mask.shape[0], step):
        stop = min(start + step, mask.shape[0])
        low = max(0, start - margin)
        part = mask[low : stop + margin]
        if not part.any():
            result[start:stop] = False
            continue
        distance = np.asarray(ndimage.distance_transform_edt(~part, sampling=spacing_mm))
        result[start:stop] = distance[start - low : stop - low] <= reach_mm + _TIE
    return result


def _enclosed(background: Mask, connectivity: _Faces) -> Mask:
    """Return the components of the background that do not reach the end of the array."""
    labels, count = cc3d.connected_components(background, connectivity=connectivity, return_N=True)
    is_hole = np.ones(int(count) + 1, np.bool_)
    is_hole[0] = False
    for axis in range(background.ndim):
        is_hole[np.take(labels, 0, axis=axis)] = False
        is_hole[np.take(labels, -1, axis=axis)] = False
    return is_hole[labels]


def _box_around(mask: Mask, spacing_mm: Triple, reach_mm: float) -> Box | None:
    crop = cropped(mask)
    if crop is None:
        return None
    i, j, k = (math.ceil(reach_mm / size) for size in spacing_mm)
    return grown(crop.box, (i, j, k), _shape(mask.shape))


def _check_distance(distance_mm: float, what: str) -> None:
    if not (math.isfinite(distance_mm) and 0 < distance_mm <= 100):
        raise UsageError(f"{what} needs a distance above 0 and up to 100 mm, got {distance_mm}")


def _shape(shape: tuple[int, ...]) -> Shape:
    i, j, k = shape
    return i, j, k
