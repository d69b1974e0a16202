"""Connected components of a mask: labels, and voxels of each without a pass per component."""

from __future__ import annotations

import cc3d
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer]
Counts = npt.NDArray[np.int64]

_EVERY_NEIGHBOUR = 26


def labeled(mask: Mask) -> tuple[Labels, int]:
    """Return the number of each voxel's component, 0 outside, and how many there are.

    Voxels that touch, if only by a corner, are one component.
    """
    labels, count = cc3d.connected_components(mask, connectivity=_EVERY_NEIGHBOUR, return_N=True)
    return labels, int(count)


def label_counts(labels: Labels, count: int, where: Mask | None = None) -> Counts:
    """Return the voxels of each label, shape (count + 1,); background is counted as 0.

    Args:
        labels: Shape (I, J, K).
        count: The highest label.
        where: Count here alone, same shape.
    """
    counts = np.zeros(count + 1, np.int64)
    if count == 1:
        counts[1] = np.count_nonzero(labels if where is None else (labels > 0) & where)
        return counts
    # Plane by plane: numpy widens what it counts to 8 bytes a voxel.
    for number, plane in enumerate(labels):
        chosen = plane.ravel() if where is None else plane[where[number]]
        counts += np.bincount(chosen, minlength=count + 1)
    counts[0] = 0
    return counts
