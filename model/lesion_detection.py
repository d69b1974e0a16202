"""Which lesions of a reference a mask finds, and which of its own are nowhere in the reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.grid import Triple

Mask = npt.NDArray[np.bool_]

_CORNERS_TOUCH = np.ones((3, 3, 3), np.bool_)


@dataclass(frozen=True, slots=True)
class LesionMatch:
    """Lesions of one kind in one CT.

    Attributes:
        diameters_mm: Of each lesion of the reference: that of a ball of its volume.
        found: Whether the tested mask shares a voxel with that lesion.
        false_positives: Lesions of the tested mask that share no voxel with the reference.
    """

    diameters_mm: tuple[float, ...]
    found: tuple[bool, ...]
    false_positives: int


def match_lesions(tested: Mask, reference: Mask, spacing_mm: Triple) -> LesionMatch:
    """Match the lesions of two masks; a lesion is a set of voxels that touch, if only by a corner.

    Args:
        tested: Mask, shape (I, J, K); may be empty, also in shape.
        reference: Mask of the same shape.
        spacing_mm: Of the grid.
    """
    if tested.shape != reference.shape:
        raise ValueError(f"masks must share one shape, got {tested.shape} and {reference.shape}")
    lesions, count = labeled_lesions(reference)
    voxels = np.bincount(lesions.ravel(), minlength=count + 1)[1:]
    hit = np.isin(np.arange(1, count + 1), lesions[tested])
    others, other_count = labeled_lesions(tested)
    touched = np.unique(others[reference & tested])
    return LesionMatch(
        diameters_mm=tuple(ball_diameter_mm(int(n), spacing_mm) for n in voxels),
        found=tuple(bool(value) for value in hit),
        false_positives=other_count - len(touched),
    )


def labeled_lesions(mask: Mask) -> tuple[npt.NDArray[np.int32], int]:
    """Return the number of each voxel's lesion, 0 outside, and how many lesions there are."""
    labels = np.zeros(mask.shape, np.int32)
    if not mask.any():
        return labels, 0
    count = ndimage.label(mask, structure=_CORNERS_TOUCH, output=labels)
    return labels, int(count)  # pyright: ignore[reportArgumentType]  a number when output is given


def ball_diameter_mm(voxels: int, spacing_mm: Triple) -> float:
    """Return the diameter of a ball with the volume of so many voxels."""
    return (6 * voxels * math.prod(spacing_mm) / math.pi) ** (1 / 3)
