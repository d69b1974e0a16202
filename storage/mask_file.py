"""The bytes of a uint8 or int16 NIfTI: equal content and grid give equal bytes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from storage.blocked_copy import copy_in_blocks
from storage.grid import Grid
from storage.nifti_header import mask_header

_GZIP_START = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no file name, mtime 0, unknown system: nothing that differs from run to run."""

_LEVEL = 1
_RAW_DEFLATE = -15
_SLAB_BYTES = 1 << 22


def write_uint8_nifti(file: BinaryIO, array: npt.NDArray[np.generic], grid: Grid) -> None:
    """Write a gzipped NIfTI in slabs, so that a strided view needs no full copy.

    Bytes repeat from run to run on one machine with one isal version; another processor may
    compress the same content to other bytes.

    Args:
        file: Open for writing bytes.
        array: bool or uint8 in the file's axis order, shape ``grid.shape``.
        grid: The grid; its affine is written as it is.
    """
    _write(file, array, grid, np.dtype(np.uint8))


def write_int16_nifti(file: BinaryIO, array: npt.NDArray[np.generic], grid: Grid) -> None:
    """Write Hounsfield units as ``write_uint8_nifti`` writes a mask.

    Args:
        file: Open for writing bytes.
        array: int16 in the file's axis order, shape ``grid.shape``.
        grid: The grid; its affine is written as it is.
    """
    _write(file, array, grid, np.dtype("<i2"))


def _write(
    file: BinaryIO, array: npt.NDArray[np.generic], grid: Grid, dtype: np.dtype[np.generic]
) -> None:
    compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
    file.write(_GZIP_START)
    checksum, length = 0, 0
    for block in _blocks(array, grid, dtype):
        checksum = zlib.crc32(block, checksum)
        length += len(block)
        file.write(compressor.compress(block))
    file.write(compressor.flush())
    file.write(struct.pack("<II", checksum, length & 0xFFFFFFFF))


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
