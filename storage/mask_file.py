"""The bytes of a uint8 or int16 NIfTI: equal content and grid give equal bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from storage.blocked_copy import copy_in_blocks
from storage.grid import Grid
from storage.gzip_blocks import write_gzip
from storage.nifti_header import mask_header

_SLAB_BYTES = 1 << 22


def write_uint8_nifti(file: BinaryIO, array: npt.NDArray[np.generic], grid: Grid) -> None:
    """Write a gzipped NIfTI in slabs, so that a strided view needs no full copy.

    Bytes repeat as ``write_gzip`` says.

    Args:
        file: Open for writing bytes.
        array: bool or uint8 in the file's axis order, shape ``grid.shape``.
        grid: The grid; its affine is written as it is.
    """
    write_gzip(file, _blocks(array, grid, np.dtype(np.uint8)))


def write_int16_nifti(file: BinaryIO, array: npt.NDArray[np.generic], grid: Grid) -> None:
    """Write Hounsfield units as ``write_uint8_nifti`` writes a mask.

    Args:
        file: Open for writing bytes.
        array: int16 in the file's axis order, shape ``grid.shape``.
        grid: The grid; its affine is written as it is.
    """
    write_gzip(file, _blocks(array, grid, np.dtype("<i2")))


def _blocks(
    array: npt.NDArray[np.generic], grid: Grid, dtype: np.dtype[np.generic]
) -> Iterator[bytes]:
    """Yield the content: header, an empty extension flag, then slices, first axis fastest."""
    header = mask_header(grid)
    header.set_data_dtype(dtype)
    yield header.binaryblock + bytes(4)
    step = max(1, _SLAB_BYTES // max(1, array.shape[0] * array.shape[1] * dtype.itemsize))
    for start in range(0, array.shape[2], step):
        slab = array[:, :, start : start + step]
        block = np.empty(slab.shape, dtype, order="F")
        copy_in_blocks(block, slab)
        yield block.tobytes(order="F")
