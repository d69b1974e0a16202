"""Reading a label file: whole numbers on a grid, and none that its label map does not know."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, Reason
from storage.blocked_copy import copy_in_blocks
from storage.grid import Grid
from storage.image_faults import VolumeLimits
from storage.image_stream import open_image_stream
from storage.volume import Volume

_MAX_VALUE = 65535
# Deflate packs zeros 1032 times at most, and a mask is mostly zeros.
_MAX_EXPANSION = 1100.0
_SLAB_VOXELS = 1 << 22
_LISTED = 5
# A scaling such as 1 / 255 in float32 leaves a trace.
_WHOLE_WITHIN = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class LabelFile:
    """A mask or label map as read.

    Attributes:
        values_ras: uint8, or uint16 where the label map goes past 255; RAS order, shape
            ``grid.ras_shape``.
    """

    grid: Grid
    values_ras: npt.NDArray[np.unsignedinteger]


def read_label_file(path: Path, limits: VolumeLimits, *, allowed: Collection[int]) -> LabelFile:
    """Read a label file completely, in any number type, its values and its check sum checked.

    Memory: the result, and a slab of 4 million voxels.

    Args:
        path: A ``.nii`` or ``.nii.gz``.
        limits: The limits on its size; a mask may compress far better than a CT.
        allowed: Values that may occur, 0 to 65535; 0 always may.

    Raises:
        CaseError: FOREIGN_VALUES for any other value, fractions and NaN among them; any fault of
            the file.
    """
    limits = replace(limits, max_expansion=max(limits.max_expansion, _MAX_EXPANSION))
    volume = Volume.open(path, limits=limits)
    known = _lookup(allowed)
    dtype = np.uint8 if len(known) <= 256 else np.uint16
    values_ras = np.empty(volume.grid.ras_shape, dtype)
    native = volume.grid.array_from_ras(values_ras)
    i, j, k = volume.grid.shape
    step = max(1, _SLAB_VOXELS // (i * j))
    with open_image_stream(path) as stream:
        stream.skip(volume.layout.offset)
        for start in range(0, k, step):
            shape = (i, j, min(step, k - start))
            stored = np.empty(math.prod(shape), volume.layout.dtype)
            stream.read_into(stored.view(np.uint8).data)
            slab = _checked(_scaled(stored, volume), known, path.name).astype(dtype)
            copy_in_blocks(native[:, :, start : start + shape[2]], slab.reshape(shape, order="F"))
        stream.finish(slack_bytes=limits.slack_bytes)
    return LabelFile(volume.grid, values_ras)


def _lookup(allowed: Collection[int]) -> npt.NDArray[np.bool_]:
    """Return for every value up to the highest one whether it may occur."""
    outside = [value for value in allowed if not 0 <= value <= _MAX_VALUE]
    if outside:
        raise CaseError(
            Reason.FOREIGN_VALUES, f"label values run from 0 to {_MAX_VALUE}, got {outside[0]}"
        )
    known = np.zeros(max(allowed, default=0) + 1, np.bool_)
    known[[0, *allowed]] = True
    return known


def _scaled(stored: npt.NDArray[np.generic], volume: Volume) -> npt.NDArray[np.generic]:
    if not volume.layout.is_scaled:
        return stored
    return stored.astype(np.float64) * volume.layout.slope + volume.layout.intercept


def _checked(
    values: npt.NDArray[Any], known: npt.NDArray[np.bool_], name: str
) -> npt.NDArray[np.generic]:
    """Return the values when all of them may occur."""
    inside = (values > -0.5) & (values < len(known) - 0.5)
    # What is out of range, NaN too, stands for 0 until `fine` says that it is foreign.
    index = np.rint(np.where(inside, values, 0)).astype(np.int64)
    fine = inside & (np.abs(values - index) <= _WHOLE_WITHIN) & known[index]
    if not fine.all():
        foreign = ", ".join(f"{value:g}" for value in np.unique(values[~fine])[:_LISTED])
        listed = np.flatnonzero(known).tolist()
        shown = listed if len(listed) <= 2 * _LISTED else f"the {len(listed)} of the label map"
        raise CaseError(
            Reason.FOREIGN_VALUES,
            f"{name} may hold the values {shown}, got {foreign}; say in the label map what they "
            "are, or set them to 0",
        )
    return index
