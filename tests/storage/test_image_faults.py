"""The Hounsfield heuristic and the distance of sform and qform."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from configs.errors import CaseError, Reason
from storage.hu_histogram import HuHistogram
from storage.image_faults import check_hu
from storage.intake_record import inspect_file
from storage.volume import Volume

Hu = npt.NDArray[np.int16]


def is_hu(voxels: npt.NDArray[np.generic]) -> bool:
    try:
        check_hu(HuHistogram.of(voxels.astype(np.int16)), "ct.nii.gz")
    except CaseError as error:
        return error.reason != Reason.NOT_HU
    return True


def outside_circle(ct: Hu) -> npt.NDArray[np.bool_]:
    i, j = np.indices(ct.shape[:2])
    far = np.hypot(i - ct.shape[0] / 2 + 0.5, j - ct.shape[1] / 2 + 0.5) > min(ct.shape[:2]) / 2
    return np.broadcast_to(far[:, :, None], ct.shape)


@pytest.mark.parametrize("padding", [-3024, -2000, -2048, -1024, 0])
def test_padding_outside_the_circle_is_accepted(small_ct: Hu, padding: int) -> None:
    assert is_hu(np.where(outside_circle(small_ct), padding, small_ct))


@pytest.mark.parametrize("padding", [0, 1024, -2000])
def test_a_lost_intercept_is_seen_under_any_padding(small_ct: Hu, padding: int) -> None:
    assert not is_hu(np.where(outside_circle(small_ct), padding, small_ct + 1024))


def test_a_crop_to_soft_tissue_is_accepted_but_not_with_a_lost_intercept(small_ct: Hu) -> None:
    crop = small_ct[9:21, 4:22, :6]

    assert crop.min() > -300
    assert is_hu(crop)
    assert not is_hu(crop + 1024)


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("scaled to 0..1", lambda hu: np.clip((hu + 1000) / 2000, 0, 1)),
        ("scaled to -1..1", lambda hu: np.clip(hu / 1000, -1, 1)),
        ("scaled to 0..255", lambda hu: np.clip((hu + 175) / 425, 0, 1) * 255),
        ("z-scores", lambda hu: (hu - hu.mean()) / hu.std()),
        ("negative values cut off", lambda hu: np.maximum(hu, 0)),
        ("intercept applied twice", lambda hu: hu - 1024),
        ("a label map", lambda hu: (hu > 0) + 2 * (hu > 300)),
        ("magnitudes as in MR", lambda hu: np.abs(hu) * 2),
        ("a constant", lambda hu: np.full_like(hu, -50)),
        ("padding only", lambda hu: np.full_like(hu, -2000)),
    ],
)
def test_values_that_cannot_be_hu_are_refused(small_ct: Hu, what: str, change) -> None:
    assert is_hu(small_ct)
    assert not is_hu(change(small_ct)), what


def test_real_cts_pass_and_fail_as_they_must(real_data: Path) -> None:
    for file in ("ct/example_ct", "ct/example_ct_slab", "ct/aorta_crop"):
        hu = Volume.open(real_data / file / "ct.nii.gz").read_ras()

        assert is_hu(hu)
        assert is_hu(np.where(outside_circle(hu), 0, hu))
        assert is_hu(np.where(outside_circle(hu), -3024, hu))
        assert not is_hu(np.minimum(hu, 30000) + 1024)
        assert not is_hu(np.maximum(hu, 0))


def test_a_real_crop_to_soft_tissue_is_accepted(real_data: Path) -> None:
    """Liver and fat of the example, hardly any air."""
    hu = Volume.open(real_data / "ct/example_ct/ct.nii.gz").read_ras()
    labels = nibabel.load(real_data / "ct/example_ct/totalseg_v2.nii.gz")
    i, j, k = np.nonzero(np.asanyarray(labels.dataobj) == 5)
    crop = hu[i.min() : i.max(), j.min() : j.max(), k.min() + 5 : k.min() + 20]

    assert is_hu(crop)
    assert not is_hu(crop + 1024)


@pytest.mark.parametrize(("shift_mm", "accepted"), [(0.9, True), (1.1, False)])
def test_sform_and_qform_may_differ_by_a_millimetre_at_a_corner(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray, shift_mm: float, accepted: bool
) -> None:
    moved = small_affine.copy()
    moved[2, 3] += shift_mm
    image = nibabel.Nifti1Image(small_ct, small_affine)
    image.set_sform(small_affine, code=1)
    image.set_qform(moved, code=1)
    nibabel.save(image, tmp_path / "ct.nii.gz")

    if accepted:
        assert Volume.open(tmp_path / "ct.nii.gz").grid.affine_matrix[2, 3] == 100.0
    else:
        with pytest.raises(CaseError) as caught:
            inspect_file(tmp_path / "ct.nii.gz")
        assert caught.value.reason == Reason.SFORM_QFORM_MISMATCH


def test_a_small_turn_counts_at_the_far_corner(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray
) -> None:
    turn = np.deg2rad(1.0)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    image = nibabel.Nifti1Image(small_ct, small_affine)
    image.set_sform(small_affine, code=1)
    image.set_qform(small_affine @ np.linalg.inv(small_affine) @ rotation @ small_affine, code=1)
    nibabel.save(image, tmp_path / "ct.nii.gz")

    with pytest.raises(CaseError) as caught:
        Volume.open(tmp_path / "ct.nii.gz")
    assert caught.value.reason == Reason.SFORM_QFORM_MISMATCH
