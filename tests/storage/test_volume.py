"""Volumes against nibabel: types, byte orders, scalings, boxes, and masks on the same affine."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from configs.errors import CaseError, Reason, UsageError
from storage.volume import Volume, write_full_mask

Hu = npt.NDArray[np.int16]


def oblique_affine() -> npt.NDArray[np.float64]:
    """Turned by 16.5 degrees about R and 10 about S, LPS, 1.1 x 1.3 x 2.7 mm."""
    about_r, about_s = np.deg2rad(16.5), np.deg2rad(10)
    turn_r = np.array(
        [[1, 0, 0], [0, np.cos(about_r), -np.sin(about_r)], [0, np.sin(about_r), np.cos(about_r)]]
    )
    turn_s = np.array(
        [[np.cos(about_s), -np.sin(about_s), 0], [np.sin(about_s), np.cos(about_s), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn_r @ turn_s @ np.diag([-1.1, -1.3, 2.7])
    affine[:3, 3] = (12.3, -45.6, 78.9)
    return affine


def sheared_affine() -> npt.NDArray[np.float64]:
    affine = oblique_affine()
    affine[:3, 2] += 0.3 * affine[:3, 1]
    return affine


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i4", ">i4", "<f4", ">f4", "<f8", "<i8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_every_type_and_byte_order_reads_as_the_same_hu(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray, dtype: str, suffix: str
) -> None:
    header = nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_dtype(dtype)
    image = nibabel.Nifti1Image(small_ct.astype(dtype), small_affine, header)
    nibabel.save(image, tmp_path / f"ct{suffix}")

    hu_ras = Volume.open(tmp_path / f"ct{suffix}").read_ras()

    assert hu_ras.dtype == np.int16
    assert hu_ras.flags.c_contiguous
    np.testing.assert_array_equal(hu_ras, small_ct)


def test_uint16_with_an_intercept_reads_as_hu(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray
) -> None:
    image = nibabel.Nifti1Image((small_ct + 1100).astype(np.uint16), small_affine)
    image.header.set_slope_inter(1, -1100)
    nibabel.save(image, tmp_path / "ct.nii.gz")

    np.testing.assert_array_equal(Volume.open(tmp_path / "ct.nii.gz").read_ras(), small_ct)


def test_scaling_rounds_to_the_nearest_hu(
    tmp_path: Path, small_ct: Hu, small_affine: np.ndarray
) -> None:
    image = nibabel.Nifti1Image(small_ct, small_affine)
    image.header.set_slope_inter(0.37, -3.2)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    expected = np.rint(nibabel.load(tmp_path / "ct.nii.gz").get_fdata())

    np.testing.assert_array_equal(Volume.open(tmp_path / "ct.nii.gz").read_ras(), expected)


def test_values_past_int16_are_clipped(tmp_path: Path, small_affine: np.ndarray) -> None:
    voxels = np.zeros((8, 8, 8), np.int32)
    voxels[0, 0, 0], voxels[1, 1, 1] = 1_000_000, -1_000_000
    nibabel.save(nibabel.Nifti1Image(voxels, small_affine), tmp_path / "ct.nii.gz")

    hu_ras = Volume.open(tmp_path / "ct.nii.gz").read_ras()

    assert (hu_ras[0, 0, 0], hu_ras[1, 1, 1], hu_ras[2, 2, 2]) == (32767, -32768, 0)


@pytest.mark.parametrize("affine", [oblique_affine(), sheared_affine()])
def test_a_box_is_the_same_region_of_the_whole(
    tmp_path: Path, small_ct: Hu, affine: np.ndarray
) -> None:
    nibabel.save(nibabel.Nifti1Image(small_ct, affine), tmp_path / "ct.nii.gz")
    volume = Volume.open(tmp_path / "ct.nii.gz")

    part = volume.read_ras_box(((3, 9), (0, 26), (11, 17)))

    np.testing.assert_array_equal(part, volume.read_ras()[3:9, 0:26, 11:17])
    with pytest.raises(UsageError, match="inside the volume"):
        volume.read_ras_box(((0, 31), (0, 26), (0, 20)))


def ct_with_forms(
    affine: np.ndarray, hu: Hu, codes: tuple[int, int], cls: type = nibabel.Nifti1Image
) -> nibabel.Nifti1Image:
    image = cls(hu, affine)
    image.set_sform(affine, code=codes[0])
    image.set_qform(affine, code=codes[1], strip_shears=True)
    return image


@pytest.mark.parametrize("cls", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize(
    ("affine", "codes"),
    [
        (oblique_affine(), (1, 1)),
        (oblique_affine(), (2, 0)),
        (oblique_affine(), (0, 1)),
        (sheared_affine(), (2, 0)),
        (np.diag([-0.7, 0.7, -2.5, 1.0]), (0, 2)),
        (np.diag([-0.7, 0.7, -2.5, 1.0]), (4, 1)),
    ],
)
def test_a_mask_has_exactly_the_affine_of_its_ct(
    tmp_path: Path, small_ct: Hu, affine: np.ndarray, codes: tuple[int, int], cls: type
) -> None:
    nibabel.save(ct_with_forms(affine, small_ct, codes, cls), tmp_path / "ct.nii.gz")
    volume = Volume.open(tmp_path / "ct.nii.gz")

    write_full_mask(tmp_path / "mask.nii.gz", volume.read_ras() > 20, volume.grid)

    ct, mask = nibabel.load(tmp_path / "ct.nii.gz"), nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.affine, ct.affine)
    np.testing.assert_array_equal(np.asanyarray(mask.dataobj), small_ct > 20)
    assert mask.get_data_dtype() == np.uint8
    assert volume.grid.affine_matrix.tolist() == ct.affine.tolist()


def test_sform_and_qform_of_a_mask_agree_where_a_quaternion_can_hold_them(
    tmp_path: Path, small_ct: Hu
) -> None:
    for name, affine in (("oblique", oblique_affine()), ("sheared", sheared_affine())):
        nibabel.save(ct_with_forms(affine, small_ct, (2, 0)), tmp_path / f"{name}.nii.gz")
        volume = Volume.open(tmp_path / f"{name}.nii.gz")
        write_full_mask(tmp_path / f"{name}_mask.nii.gz", small_ct > 0, volume.grid)

    oblique = nibabel.load(tmp_path / "oblique_mask.nii.gz")
    sheared = nibabel.load(tmp_path / "sheared_mask.nii.gz")
    np.testing.assert_allclose(oblique.get_qform(), oblique.get_sform(), atol=1e-4)
    assert int(oblique.header["qform_code"]) == 2
    assert int(sheared.header["qform_code"]) == 0


def test_real_cts_get_masks_on_their_affine(tmp_path: Path, real_data: Path) -> None:
    for file in ("example_ct", "example_ct_slab", "aorta_crop"):
        path = real_data / "ct" / file / "ct.nii.gz"
        volume, image = Volume.open(path), nibabel.load(path)
        hu_ras = volume.read_ras()
        write_full_mask(tmp_path / f"{file}.nii.gz", hu_ras > 100, volume.grid)
        mask = nibabel.load(tmp_path / f"{file}.nii.gz")

        canonical = nibabel.as_closest_canonical(image)
        np.testing.assert_array_equal(hu_ras, np.asanyarray(canonical.dataobj))
        np.testing.assert_array_equal(mask.affine, image.affine)
        np.testing.assert_array_equal(np.asanyarray(mask.dataobj), image.get_fdata() > 100)


def test_a_mask_that_does_not_fit_is_not_written(
    tmp_path: Path, bad_inputs: Mapping[str, Path]
) -> None:
    grid = Volume.open(bad_inputs["flipped"]).grid

    with pytest.raises(UsageError, match="bool or uint8"):
        write_full_mask(tmp_path / "mask.nii.gz", np.zeros(grid.ras_shape, np.float32), grid)
    with pytest.raises(UsageError, match="shape"):
        write_full_mask(tmp_path / "mask.nii.gz", np.zeros((2, 2, 2), bool), grid)
    assert not list(tmp_path.iterdir())


def test_reading_gives_the_hash_of_the_file_and_sees_a_change(
    tmp_path: Path, bad_inputs: Mapping[str, Path]
) -> None:
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(bad_inputs["flipped"].read_bytes())
    volume = Volume.open(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    assert volume.read_with_hash().file_sha256 == sha256
    assert volume.read_ras(expected_sha256=sha256).shape == volume.grid.ras_shape
    path.write_bytes(bad_inputs["negative"].read_bytes())
    with pytest.raises(CaseError) as caught:
        volume.read_ras(expected_sha256=sha256)
    assert caught.value.reason == Reason.CHANGED_FILE


def test_a_gzip_of_many_members_reads_like_one(
    tmp_path: Path, small_ct: Hu, bad_inputs: Mapping[str, Path]
) -> None:
    content = gzip.decompress(bad_inputs["negative"].read_bytes())
    parts = [content[start : start + 5000] for start in range(0, len(content), 5000)]
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(b"".join(gzip.compress(part) for part in parts) + bytes(64))

    np.testing.assert_array_equal(
        Volume.open(path).read_ras(), Volume.open(bad_inputs["negative"]).read_ras()
    )


def test_reading_float64_needs_no_float_copy_of_the_volume(tmp_path: Path) -> None:
    shape = (160, 160, 400)
    voxels = np.zeros(shape, np.float64)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "ct.nii")
    del voxels
    tracemalloc.start()

    Volume.open(tmp_path / "ct.nii").read_ras()

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 160 * 160 * 400 * 2 + (60 << 20)
