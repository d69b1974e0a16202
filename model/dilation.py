"""Masks grown and closed by boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.grid import Shape, Triple

Mask = npt.NDArray[np.bool_]


def radii_of(reach_mm: float, spacing_mm: Triple) -> Shape:
    """Return how many whole voxels a distance reaches along each axis; 0 where it is too short."""
    i, j, k = (int(reach_mm / size + 1e-6) for size in spacing_mm)
    return i, j, k


def dilated(mask: Mask, radii: Sequence[int]) -> Mask:
    """Dilate by a box of the given radii; each pass triples the reach, so few are needed."""
    for axis, radius in enumerate(radii):
        reach = 0
        while reach < radius:
            step = min(2 * reach + 1, radius - reach)
            mask = _spread(mask, step, axis)
            reach += step
    return mask


def closed(mask: Mask, radii: Sequence[int]) -> Mask:
    """Close by a box of the given radii; where the array ends, nothing is taken off."""
    return ~dilated(~dilated(mask, radii), radii)


def _spread(mask: Mask, step: int, axis: int) -> Mask:
    low = [slice(None)] * mask.ndim
    high = [slice(None)] * mask.ndim
    low[axis], high[axis] = slice(None, -step), slice(step, None)
    wider = mask.copy()
    wider[tuple(high)] |= mask[tuple(low)]
    wider[tuple(low)] |= mask[tuple(high)]
    return wider
