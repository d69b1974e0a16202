"""A region of a CT and its mask as NIfTI files for another program, on the CT's own grid."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from storage.grid import Box, Grid
from storage.mask_file import write_int16_nifti, write_uint8_nifti
from storage.masks import crop_grid


def region_ct(hu_ras_crop: npt.NDArray[np.int16], box_ras: Box, grid: Grid) -> bytes:
    """Return a ``.nii.gz`` of Hounsfield units whose affine places it where the CT lies.

    Args:
        hu_ras_crop: The region's voxels, RAS order, the shape of ``box_ras``.
        box_ras: Where it lies in the CT.
        grid: The CT's grid.
    """
    buffer = io.BytesIO()
    region = crop_grid(grid, grid.box_from_ras(box_ras))
    write_int16_nifti(buffer, grid.array_from_ras(hu_ras_crop), region)
    return buffer.getvalue()


def region_mask(mask_ras_crop: npt.NDArray[np.bool_], box_ras: Box, grid: Grid) -> bytes:
    """Return a ``.nii.gz`` of 0 and 1, as ``region_ct``."""
    buffer = io.BytesIO()
    region = crop_grid(grid, grid.box_from_ras(box_ras))
    write_uint8_nifti(buffer, grid.array_from_ras(mask_ras_crop), region)
    return buffer.getvalue()


def empty_mask(grid: Grid) -> bytes:
    """Return a ``.nii.gz`` of 0 on the CT's grid, to be drawn on."""
    buffer = io.BytesIO()
    # One voxel seen from everywhere: no array of the volume's size is made.
    nothing = np.broadcast_to(np.zeros((), np.uint8), grid.shape)
    write_uint8_nifti(buffer, nothing, grid)
    return buffer.getvalue()
