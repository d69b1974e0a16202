"""Masks and maps as objects: cropped to what they hold plus one voxel, in the file's axis order."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, StorageError, UsageError
from storage.blocked_copy import copy_in_blocks
from storage.grid import Box, Grid, QForm, affine_tuple, box_shape, box_slices
from storage.image_stream import ImageStream
from storage.mask_file import write_uint8_nifti
from storage.nifti_header import (
    NIFTI2_BYTES,
    layout_of,
    parse_header,
    shape_of,
)

_MARGIN_VOXELS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedMask:
    """A cropped mask or map, ready to become an object.

    Attributes:
        data: The bytes of a ``.nii.gz``; None when nothing is set.
        box: Where the crop lies, in the file's axis order; None when nothing is set.
        voxels: How many voxels are not 0.
    """

    data: bytes | None
    box: Box | None
    voxels: int

    @property
    def is_empty(self) -> bool:
        """Whether no voxel is set."""
        return self.data is None


def encode_mask(mask_ras_crop: npt.NDArray[np.bool_], box_ras: Box, grid: Grid) -> EncodedMask:
    """Crop a mask to its bounding box plus one voxel, clipped to the volume, and pack it.

    The packed file is a gzipped uint8 NIfTI of 0 and 1 in the CT's axis order, whose affine carries
    the origin of the crop, so that any viewer lays it over the CT. Equal masks on equal grids give
    equal bytes, however much background surrounds them in ``mask_ras_crop``.

    Args:
        mask_ras_crop: Part of a volume in RAS order, shape (I, J, K).
        box_ras: Where that part lies in the whole volume; everything outside is background.
        grid: The CT's grid.

    Raises:
        UsageError: The mask is not bool, or does not fill the box, or the box leaves the volume.
    """
    if mask_ras_crop.dtype != np.bool_:
        raise UsageError(f"a mask must be bool, got {mask_ras_crop.dtype}")
    return _encode(mask_ras_crop, box_ras, grid)


def encode_map(map_ras_crop: npt.NDArray[np.uint8], box_ras: Box, grid: Grid) -> EncodedMask:
    """Pack a uint8 map (uncertainty, disagreement) as ``encode_mask`` packs a mask.

    Args:
        map_ras_crop: Part of a volume in RAS order, 0 is background, shape (I, J, K).
        box_ras: Where that part lies in the whole volume.
        grid: The CT's grid.

    Raises:
        UsageError: The map is not uint8, or does not fill the box, or the box leaves the volume.
    """
    if map_ras_crop.dtype != np.uint8:
        raise UsageError(f"a map must be uint8, got {map_ras_crop.dtype}")
    return _encode(map_ras_crop, box_ras, grid)


def decode_mask(source: bytes | Path | None, box: Box | None, grid: Grid) -> npt.NDArray[np.bool_]:
    """Return a packed mask on the whole volume, RAS order, shape ``grid.ras_shape``.

    Args:
        source: What ``encode_mask`` packed, or a file that holds it; None for an empty mask.
        box: Its box, in the file's axis order; None for an empty mask.
        grid: The CT's grid.

    Raises:
        StorageError: The bytes are damaged or do not fill the box.
    """
    full = np.zeros(grid.ras_shape, np.bool_)
    if source is not None and box is not None:
        full[box_slices(grid.box_to_ras(box))] = decode_crop(source, box, grid)
    return full


def decode_map(source: bytes | Path | None, box: Box | None, grid: Grid) -> npt.NDArray[np.uint8]:
    """Return a packed map on the whole volume, RAS order, shape ``grid.ras_shape``.

    Raises:
        StorageError: The bytes are damaged or do not fill the box.
    """
    full = np.zeros(grid.ras_shape, np.uint8)
    if source is not None and box is not None:
        full[box_slices(grid.box_to_ras(box))] = decode_crop(source, box, grid)
    return full


def decode_crop(source: bytes | Path, box: Box, grid: Grid) -> npt.NDArray[np.uint8]:
    """Return a packed mask or map as the crop that it is, RAS order.

    The crop lies at ``grid.box_to_ras(box)`` of the volume.

    Raises:
        StorageError: The bytes are damaged or do not fill the box.
    """
    name = source.name if isinstance(source, Path) else "a stored mask"
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
        native = _unpack(data, box_shape(box), name)
    except (CaseError, OSError) as error:
        raise StorageError(f"a stored mask must be whole and readable; {error}") from error
    crop_ras = np.empty(box_shape(grid.box_to_ras(box)), np.uint8)
    copy_in_blocks(crop_ras, grid.array_to_ras(native))
    return crop_ras


def _encode(crop_ras: npt.NDArray[np.generic], box_ras: Box, grid: Grid) -> EncodedMask:
    _check_box(crop_ras.shape, box_ras, grid)
    bounds = bounds_of(crop_ras)
    if bounds is None:
        return EncodedMask(data=None, box=None, voxels=0)
    content = crop_ras[box_slices(bounds)]
    starts = [start for start, _ in box_ras]
    placed = [(s + lo, s + hi) for s, (lo, hi) in zip(starts, bounds, strict=True)]
    outer = [
        (max(lo - _MARGIN_VOXELS, 0), min(hi + _MARGIN_VOXELS, length))
        for (lo, hi), length in zip(placed, grid.ras_shape, strict=True)
    ]
    padded_ras = np.zeros([hi - lo for lo, hi in outer], np.uint8)
    inner = tuple(slice(p[0] - o[0], p[1] - o[0]) for p, o in zip(placed, outer, strict=True))
    padded_ras[inner] = content
    box = grid.box_from_ras((outer[0], outer[1], outer[2]))
    buffer = io.BytesIO()
    write_uint8_nifti(buffer, grid.array_from_ras(padded_ras), crop_grid(grid, box))
    return EncodedMask(data=buffer.getvalue(), box=box, voxels=int(np.count_nonzero(content)))


def bounds_of(array: npt.NDArray[np.generic]) -> Box | None:
    """Return the box of the voxels that are not 0; None when there are none."""
    along_i = np.flatnonzero(array.any(axis=(1, 2)))
    if len(along_i) == 0:
        return None
    plane = np.logical_or.reduce(array[along_i[0] : along_i[-1] + 1], axis=0)
    along_j, along_k = (np.flatnonzero(plane.any(axis=axis)) for axis in (1, 0))
    i, j, k = ((int(a[0]), int(a[-1]) + 1) for a in (along_i, along_j, along_k))
    return (i, j, k)


def crop_grid(grid: Grid, box: Box) -> Grid:
    """Return the grid of a crop: the same axes, the origin moved to the crop's first voxel.

    The origin is rounded to float32, as in the file. A qform is moved along.

    Args:
        grid: The whole volume's grid.
        box: The crop, in the file's axis order.
    """
    matrix = grid.affine_matrix
    starts = np.array([start for start, _ in box], np.float64)
    matrix[:3, 3] = (matrix[:3, :3] @ starts + matrix[:3, 3]).astype(np.float32)
    origin = (float(matrix[0, 3]), float(matrix[1, 3]), float(matrix[2, 3]))
    qform = grid.qform
    if qform is not None:
        qform = QForm(
            code=qform.code,
            quaternion=qform.quaternion,
            offset_mm=origin,
            qfac_and_spacing_mm=qform.qfac_and_spacing_mm,
        )
    return Grid(
        shape=box_shape(box),
        affine=affine_tuple(matrix),
        sform_code=grid.sform_code,
        qform=qform,
    )


def _check_box(shape: tuple[int, ...], box_ras: Box, grid: Grid) -> None:
    inside = all(
        0 <= start <= stop <= length
        for (start, stop), length in zip(box_ras, grid.ras_shape, strict=True)
    )
    if shape != box_shape(box_ras) or not inside:
        raise UsageError(
            f"a crop must fill its box inside the volume {grid.ras_shape}, got shape {shape} and "
            f"box {box_ras}"
        )


def _unpack(data: bytes, shape: tuple[int, int, int], name: str) -> npt.NDArray[np.uint8]:
    """Return the voxels of a packed file in its axis order, its CRC checked."""
    stream = ImageStream(io.BytesIO(data), name)
    count = math.prod(shape)
    content = stream.read_up_to(NIFTI2_BYTES + 4 + count)
    stream.finish(slack_bytes=0)
    header = parse_header(content[:NIFTI2_BYTES], name)
    offset = layout_of(header, name).offset
    if shape_of(header, name) != shape or len(content) != offset + count:
        raise StorageError(
            f"a stored mask must fill its box {shape}, got shape {shape_of(header, name)} in "
            f"{len(content)} bytes"
        )
    return np.frombuffer(content, np.uint8, count, offset).reshape(shape, order="F")
