"""What makes a file unfit as a CT: the rules of intake, each with the reason code that it gives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, Reason
from storage.grid import Grid
from storage.hu_histogram import HuHistogram
from storage.nifti_header import NiftiHeader, VoxelLayout, qform_of, sform_matrix

_PADDING_BELOW_HU = -1500
_ZERO_SPIKE_FACTOR = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeLimits:
    """How large, small or odd a file may be.

    Attributes:
        max_voxels: Most voxels of one volume; the default is 1024 x 1024 x 1024, or 2 GiB of int16.
        max_expansion: Most content bytes per byte on disk, asked only of content above
            ``expansion_checked_above_bytes``; CTs compress 1.5 to 10 times, zeros 1000 times.
        expansion_checked_above_bytes: Content up to this size may compress as well as it can.
        slack_bytes: Content that may follow the voxels.
        min_slices: Fewest slices along the axis nearest to superior-inferior.
        max_form_distance_mm: Farthest that sform and qform may place one voxel apart.
    """

    max_voxels: int = 1 << 30
    max_expansion: float = 200.0
    expansion_checked_above_bytes: int = 64 << 20
    slack_bytes: int = 1 << 20
    min_slices: int = 8
    max_form_distance_mm: float = 1.0


def check_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Return the three lengths of a volume; a 2-D image counts as one slice.

    A trailing axis of length 1 is no fourth dimension: ``shape_of`` has dropped it.

    Raises:
        CaseError: FOUR_DIMENSIONAL.
    """
    if len(shape) > 3:
        raise CaseError(
            Reason.FOUR_DIMENSIONAL,
            f"{name} must hold one volume, got shape {shape}; save one phase a file",
        )
    i, j, k = (*shape, 1, 1)[:3]
    return (i, j, k)


def check_size(
    shape: tuple[int, int, int],
    layout: VoxelLayout,
    *,
    file_bytes: int,
    limits: VolumeLimits,
    name: str,
) -> None:
    """Refuse a declared size that is too large, before any voxel is read.

    Raises:
        CaseError: EXPANDS_PAST_LIMIT.
    """
    voxels = math.prod(shape)
    if voxels > limits.max_voxels:
        raise CaseError(
            Reason.EXPANDS_PAST_LIMIT,
            f"{name} may declare at most {limits.max_voxels} voxels, got {shape}; raise the limit "
            "if this is a CT",
        )
    content = voxels * layout.dtype.itemsize
    expansion = content / max(file_bytes, 1)
    large = content > limits.expansion_checked_above_bytes
    if large and expansion > limits.max_expansion:
        raise CaseError(
            Reason.EXPANDS_PAST_LIMIT,
            f"{name} may expand at most {limits.max_expansion:g} times, but its {file_bytes} bytes "
            f"declare {content}; no CT compresses so well",
        )


def check_geometry(header: NiftiHeader, name: str) -> None:
    """Refuse a header that does not say where its voxels lie.

    Raises:
        CaseError: ZERO_SPACING or BAD_AFFINE.
    """
    pixdim = np.asarray(header["pixdim"][1:4], np.float64)
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        raise CaseError(
            Reason.ZERO_SPACING,
            f"{name} must have a voxel spacing above 0 mm, got pixdim {pixdim.tolist()}",
        )
    if max(int(header["sform_code"]), int(header["qform_code"])) <= 0:
        raise CaseError(
            Reason.BAD_AFFINE,
            f"{name} must say how it is oriented (sform_code or qform_code above 0), got 0 for "
            "both: left and right cannot be told; convert it again from DICOM",
        )
    if int(header["sform_code"]) > 0:
        _check_affine(sform_matrix(header), "sform", name)
    if qform_of(header) is not None:
        _check_affine(_qform_matrix(header, name), "qform", name)


def check_forms_agree(
    header: NiftiHeader, shape: tuple[int, int, int], limits: VolumeLimits, name: str
) -> None:
    """Refuse a header whose two affines place a corner of the volume differently.

    Raises:
        CaseError: SFORM_QFORM_MISMATCH.
    """
    if int(header["sform_code"]) <= 0 or qform_of(header) is None:
        return
    difference = sform_matrix(header) - _qform_matrix(header, name)
    ends = [(0, length - 1) for length in shape]
    corners = np.array([(i, j, k, 1) for i in ends[0] for j in ends[1] for k in ends[2]])
    farthest_mm = float(np.linalg.norm((difference @ corners.T)[:3], axis=0).max())
    if farthest_mm > limits.max_form_distance_mm:
        raise CaseError(
            Reason.SFORM_QFORM_MISMATCH,
            f"{name}: sform and qform may differ by at most {limits.max_form_distance_mm:g} mm at "
            f"a corner, got {farthest_mm:.1f} mm; set the wrong one's code to 0",
        )


def check_slices(grid: Grid, limits: VolumeLimits, name: str) -> None:
    """Refuse a volume with too few slices, counted along the axis nearest to superior-inferior.

    Raises:
        CaseError: TOO_FEW_SLICES.
    """
    slices = grid.ras_shape[2]
    if slices < limits.min_slices:
        raise CaseError(
            Reason.TOO_FEW_SLICES,
            f"{name} must have at least {limits.min_slices} slices, got {slices} "
            f"(shape {grid.shape}, axes {grid.orientation})",
        )


def check_hu(histogram: HuHistogram, name: str) -> None:
    """Refuse values that cannot be Hounsfield units.

    The heuristic looks at the histogram alone. Set aside first, as padding: values under -1500 (as
    -2000, -3024) and, where exactly 0 is 10 times more frequent than its neighbours, all zeros
    (0 outside the scanner's circle). Of the voxels that remain,

    1. at least 1 % lie in [-1500, -20): fat, lung or air. Label maps, images scaled to 0..1 or
       0..255, MR and PET have no such values, nor has a CT whose negative values were cut off;
    2. the 0.5th and 99.5th percentiles are at least 150 HU apart: not z-scores or -1..1;
    3. at least 2 % lie in [-200, 300]: soft tissue or fat. Not so after a second intercept;
    4. not both: under 0.1 % lie below -300 (no air, no lung), yet over 10 % above 700. That is a CT
       whose intercept of -1024 was lost, so that its soft tissue lies near 1050.

    A CT cropped to soft tissue passes, since it has fat and hardly any bone above 700. A CT clipped
    to a soft-tissue window passes as well, and so does a non-CT image with such values.

    Raises:
        CaseError: NOT_HU.
    """
    fault = _hu_fault(histogram)
    if fault:
        raise CaseError(
            Reason.NOT_HU,
            f"{name} must hold Hounsfield units; {fault}; its values run from {histogram.lowest} "
            f"to {histogram.highest}",
        )


def _hu_fault(histogram: HuHistogram) -> str | None:
    tissue = _without_padding(histogram)
    if tissue.share(-1500, -20) < 0.01:
        small_numbers = histogram.lowest >= 0 and histogram.distinct <= 256
        like = ", as in a label map or an image scaled to 0..255" if small_numbers else ""
        return f"there is no fat and no air (-1500 to -20){like}"
    low, high = tissue.percentiles((0.5, 99.5))
    if high - low < 150:
        return f"nearly all values lie within {high - low:.0f} of each other"
    if tissue.share(-200, 301) < 0.02:
        return "there is no soft tissue (-200 to 300)"
    if tissue.share(-1500, -300) < 0.001 and tissue.share(701, 32768) > 0.10:
        return "there is no air, yet much above 700: add the lost intercept (about -1024)"
    return None


def _without_padding(histogram: HuHistogram) -> HuHistogram:
    tissue = histogram.without(-32768, _PADDING_BELOW_HU)
    neighbours = (tissue.count(-20, 0) + tissue.count(1, 21)) / 40
    zeros = tissue.count(0, 1)
    spike = zeros > _ZERO_SPIKE_FACTOR * max(neighbours, 1.0) and zeros > 0.01 * tissue.total
    return tissue.without(0, 1) if spike else tissue


def _check_affine(matrix: npt.NDArray[np.float64], form: str, name: str) -> None:
    if not np.isfinite(matrix).all():
        raise CaseError(
            Reason.BAD_AFFINE, f"{name} must have a finite {form}, got {matrix[:3].tolist()}"
        )
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (lengths > 0).all():
        raise CaseError(
            Reason.ZERO_SPACING,
            f"{name} must have a voxel spacing above 0 mm, got {lengths.tolist()} in its {form}",
        )
    volume_ratio = abs(float(np.linalg.det(matrix[:3, :3] / lengths)))
    if volume_ratio < 1e-3:
        raise CaseError(
            Reason.BAD_AFFINE,
            f"{name} must have a {form} with three independent axes, got {matrix[:3].tolist()}",
        )


def _qform_matrix(header: NiftiHeader, name: str) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(header.get_qform(), np.float64)
    except ValueError as error:
        raise CaseError(
            Reason.BAD_AFFINE, f"{name} must have a valid quaternion in its qform; {error}"
        ) from error
