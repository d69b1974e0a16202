"""A crop of a volume with its place, put into another box of the same grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from model.grid import Box, Shape

Mask = npt.NDArray[np.bool_]
Values = TypeVar("Values", bound=np.generic)


@dataclass(frozen=True, slots=True)
class PlacedMask:
    """A mask as a crop of shape ``box.shape``, and where it lies in the volume."""

    mask: Mask
    box: Box

    def __post_init__(self) -> None:
        if self.mask.shape != self.box.shape:
            raise ValueError(
                f"a crop must have its box's shape {self.box.shape}, got {self.mask.shape}"
            )


@dataclass(frozen=True, slots=True)
class PackedMask:
    """A ``PlacedMask`` that waits: a bit a voxel of its box."""

    bits: npt.NDArray[np.uint8]
    box: Box

    def unpacked(self) -> Mask:
        """Return the crop again, shape ``box.shape``."""
        voxels = math.prod(self.box.shape)
        return np.unpackbits(self.bits, count=voxels).view(np.bool_).reshape(self.box.shape)


def packed(crop: PlacedMask) -> PackedMask:
    """Return a crop in an eighth of its memory."""
    return PackedMask(np.packbits(crop.mask), crop.box)


def cropped(mask: Mask, *, origin: Shape = (0, 0, 0)) -> PlacedMask | None:
    """Return a mask of shape (I, J, K) cut to its foreground; None where it has none.

    Args:
        mask: A volume, or a crop of one.
        origin: Where its first voxel lies in the volume.
    """
    box = foreground_bounds(mask)
    if box is None:
        return None
    crop = mask[box.slices].copy()
    start = [first + offset for first, offset in zip(box.start, origin, strict=True)]
    stop = [last + offset for last, offset in zip(box.stop, origin, strict=True)]
    return PlacedMask(crop, Box(_shape(start), _shape(stop)))


def foreground_bounds(mask: Mask) -> Box | None:
    """Return the smallest box that holds a mask's foreground; None where it has none."""
    rows = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(rows):
        return None
    plane = np.logical_or.reduce(mask[rows[0] : rows[-1] + 1], axis=0)
    hits = [rows, *(np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))]
    return Box(_shape([found[0] for found in hits]), _shape([found[-1] + 1 for found in hits]))


def placed(crop: npt.NDArray[Values], box: Box, into: Box) -> npt.NDArray[Values]:
    """Return the part of a crop that lies in another box, shape ``into.shape``, 0 elsewhere."""
    result = np.zeros(into.shape, crop.dtype)
    low = np.maximum(box.start, into.start)
    high = np.minimum(box.stop, into.stop)
    if (low < high).all():
        target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, into.start, strict=True))
        source = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, box.start, strict=True))
        result[target] = crop[source]
    return result


def grown(box: Box, voxels: Shape, shape: Shape) -> Box:
    """Return a box with so many voxels more on every side, as far as the volume reaches."""
    start = [max(0, a - n) for a, n in zip(box.start, voxels, strict=True)]
    stop = [min(size, b + n) for b, n, size in zip(box.stop, voxels, shape, strict=True)]
    return Box(_shape(start), _shape(stop))


def union_box(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that holds all of one or more boxes."""
    start = np.min([box.start for box in boxes], axis=0)
    stop = np.max([box.stop for box in boxes], axis=0)
    return Box(_shape(start), _shape(stop))


def _shape(values: Sequence[int] | npt.NDArray[np.int_]) -> Shape:
    i, j, k = (int(value) for value in values)
    return i, j, k
