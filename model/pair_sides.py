"""Both masks of a pair of organs, judged together: what the network put on the wrong side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.components import Counts, Labels, label_counts, labeled
from model.dilation import dilated
from model.midline import Midline, Side
from model.post_process import SizeLimits, Table, large_enough
from model.side_split import labels_on

Mask = npt.NDArray[np.bool_]

_ADJACENT = (1, 1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Masks of both sides, crops of one box."""

    left: Mask
    right: Mask


def resolve_sides(raw: Sides, midline: Midline, *, start: int, limits: SizeLimits) -> Sides:
    """Return what is kept of one voter's masks of a pair.

    A component of one side's mask that surely lies on the other side of the body and touches the
    other side's mask goes there. Then the components of both masks together are judged: on each
    side those stay that have enough voxels of that side, and those that surely lie on the wrong
    side only where that side has no other. Fused organs are one component, so each mask keeps its
    own voxels. Where the midline may lie, nothing changes side. The largest component stays
    whatever its size, so that what had voxels never ends with both sides empty; one may.

    Peak memory is about 12 bytes a voxel of the crop.

    Args:
        raw: Both masks, shape (I, J, K), RAS order.
        midline: Of the body.
        start: Index of the crop's first voxel along the first axis of the volume.
        limits: Sizes on each side.
    """
    to_right = _strays(raw.left, raw.right, "right", midline, start)
    to_left = _strays(raw.right, raw.left, "left", midline, start)
    left = (raw.left & ~to_right) | to_left
    right = (raw.right & ~to_left) | to_right
    labels, count = labeled(left | right)
    left_counts, left_table = _judged(labels, count, left, ("right", midline, start), limits)
    right_counts, right_table = _judged(labels, count, right, ("left", midline, start), limits)
    if count and not (left_table.any() or right_table.any()):
        if left_counts.max() >= right_counts.max():
            left_table[left_counts.argmax()] = True
        else:
            right_table[right_counts.argmax()] = True
    return Sides(left & left_table[labels], right & right_table[labels])


def _strays(own: Mask, other: Mask, side: Side, midline: Midline, start: int) -> Mask:
    """Return the components that surely lie on a side and touch the mask of that side."""
    if not midline.beyond(own, side, start=start).any():
        return np.zeros_like(own)
    labels, count = labeled(own)
    counts = label_counts(labels, count)
    table = labels_on(side, labels, counts, midline, start=start)
    if table.any():
        table &= label_counts(labels, count, dilated(other, _ADJACENT)) > 0
    return table[labels]


def _judged(
    labels: Labels,
    count: int,
    own: Mask,
    wrong: tuple[Side, Midline, int],
    limits: SizeLimits,
) -> tuple[Counts, Table]:
    """Return how many voxels of a side each component has, and which of them stay."""
    counts = label_counts(labels, count, own)
    side, midline, start = wrong
    if midline.beyond(own, side, start=start).any():
        misplaced = labels_on(side, labels * own, counts, midline, start=start)
        table = large_enough(np.where(misplaced, 0, counts), limits)
        if table.any():
            return counts, table
    return counts, large_enough(counts, limits)
