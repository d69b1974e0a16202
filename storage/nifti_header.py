"""The header of a single-file NIfTI-1 or NIfTI-2 image, checked field by field, and its writing."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TypeAlias

import nibabel
import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, Reason
from storage.grid import Grid, QForm, affine_tuple

NiftiHeader: TypeAlias = nibabel.Nifti1Header | nibabel.Nifti2Header

NIFTI1_BYTES = 348
NIFTI2_BYTES = 540
_DICOM_MAGIC = b"DICM"
_DICOM_MAGIC_AT = 128
_MAX_VOXEL_OFFSET = 1 << 24
_COLOUR_OR_COMPLEX = {32: "complex64", 128: "RGB", 1792: "complex128", 2048: "complex256"} | {
    2304: "RGBA"
}
_NUMBER_CODES = (2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoxelLayout:
    """How the voxels lie in the decompressed file.

    Attributes:
        dtype: Stored type, with its byte order.
        offset: Bytes before the first voxel.
        slope: HU per stored unit.
        intercept: HU of stored 0.
    """

    dtype: np.dtype[np.generic]
    offset: int
    slope: float
    intercept: float

    @property
    def is_scaled(self) -> bool:
        """Whether stored values differ from HU."""
        return (self.slope, self.intercept) != (1.0, 0.0)


def is_dicom(start: bytes) -> bool:
    """Return whether a file's first bytes (132 or more) are those of a DICOM file."""
    return start[_DICOM_MAGIC_AT : _DICOM_MAGIC_AT + 4] == _DICOM_MAGIC


def dicom_error(name: str) -> CaseError:
    """Return the error that a DICOM file or folder gives."""
    return CaseError(
        Reason.DICOM_UNSUPPORTED,
        f"{name} is DICOM, whose intake comes later; convert the series to NIfTI first, e.g. with "
        "dcm2niix",
    )


def parse_header(start: bytes, name: str) -> NiftiHeader:
    """Return the raw header from a file's first bytes.

    Args:
        start: At least the first 540 bytes, or all of a shorter file.
        name: File name for messages.

    Raises:
        CaseError: DICOM_UNSUPPORTED, TRUNCATED (no whole header), or NOT_AN_IMAGE.
    """
    if is_dicom(start) or name.lower().endswith(".dcm"):
        raise dicom_error(name)
    if not start:
        raise CaseError(Reason.TRUNCATED, f"{name} must not be empty; copy the file again")
    sizes = {NIFTI1_BYTES: nibabel.Nifti1Header, NIFTI2_BYTES: nibabel.Nifti2Header}
    for order in "<>":
        size = struct.unpack(f"{order}i", start[:4])[0] if len(start) >= 4 else 0
        if size in sizes:
            if len(start) < size:
                raise CaseError(
                    Reason.TRUNCATED,
                    f"{name} must hold a header of {size} bytes, got {len(start)}; copy it again",
                )
            header = sizes[size](start[:size], endianness=order, check=False)
            _check_magic(header, name)
            return header
    raise CaseError(
        Reason.NOT_AN_IMAGE,
        f"{name} must be a NIfTI image (.nii or .nii.gz); its first bytes are {start[:8]!r}; "
        "convert it first",
    )


def shape_of(header: NiftiHeader, name: str) -> tuple[int, ...]:
    """Return all dimensions that the header declares; trailing ones of length 1 are dropped.

    Raises:
        CaseError: NOT_AN_IMAGE when the number of dimensions or a length is out of range.
    """
    lengths = [int(value) for value in header["dim"]]
    count = lengths[0]
    if not 1 <= count <= 7 or any(length < 1 for length in lengths[1 : count + 1]):
        raise CaseError(
            Reason.NOT_AN_IMAGE,
            f"{name} must declare 1 to 7 dimensions of at least 1 voxel, got dim {lengths}",
        )
    shape = lengths[1 : count + 1]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def layout_of(header: NiftiHeader, name: str) -> VoxelLayout:
    """Return type, place and scaling of the voxels.

    Raises:
        CaseError: RGB for colour and complex types, NOT_AN_IMAGE for an unknown type or a data
            offset out of range, NON_FINITE for a scaling that is not finite.
    """
    code = int(header["datatype"])
    if code in _COLOUR_OR_COMPLEX:
        raise CaseError(
            Reason.RGB,
            f"{name} must hold one number per voxel, got {_COLOUR_OR_COMPLEX[code]}; export the "
            "CT itself, not a picture of it",
        )
    if code not in _NUMBER_CODES:
        raise CaseError(
            Reason.NOT_AN_IMAGE,
            f"{name} must hold integers or floats of 8 to 64 bits, got NIfTI datatype {code}",
        )
    slope, intercept = _scaling_of(header, name)
    dtype = np.dtype(header.get_data_dtype())
    return VoxelLayout(
        dtype=dtype, offset=_offset_of(header, name), slope=slope, intercept=intercept
    )


def qform_of(header: NiftiHeader) -> QForm | None:
    """Return the quaternion form as it stands in the header; None when its code is 0."""
    code = int(header["qform_code"])
    if code <= 0:
        return None
    qfac, di, dj, dk = (float(value) for value in header["pixdim"][:4])
    return QForm(
        code=code,
        quaternion=_three_floats(header, "quatern_b", "quatern_c", "quatern_d"),
        offset_mm=_three_floats(header, "qoffset_x", "qoffset_y", "qoffset_z"),
        qfac_and_spacing_mm=(qfac, di, dj, dk),
    )


def sform_matrix(header: NiftiHeader) -> npt.NDArray[np.float64]:
    """Return the sform as a 4 x 4 array, whatever its code."""
    matrix = np.eye(4)
    for row, field in enumerate(("srow_x", "srow_y", "srow_z")):
        matrix[row] = np.asarray(header[field], np.float64)
    return matrix


def mask_header(grid: Grid) -> NiftiHeader:
    """Return the header of a uint8 image on a grid, whose affine reads back exactly equal.

    NIfTI-1 where its float32 fields and int16 dimensions hold the grid exactly, else NIfTI-2. The
    sform is the grid's affine; the qform is the file's own, or, where it had none, the sform's
    equal when that has no shear (a quaternion cannot hold shear: then there is no qform). A grid
    that came from a qform alone is written with that qform alone.
    """
    small = max(grid.shape) < 1 << 15 and _fits_float32(grid)
    header = nibabel.Nifti1Header() if small else nibabel.Nifti2Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(grid.shape)
    header.set_xyzt_units("mm")
    header["pixdim"][1:4] = grid.spacing_mm
    if grid.qform is not None:
        _set_raw_qform(header, grid.qform)
    elif _is_without_shear(grid):
        header.set_qform(grid.affine_matrix, code=grid.sform_code)
    if grid.sform_code > 0:
        header.set_sform(grid.affine_matrix, code=grid.sform_code)
    header["magic"] = b"n+1" if small else header["magic"]
    header["vox_offset"] = (NIFTI1_BYTES if small else NIFTI2_BYTES) + 4
    header["scl_slope"], header["scl_inter"] = 1, 0
    return header


def grid_of(shape: tuple[int, int, int], header: NiftiHeader) -> Grid:
    """Return the grid of a header whose affine was found valid: the sform first, as viewers do."""
    sform_code = max(int(header["sform_code"]), 0)
    matrix = sform_matrix(header) if sform_code else np.asarray(header.get_qform(), np.float64)
    return Grid(
        shape=shape,
        affine=affine_tuple(matrix),
        sform_code=sform_code,
        qform=qform_of(header),
    )


def _check_magic(header: NiftiHeader, name: str) -> None:
    magic = bytes(header["magic"].tobytes()).rstrip(b"\0")
    if not magic.startswith((b"n+1", b"n+2")):
        raise CaseError(
            Reason.NOT_AN_IMAGE,
            f"{name} must be a single-file NIfTI (magic n+1 or n+2), got {magic!r}; a pair of .hdr "
            "and .img must be joined first, e.g. with nibabel or fslchfiletype",
        )


def _scaling_of(header: NiftiHeader, name: str) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return (1.0, 0.0)
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise CaseError(
            Reason.NON_FINITE,
            f"{name} must have a finite scl_slope and scl_inter, got {slope} and {intercept}",
        )
    return (slope, intercept)


def _offset_of(header: NiftiHeader, name: str) -> int:
    offset = float(header["vox_offset"])
    least = int(header["sizeof_hdr"]) + 4
    if offset == 0:
        return least
    if not least <= offset <= _MAX_VOXEL_OFFSET or offset != int(offset):
        raise CaseError(
            Reason.NOT_AN_IMAGE,
            f"{name} must have its voxels at byte {least} to {_MAX_VOXEL_OFFSET}, got {offset}",
        )
    return int(offset)


def _three_floats(header: NiftiHeader, *fields: str) -> tuple[float, float, float]:
    first, second, third = (float(header[field]) for field in fields)
    return (first, second, third)


def _fits_float32(grid: Grid) -> bool:
    numbers = list(grid.affine_matrix.ravel()) if grid.sform_code > 0 else []
    if grid.qform is not None:
        numbers += [*grid.qform.quaternion, *grid.qform.offset_mm]
        numbers += grid.qform.qfac_and_spacing_mm
    values = np.array(numbers, np.float64)
    return bool(np.array_equal(values, values.astype(np.float32).astype(np.float64)))


def _is_without_shear(grid: Grid) -> bool:
    axes = grid.affine_matrix[:3, :3] / np.array(grid.spacing_mm)
    return bool(np.allclose(axes.T @ axes, np.eye(3), atol=1e-5))


def _set_raw_qform(header: NiftiHeader, qform: QForm) -> None:
    header["qform_code"] = qform.code
    fields = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    for field, value in zip(fields, (*qform.quaternion, *qform.offset_mm), strict=True):
        header[field] = value
    header["pixdim"][:4] = qform.qfac_and_spacing_mm
