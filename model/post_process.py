"""What is kept of one raw mask: components by size, slices by height, lesions by their organ.

Masks are crops of shape (I, J, K) in RAS order. Every function returns the mask itself where all of
it stays, looks once at the whole crop and never once per component. Labels take 2 or 4 bytes a
voxel of the crop meanwhile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.components import Counts, Labels, label_counts, labeled
from model.dilation import closed, dilated, radii_of
from model.grid import Shape, Triple

Mask = npt.NDArray[np.bool_]
Table = npt.NDArray[np.bool_]
"""One entry a label; whether it stays. The first, of the background, is False."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimits:
    """From which size on a component stays, in voxels.

    Attributes:
        least: Components of so many or fewer are dropped.
        sure: Components of more than this stay; None: the share alone decides.
        share: Of the largest component; from it on a component stays.
    """

    least: int
    sure: int | None = None
    share: float = 0.0


def whole_voxels(volume_ml: float, voxel_ml: float) -> int:
    """Return how many whole voxels a volume holds."""
    # Limits are often whole voxels of some grid; rounding of the quotient must not lose one.
    return math.floor(volume_ml / voxel_ml + 1e-6)


def large_enough(counts: Counts, limits: SizeLimits) -> Table:
    """Return which of the counted components stay by their size.

    Args:
        counts: Voxels by label, 0 for the background.
        limits: In voxels.
    """
    enough = counts >= max(1.0, limits.share * int(counts.max()))
    if limits.sure is not None:
        enough |= counts > limits.sure
    return enough & (counts > limits.least)


def keep_largest(mask: Mask, *, least: int) -> Mask:
    """Return the largest component, the first of equal ones; nothing at ``least`` voxels or fewer.

    Args:
        mask: Any.
        least: In voxels.
    """
    labels, count = labeled(mask)
    counts = label_counts(labels, count)
    table = np.zeros(count + 1, np.bool_)
    largest = int(counts.argmax())
    table[largest] = counts[largest] > least
    return chosen(mask, labels, table)


def keep_fragments(mask: Mask, limits: SizeLimits) -> Mask:
    """Return all components that are large enough."""
    labels, count = labeled(mask)
    return chosen(mask, labels, large_enough(label_counts(labels, count), limits))


def keep_from(mask: Mask, lowest: int) -> Mask:
    """Return a mask without its slices below one, an index of the crop's last axis."""
    below = min(max(0, lowest), mask.shape[2])
    if not mask[:, :, :below].any():
        return mask
    kept = mask.copy()
    kept[:, :, :below] = False
    return kept


def host_region(host: Mask, spacing_mm: Triple, *, close_mm: float, reach_mm: float) -> Mask:
    """Return where a lesion of an organ may lie: the organ closed, then grown, both by boxes.

    It is exact at ``region_margin`` voxels from where the array ends without the volume ending.
    Voxels beside the organ always belong to it, however thick slices are.
    """
    return dilated(closed(host, radii_of(close_mm, spacing_mm)), _reach(reach_mm, spacing_mm))


def region_margin(spacing_mm: Triple, *, close_mm: float, reach_mm: float) -> Shape:
    """Return how many voxels of the organ round a place ``host_region`` looks at, by axis."""
    closing, reach = radii_of(close_mm, spacing_mm), _reach(reach_mm, spacing_mm)
    i, j, k = (2 * a + b for a, b in zip(closing, reach, strict=True))
    return i, j, k


def keep_hosted(lesion: Mask, region: Mask, *, least: int, largest_cut: float) -> Mask:
    """Return the components of a lesion that touch their organ's region, cut to it.

    A component that would lose a larger share than ``largest_cut`` stays whole: it may grow out of
    the organ, or the organ's mask may leave its lesions out.

    Args:
        lesion: Any.
        region: As ``host_region`` gives it, same shape.
        least: Components that have so many voxels or fewer left are dropped.
        largest_cut: In [0, 1].

    Raises:
        ValueError: The shapes differ.
    """
    if lesion.shape != region.shape:
        raise ValueError(f"lesion {lesion.shape} and region {region.shape} must share one shape")
    labels, count = labeled(lesion)
    counts = label_counts(labels, count)
    inside = label_counts(labels, count, region)
    whole = (inside > 0) & (counts - inside > largest_cut * counts)
    left = np.where(whole, counts, inside)
    stays = left > least
    if (stays[1:] & (left == counts)[1:]).all():
        return lesion
    return (stays & whole)[labels] | ((stays & ~whole)[labels] & region)


def chosen(mask: Mask, labels: Labels, table: Table) -> Mask:
    """Return the voxels whose label stays; the mask itself where all do."""
    return mask if table[1:].all() else table[labels]


def _reach(reach_mm: float, spacing_mm: Triple) -> Shape:
    i, j, k = (max(1, radius) for radius in radii_of(reach_mm, spacing_mm))
    return i, j, k
