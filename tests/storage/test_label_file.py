import gzip

import nibabel
import numpy as np
import pytest

from configs.errors import CaseError
from storage.image_faults import VolumeLimits
from storage.label_file import read_label_file

LIMITS = VolumeLimits()
LPS = np.diag([-1.0, -1.0, 2.0, 1.0])


def saved(tmp_path, voxels):
    nibabel.save(nibabel.Nifti1Image(voxels, LPS), tmp_path / "labels.nii.gz")
    return tmp_path / "labels.nii.gz"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, np.int32])
def test_values_come_in_ras_order_from_any_type(tmp_path, dtype):
    voxels = np.zeros((4, 5, 8), dtype)
    voxels[0, 0, 0], voxels[3, 4, 7] = 7, 3

    read = read_label_file(saved(tmp_path, voxels), LIMITS, allowed=(3, 7))

    assert read.values_ras.dtype == np.uint8
    assert (read.values_ras[3, 4, 0], read.values_ras[0, 0, 7]) == (7, 3)
    assert read.values_ras.sum() == 10


def test_values_past_255_are_kept(tmp_path):
    voxels = np.zeros((4, 5, 8), np.int16)
    voxels[1, 1, 1] = 300

    assert read_label_file(saved(tmp_path, voxels), LIMITS, allowed=(300,)).values_ras.max() == 300


def test_scaled_values_are_whole_after_scaling(tmp_path):
    image = nibabel.Nifti1Image(np.full((4, 5, 8), 255, np.uint8), LPS)
    image.header.set_slope_inter(1 / 255, 0)
    path = tmp_path / "labels.nii.gz"
    # Written by hand, since saving would scale the voxels back.
    data = image.header.copy()
    data["vox_offset"], data["magic"] = 352, b"n+1"
    path.write_bytes(gzip.compress(data.binaryblock + bytes(4) + bytes([255]) * 160))

    assert (read_label_file(path, LIMITS, allowed=(1,)).values_ras == 1).all()


@pytest.mark.parametrize(
    ("value", "dtype"), [(2, np.uint8), (-1, np.int16), (0.5, np.float32), (np.nan, np.float32)]
)
def test_a_value_that_the_label_map_lacks_is_refused(tmp_path, value, dtype):
    voxels = np.zeros((4, 5, 8), dtype)
    voxels[1, 2, 3] = value

    with pytest.raises(CaseError, match=r"may hold the values \[0, 1\], got") as caught:
        read_label_file(saved(tmp_path, voxels), LIMITS, allowed=(1,))

    assert caught.value.reason == "foreign_values"


def test_a_mask_may_compress_better_than_a_ct(tmp_path):
    path = saved(tmp_path, np.zeros((200, 200, 100), np.uint8))
    limits = VolumeLimits(expansion_checked_above_bytes=0)

    assert not read_label_file(path, limits, allowed=(1,)).values_ras.any()


def test_a_truncated_file_is_refused(tmp_path):
    path = saved(tmp_path, np.arange(160, dtype=np.uint8).reshape(4, 5, 8) % 2)
    path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(CaseError) as caught:
        read_label_file(path, LIMITS, allowed=(1,))

    assert caught.value.reason in ("truncated", "crc_error")
