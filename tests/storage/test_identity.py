"""One scan has one identity, whatever file holds it."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import struct
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from storage.identity import case_id_of, content_id
from storage.intake_record import inspect_file

Hu = npt.NDArray[np.int16]


def test_the_bytes_are_voxels_then_shape_then_micrometres() -> None:
    hu = np.array([-1024, 0, 1, 300, 5, 6], np.int16).reshape(1, 2, 3)
    expected = hashlib.sha256(
        struct.pack("<6h", -1024, 0, 1, 300, 5, 6)
        + struct.pack("<3Q", 1, 2, 3)
        + struct.pack("<3Q", 700, 813, 2500)
    ).hexdigest()

    assert content_id(hu, (0.7, 0.8125, 2.5)) == expected
    assert case_id_of(expected) == f"c-{expected[:12]}"


@pytest.mark.parametrize("error_mm", [-2e-7, 0.0, 2e-7])
def test_float_error_does_not_decide_the_micrometre(error_mm: float) -> None:
    hu = np.zeros((1, 1, 1), np.int16)

    for size in (0.7, 0.8125, 0.9765625, 5.0):
        assert content_id(hu, (size + error_mm, 1, 1)) == content_id(hu, (size, 1, 1))


def test_all_48_axis_orders_are_one_case(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray
) -> None:
    source = nibabel.Nifti1Image(small_ct, small_affine)
    orders = itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    )
    found, orientations = set(), set()
    for order, flips in orders:
        image = source.as_reoriented(np.column_stack([order, flips]))
        nibabel.save(image, tmp_path / "ct.nii")
        record = inspect_file(tmp_path / "ct.nii")
        found.add((record.content_id, record.case_id, record.fingerprint))
        orientations.add(record.grid.orientation)

    assert len(orientations) == 48
    assert len(found) == 1


def test_names_types_and_compression_do_not_matter(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray
) -> None:
    affine = small_affine @ np.diag([0.8125 / 3, 0.8125 / 3, 1, 1])
    for number, dtype in enumerate((np.int16, np.int32, np.float32, np.float64)):
        image = nibabel.Nifti1Image(small_ct.astype(dtype), affine)
        nibabel.save(image, tmp_path / f"{number}.nii")
    content = (tmp_path / "0.nii").read_bytes()
    (tmp_path / "other name.nii.gz").write_bytes(gzip.compress(content, 1))
    (tmp_path / "third.NII.GZ").write_bytes(gzip.compress(content, 9))
    image = nibabel.Nifti1Image((small_ct + 1100).astype(np.uint16), affine)
    image.header.set_slope_inter(1, -1100)
    image.set_qform(affine, code=1)
    image.header["sform_code"] = 0
    nibabel.save(image, tmp_path / "qform_only.nii.gz")
    records = [inspect_file(path) for path in sorted(tmp_path.iterdir())]

    assert len(records) == 7
    assert len({record.case_id for record in records}) == 1
    assert len({record.file_sha256 for record in records}) == 7


@pytest.mark.parametrize("change", ["voxel", "spacing", "mirror"])
def test_another_scan_is_another_case(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray, change: str
) -> None:
    nibabel.save(nibabel.Nifti1Image(small_ct, small_affine), tmp_path / "a.nii")
    voxels, affine = small_ct.copy(), small_affine.copy()
    if change == "voxel":
        voxels[4, 5, 6] += 1
    elif change == "spacing":
        affine[2, 2] += 0.002
    else:
        affine = affine @ np.diag([-1, 1, 1, 1])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "b.nii")

    assert inspect_file(tmp_path / "a.nii").case_id != inspect_file(tmp_path / "b.nii").case_id


def test_percentiles_are_those_of_the_voxels(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray
) -> None:
    nibabel.save(nibabel.Nifti1Image(small_ct, small_affine), tmp_path / "ct.nii.gz")

    record = inspect_file(tmp_path / "ct.nii.gz")

    expected = np.percentile(small_ct, (0.5, 5, 25, 50, 75, 95, 99.5))
    assert record.hu_percentiles == pytest.approx(expected)
    assert record.file_bytes == (tmp_path / "ct.nii.gz").stat().st_size
