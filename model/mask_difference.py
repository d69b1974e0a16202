"""What differs between two masks of one structure: volumes, overlap, slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.grid import Grid, Triple
from model.metrics import Agreement, dice

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskDifference:
    """How a second mask differs from a first.

    Attributes:
        added_ml: In the second alone.
        removed_ml: In the first alone.
        dsc: Dice similarity; ``Agreement.ABSENT`` when both are empty.
        first_slices: Axial slices that hold some of the first.
        changed_slices: Axial slices in which they differ.
        most_changed: Along each axis the slice in which most voxels differ, the lowest of equals;
            None where nothing differs.
    """

    first_ml: float
    second_ml: float
    added_ml: float
    removed_ml: float
    dsc: float | Agreement
    first_slices: int
    second_slices: int
    changed_slices: int
    most_changed: tuple[int, int, int] | None


def mask_difference(first: Mask, second: Mask, spacing_mm: Triple) -> MaskDifference:
    """Return what differs between two masks.

    Args:
        first: Shape (I, J, K); axial slices count along K.
        second: The same shape, on the same grid.
        spacing_mm: Of that grid.

    Raises:
        ValueError: The shapes differ.
    """
    overlap = dice(first, second)
    i, j, k = first.shape
    voxel_ml = Grid((i, j, k), spacing_mm).voxel_ml
    added, removed = (_per_slice(mask) for mask in (second & ~first, first & ~second))
    of_first, of_second = _per_slice(first), _per_slice(second)
    changed = added + removed
    return MaskDifference(
        first_ml=float(of_first.sum() * voxel_ml),
        second_ml=float(of_second.sum() * voxel_ml),
        added_ml=float(added.sum() * voxel_ml),
        removed_ml=float(removed.sum() * voxel_ml),
        dsc=overlap,
        first_slices=int(np.count_nonzero(of_first)),
        second_slices=int(np.count_nonzero(of_second)),
        changed_slices=int(np.count_nonzero(changed)),
        most_changed=_most_changed(first ^ second),
    )


def _per_slice(mask: Mask) -> npt.NDArray[np.int64]:
    return np.count_nonzero(mask, axis=(0, 1))


def _most_changed(changed: Mask) -> tuple[int, int, int] | None:
    if not changed.any():
        return None
    i, j, k = (
        int(np.argmax(np.count_nonzero(changed, axis=others)))
        for others in ((1, 2), (0, 2), (0, 1))
    )
    return (i, j, k)
