"""A mask as it is being edited: the part of the CT that was worked on, and the base around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.errors import UsageError
from storage.grid import Box, Grid, box_shape, box_slices
from storage.labels import LabelMask
from storage.masks import bounds_of, decode_crop
from storage.objects import ObjectStore
from storage.predictions import nested_box

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class EditedMask:
    """A mask inside a box; outside of it the base holds.

    Attributes:
        mask_ras: RAS order, the shape of ``box_ras``.
        box_ras: Where it lies in the CT.
    """

    mask_ras: Mask
    box_ras: Box

    def __post_init__(self) -> None:
        if self.mask_ras.shape != box_shape(self.box_ras) or self.mask_ras.dtype != np.bool_:
            raise UsageError(
                f"an edited mask must be bool and fill its box {self.box_ras}, got "
                f"{self.mask_ras.dtype} {self.mask_ras.shape}"
            )


def label_in(objects: ObjectStore, label: LabelMask, grid: Grid, box_ras: Box) -> Mask:
    """Return the part of a stored mask that lies in a box, RAS order; False where it is absent.

    Raises:
        StorageError: The mask is missing or damaged.
    """
    if label.object is None or label.box is None:
        return np.zeros(box_shape(box_ras), np.bool_)
    native = nested_box(label.box)
    crop = decode_crop(objects.read(label.object), native, grid) > 0
    return part_in(EditedMask(crop, grid.box_to_ras(native)), box_ras)


def label_box(label: LabelMask, grid: Grid) -> Box | None:
    """Return where a stored mask lies, RAS order; None where it is absent."""
    return None if label.box is None else grid.box_to_ras(nested_box(label.box))


def part_in(edited: EditedMask, box_ras: Box) -> Mask:
    """Return what an edited mask says about a box, False where it says nothing."""
    result = np.zeros(box_shape(box_ras), np.bool_)
    shared = common_box(edited.box_ras, box_ras)
    if shared is not None:
        result[inside(shared, box_ras)] = edited.mask_ras[inside(shared, edited.box_ras)]
    return result


def joined(under: EditedMask | None, over: EditedMask, *, base: EditedMask) -> EditedMask:
    """Return two edits as one on the smallest box that holds both; the base fills the gaps.

    Args:
        under: What was drawn before, in this part or another; None for nothing.
        over: What was drawn now; it holds where both say something.
        base: The whole base mask, or the part of it that is not empty.
    """
    if under is None:
        return over
    box = hull([under.box_ras, over.box_ras])
    result = part_in(base, box)
    for one in (under, over):
        result[inside(one.box_ras, box)] = one.mask_ras
    return EditedMask(result, box)


def trimmed(edited: EditedMask) -> EditedMask:
    """Return an edit of an empty base on the smallest box that holds its voxels; itself if empty.

    Nothing is lost: outside of the box the base, and so nothing, holds.
    """
    bounds = bounds_of(edited.mask_ras)
    if bounds is None:
        return edited
    i, j, k = (
        (low + start, low + stop)
        for (start, stop), (low, _) in zip(bounds, edited.box_ras, strict=True)
    )
    return EditedMask(edited.mask_ras[box_slices(bounds)].copy(), (i, j, k))


def moved_to(edited: EditedMask, *, old_base: EditedMask, new_base: EditedMask) -> EditedMask:
    """Return the new base with the voxels that the edit changed in the old one changed likewise."""
    before, after = (part_in(base, edited.box_ras) for base in (old_base, new_base))
    changed = before != edited.mask_ras
    return EditedMask(np.where(changed, edited.mask_ras, after), edited.box_ras)


def hull(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that holds one or more boxes."""
    i, j, k = (
        (min(box[axis][0] for box in boxes), max(box[axis][1] for box in boxes))
        for axis in range(3)
    )
    return (i, j, k)


def common_box(first: Box, second: Box) -> Box | None:
    """Return what two boxes share; None for nothing."""
    i, j, k = (
        (max(one[0], other[0]), min(one[1], other[1]))
        for one, other in zip(first, second, strict=True)
    )
    return (i, j, k) if all(low < high for low, high in (i, j, k)) else None


def inside(box: Box, outer: Box) -> tuple[slice, slice, slice]:
    """Return the slices that cut a box out of an array that fills another."""
    i, j, k = (
        (start - low, stop - low) for (start, stop), (low, _) in zip(box, outer, strict=True)
    )
    return box_slices((i, j, k))
