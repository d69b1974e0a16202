"""A CT file on disk: its grid at once, its voxels in RAS order and HU when asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, Reason, UsageError
from storage.blocked_copy import copy_in_blocks
from storage.grid import Box, Grid, box_shape, box_slices
from storage.image_faults import (
    VolumeLimits,
    check_forms_agree,
    check_geometry,
    check_shape,
    check_size,
    check_slices,
)
from storage.image_stream import ImageStream, open_image_stream
from storage.mask_file import write_uint8_nifti
from storage.nifti_header import (
    NIFTI2_BYTES,
    NiftiHeader,
    VoxelLayout,
    grid_of,
    layout_of,
    parse_header,
    shape_of,
)

_SLAB_VOXELS = 1 << 22
_CONVERTED_AT_ONCE = 1 << 19
_INT16_MIN, _INT16_MAX = -32768, 32767
_DEFAULT_LIMITS = VolumeLimits()


@dataclass(frozen=True, slots=True, eq=False)
class VoxelRead:
    """What one complete pass over a file gives.

    Attributes:
        hu_ras: HU rounded to the nearest integer (ties to even) and clipped to int16, RAS order,
            shape ``grid.ras_shape``, C-contiguous.
        file_sha256: SHA-256 of the file as it lies on disk, in hex.
    """

    hu_ras: npt.NDArray[np.int16]
    file_sha256: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A NIfTI file whose header was read and found fit; no voxel is held.

    Attributes:
        path: The file.
        grid: Its grid, in its own axis order.
        layout: Type, place and scaling of its voxels.
        limits: The limits that it was opened with.
    """

    path: Path
    grid: Grid
    layout: VoxelLayout
    limits: VolumeLimits

    @classmethod
    def open(cls, path: Path, *, limits: VolumeLimits = _DEFAULT_LIMITS) -> Volume:
        """Read and check the header only; ``.nii`` and ``.nii.gz`` are told apart by content.

        Raises:
            CaseError: For any fault that the header shows; voxels are not looked at.
        """
        with open_image_stream(path) as stream:
            header = parse_header(stream.read_up_to(NIFTI2_BYTES), path.name)
        file_bytes = path.stat().st_size
        volume = cls._from_header(path, header, file_bytes=file_bytes, limits=limits)
        if not stream.is_gzip and file_bytes < volume.layout.offset + volume.voxel_bytes:
            raise CaseError(
                Reason.TRUNCATED,
                f"{path.name} must have {volume.layout.offset + volume.voxel_bytes} bytes, as its "
                f"header declares, got {file_bytes}; copy the file again",
            )
        return volume

    @classmethod
    def _from_header(
        cls, path: Path, header: NiftiHeader, *, file_bytes: int, limits: VolumeLimits
    ) -> Volume:
        name = path.name
        declared = shape_of(header, name)
        layout = layout_of(header, name)
        shape = check_shape(declared, name)
        check_geometry(header, name)
        check_size(shape, layout, file_bytes=file_bytes, limits=limits, name=name)
        check_forms_agree(header, shape, limits, name)
        grid = grid_of(shape, header)
        check_slices(grid, limits, name)
        return cls(path=path, grid=grid, layout=layout, limits=limits)

    @property
    def voxel_bytes(self) -> int:
        """Bytes of all voxels as stored, decompressed."""
        return math.prod(self.grid.shape) * self.layout.dtype.itemsize

    def read_ras(self, *, expected_sha256: str | None = None) -> npt.NDArray[np.int16]:
        """Return all voxels as int16 HU in RAS order, shape ``grid.ras_shape``, C-contiguous.

        Memory: the int16 result plus some 60 MB; no full-size float exists.

        Args:
            expected_sha256: The file's hash at intake, when it must still be the same file.

        Raises:
            CaseError: TRUNCATED, CRC_ERROR, EXPANDS_PAST_LIMIT, NON_FINITE, CHANGED_FILE,
                MISSING_FILE or UNREADABLE.
        """
        read = self.read_with_hash()
        if expected_sha256 is not None:
            self._check_sha256(read.file_sha256, expected_sha256)
        return read.hu_ras

    def read_with_hash(self) -> VoxelRead:
        """Read the file once, to its last byte: voxels, length, gzip CRC and SHA-256.

        Raises:
            CaseError: As ``read_ras``, except for CHANGED_FILE.
        """
        hu_ras = np.empty(self.grid.ras_shape, np.int16)
        native = self.grid.array_from_ras(hu_ras)
        with open_image_stream(self.path) as stream:
            stream.skip(self.layout.offset)
            for start, stop in self._slabs(0, self.grid.shape[2]):
                copy_in_blocks(native[:, :, start:stop], self._read_slab(stream, stop - start))
            sha256 = stream.finish(slack_bytes=self.limits.slack_bytes)
        return VoxelRead(hu_ras, sha256)

    def read_slabs(
        self, slices: int, *, expected_sha256: str
    ) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
        """Yield the voxels slab by slab in file order, then check that it is the file of intake.

        Args:
            slices: Of a slab, along the file's last axis; the last slab may have fewer.
            expected_sha256: The file's hash at intake.

        Yields:
            Index of the slab's first slice, and its int16 HU, shape (I, J, slices).

        Raises:
            CaseError: As ``read_ras``; CHANGED_FILE only after the last slab, so what was made of
                them by then is to be thrown away.
        """
        with open_image_stream(self.path) as stream:
            stream.skip(self.layout.offset)
            for start in range(0, self.grid.shape[2], slices):
                stop = min(start + slices, self.grid.shape[2])
                yield start, self._read_slab(stream, stop - start)
            self._check_sha256(stream.finish(slack_bytes=self.limits.slack_bytes), expected_sha256)

    def read_ras_box(self, box_ras: Box) -> npt.NDArray[np.int16]:
        """Return a region as int16 HU in RAS order, C-contiguous.

        A ``.nii.gz`` is decompressed from its start to the end of the region, without a check of
        the CRC; slices outside the region are not converted or kept.

        Args:
            box_ras: Half-open voxel ranges along R, A, S, inside the volume.

        Raises:
            UsageError: The box is empty or reaches out of the volume.
            CaseError: As ``read_ras``.
        """
        for (start, stop), length in zip(box_ras, self.grid.ras_shape, strict=True):
            if not 0 <= start < stop <= length:
                raise UsageError(
                    f"a box must lie inside the volume {self.grid.ras_shape}, got {box_ras}"
                )
        box = self.grid.box_from_ras(box_ras)
        in_i, in_j, _ = box_slices(box)
        hu_ras = np.empty(box_shape(box_ras), np.int16)
        native = self.grid.array_from_ras(hu_ras)
        first = box[2][0]
        slice_bytes = self.voxel_bytes // self.grid.shape[2]
        with open_image_stream(self.path) as stream:
            stream.skip(self.layout.offset + first * slice_bytes)
            for start, stop in self._slabs(*box[2]):
                slab = self._read_slab(stream, stop - start)
                copy_in_blocks(native[:, :, start - first : stop - first], slab[in_i, in_j])
        return hu_ras

    def _check_sha256(self, sha256: str, expected_sha256: str) -> None:
        if sha256 != expected_sha256:
            raise CaseError(
                Reason.CHANGED_FILE,
                f"{self.path.name} must be the file that intake saw, but its SHA-256 is now "
                f"{sha256[:12]}..., not {expected_sha256[:12]}...; take it in again",
            )

    def _slabs(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        step = max(1, _SLAB_VOXELS // (self.grid.shape[0] * self.grid.shape[1]))
        for first in range(start, stop, step):
            yield first, min(first + step, stop)

    def _read_slab(self, stream: ImageStream, slices: int) -> npt.NDArray[np.int16]:
        """Return the next slices as int16 HU in file order, shape (I, J, slices)."""
        shape = (*self.grid.shape[:2], slices)
        stored = np.empty(math.prod(shape), self.layout.dtype)
        stream.read_into(stored.view(np.uint8).data)
        hu = np.empty(len(stored), np.int16)
        for start in range(0, len(stored), _CONVERTED_AT_ONCE):
            part = slice(start, start + _CONVERTED_AT_ONCE)
            hu[part] = self._to_hu(stored[part])
        return hu.reshape(shape, order="F")

    def _to_hu(self, stored: npt.NDArray[np.generic]) -> npt.NDArray[np.int16]:
        kind, itemsize = self.layout.dtype.kind, self.layout.dtype.itemsize
        if not self.layout.is_scaled and kind in "iu":
            if itemsize == 1 or (kind == "i" and itemsize == 2):
                return stored.astype(np.int16)
            return np.clip(stored, _lowest(kind), _INT16_MAX).astype(np.int16)
        values = stored.astype(np.float64)
        if kind == "f" and not np.isfinite(values).all():
            raise CaseError(
                Reason.NON_FINITE,
                f"{self.path.name} must have a finite value in every voxel, got NaN or infinity; "
                "write -1024 where nothing was measured",
            )
        values *= self.layout.slope
        values += self.layout.intercept
        return np.clip(np.rint(values, out=values), _INT16_MIN, _INT16_MAX).astype(np.int16)


def write_full_mask(path: Path, mask_ras: npt.NDArray[np.generic], grid: Grid) -> None:
    """Write a mask or label map as ``.nii.gz`` on the grid of its CT, the affine exactly equal.

    The file appears whole or not at all.

    Args:
        path: Target; replaced when it exists.
        mask_ras: bool or uint8, RAS order, shape ``grid.ras_shape``.
        grid: The CT's grid.

    Raises:
        UsageError: Shape or dtype do not fit.
    """
    if mask_ras.shape != grid.ras_shape or mask_ras.dtype not in (np.bool_, np.uint8):
        raise UsageError(
            f"a mask must be bool or uint8 of shape {grid.ras_shape}, got {mask_ras.dtype} "
            f"{mask_ras.shape}"
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write_uint8_nifti(file, grid.array_from_ras(mask_ras), grid)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _lowest(kind: str) -> int:
    return 0 if kind == "u" else _INT16_MIN
