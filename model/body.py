"""Where there is body: without air and, as far as is simple, without the table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.dilation import dilated
from model.grid import Triple

AIR_HU = -300.0

_COARSE_MM = 4.0
_CROSS_IN_PLANE = np.zeros((3, 3, 3), np.bool_)
_CROSS_IN_PLANE[:, 1, 1] = _CROSS_IN_PLANE[1, :, 1] = True


def body_mask(hu: npt.NDArray[np.floating], spacing_mm: Triple) -> npt.NDArray[np.bool_]:
    """Return where there is body.

    On about every fourth millimetre: above -300 HU, opened in plane by one voxel so that table top,
    wires and clothes come off; the largest component; what the opening took from thin walls beside
    it given back; holes (lungs, gas) filled in each axial slice; grown by one voxel. The mask is
    generous and blocky: it chooses windows and measures nothing. A volume without any such
    component is body everywhere, so nothing is skipped by mistake.

    Args:
        hu: Working volume, shape (I, J, K).
        spacing_mm: Of that grid.

    Returns:
        Mask of the same shape.
    """
    strides = [max(1, round(_COARSE_MM / size)) for size in spacing_mm]
    coarse = hu[:: strides[0], :: strides[1], :: strides[2]] > AIR_HU
    kept = _largest(_open(coarse))
    if kept is None:
        return np.ones(hu.shape, bool)
    kept = _without_holes(dilated(kept, (2, 2, 2)) & coarse)
    full = dilated(kept, (1, 1, 1))
    for axis, stride in enumerate(strides):
        full = np.repeat(full, stride, axis=axis)
    return full[: hu.shape[0], : hu.shape[1], : hu.shape[2]]


def _open(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Open in plane, where table and clothes are thin; past the edge the body goes on."""
    return dilated(~dilated(~mask, (1, 1, 0)), (1, 1, 0))


def _without_holes(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Fill what is closed in within its axial slice, all slices in one go."""
    outside = np.zeros(mask.shape, np.int32)
    ndimage.label(~mask, _CROSS_IN_PLANE, output=outside)
    edges = (outside[0], outside[-1], outside[:, 0], outside[:, -1])
    is_open = np.zeros(int(outside.max()) + 1, np.bool_)
    for edge in edges:
        is_open[edge.ravel()] = True
    is_open[0] = False
    return ~is_open[outside]


def _largest(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_] | None:
    labels = np.zeros(mask.shape, np.int32)
    ndimage.label(mask, output=labels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if not sizes.any():
        return None
    return labels == int(sizes.argmax())
