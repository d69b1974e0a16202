"""A mask file from outside: checked for grid, values and size before it counts as a mask."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, Reason, UsageError
from storage.grid import Box, Grid
from storage.grid_match import is_same_grid
from storage.image_faults import VolumeLimits, check_forms_agree, check_geometry, check_shape
from storage.image_stream import ImageStream
from storage.masks import crop_grid
from storage.nifti_header import (
    NIFTI2_BYTES,
    VoxelLayout,
    grid_of,
    layout_of,
    parse_header,
    shape_of,
)

_NAME = "the uploaded file"
_LIMITS = VolumeLimits()
_SLAB_BYTES = 1 << 22
_SHOWN_VALUES = 8


@dataclass(frozen=True, slots=True, eq=False)
class UploadedMask:
    """A mask as it was sent.

    Attributes:
        mask_ras: The voxels inside, RAS order, the shape of ``box_ras``.
        box_ras: The part of the CT that the file covers: the region or everything.
        value: The one label value that was met beside 0; None when the file is all 0.
    """

    mask_ras: npt.NDArray[np.bool_]
    box_ras: Box
    value: float | None


def read_uploaded_mask(
    data: bytes, grid: Grid, *, region_ras: Box | None, max_bytes: int
) -> UploadedMask:
    """Check an uploaded NIfTI and return its mask.

    The grid must be the CT's, or that of the region as it was handed out, in any axis order; no
    voxel centre may be off by more than a tenth of the smallest spacing. Shape and affine are
    checked on the header alone, so that what is decompressed is bounded by the CT's own size.

    Args:
        data: The file, ``.nii`` or ``.nii.gz``.
        grid: The CT's grid.
        region_ras: The region that may be sent instead of the whole; None allows the whole alone.
        max_bytes: Largest file.

    Raises:
        UsageError: The file is too large, lies on another grid or holds more than one label value.
        CaseError: The file is no sound NIfTI image, or goes on after its voxels.
    """
    if len(data) > max_bytes:
        raise UsageError(
            f"an upload may have at most {max_bytes} bytes, got {len(data)}; save the mask alone, "
            "compressed, as .nii.gz"
        )
    stream = ImageStream(io.BytesIO(data), _NAME)
    header = parse_header(stream.read_up_to(NIFTI2_BYTES), _NAME)
    shape = check_shape(shape_of(header, _NAME), _NAME)
    layout = layout_of(header, _NAME)
    check_geometry(header, _NAME)
    check_forms_agree(header, shape, _LIMITS, _NAME)
    sent = grid_of(shape, header)
    box_ras = _matching_box(sent, grid, region_ras)
    inside = np.empty(shape, np.bool_)
    values = _read_in_place(inside, ImageStream(io.BytesIO(data), _NAME), layout)
    return UploadedMask(
        np.array(sent.array_to_ras(inside), np.bool_, order="C"),
        box_ras,
        _only_label(values),
    )


def _matching_box(sent: Grid, grid: Grid, region_ras: Box | None) -> Box:
    """Return which of the allowed boxes the sent grid covers."""
    (i, j, k) = grid.ras_shape
    whole: Box = ((0, i), (0, j), (0, k))
    allowed = [whole] if region_ras is None else [region_ras, whole]
    for box_ras in allowed:
        if is_same_grid(sent, crop_grid(grid, grid.box_from_ras(box_ras))):
            return box_ras
    whose = "the CT" if region_ras is None else "the region or the CT"
    expected = " or ".join(_words(crop_grid(grid, grid.box_from_ras(box))) for box in allowed)
    raise UsageError(
        f"a mask must lie on the grid of {whose} it is for, that is {expected}; got "
        f"{_words(sent)}; draw on the file that was downloaded here and save without resampling"
    )


def _words(grid: Grid) -> str:
    shape = " x ".join(str(length) for length in grid.ras_shape)
    spacing = " x ".join(f"{size:.3g}" for size in grid.ras_spacing_mm)
    origin = ", ".join(f"{row[3]:.1f}" for row in grid.ras_affine[:3])
    return f"{shape} voxels of {spacing} mm from ({origin})"


def _read_in_place(
    inside: npt.NDArray[np.bool_], stream: ImageStream, layout: VoxelLayout
) -> set[float]:
    """Fill ``inside`` slab by slab and return the values met other than 0."""
    stream.skip(layout.offset)
    slice_voxels = inside.shape[0] * inside.shape[1]
    step = max(1, _SLAB_BYTES // (slice_voxels * layout.dtype.itemsize))
    values: set[float] = set()
    for start in range(0, inside.shape[2], step):
        slab = inside[:, :, start : start + step]
        stored = np.empty(math.prod(slab.shape), layout.dtype)
        stream.read_into(stored.view(np.uint8).data)
        values |= _values_of(stored, layout)
        if len(values) > 1:
            raise UsageError(_too_many(sorted(values)))
        slab[...] = (stored.astype(np.float64) * layout.slope + layout.intercept != 0).reshape(
            slab.shape, order="F"
        )
    stream.finish(slack_bytes=_LIMITS.slack_bytes)
    return values


def _values_of(stored: npt.NDArray[np.generic], layout: VoxelLayout) -> set[float]:
    met = np.unique(stored).astype(np.float64) * layout.slope + layout.intercept
    if not np.isfinite(met).all():
        raise CaseError(Reason.NON_FINITE, f"{_NAME} must hold numbers, got NaN or infinity")
    return {float(value) for value in met if value != 0}


def _only_label(values: set[float]) -> float | None:
    """Return the one label value; every other rule about values was checked while reading."""
    if not values:
        return None
    (value,) = values
    if value < 0 or value != int(value):
        raise UsageError(
            f"a mask holds 0 and 1, or 0 and one positive whole number, got {value:g}; save a "
            "label map, no image"
        )
    return value


def _too_many(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN_VALUES])
    more = ", ..." if len(values) > _SHOWN_VALUES else ""
    return (
        f"a mask holds 0 and 1, or 0 and one label value; met 0 and {shown}{more}; export the one "
        "structure alone"
    )
