"""What intake makes of each bad file."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest
from isal import isal_zlib

from configs.errors import CaseError, Reason
from storage.image_faults import VolumeLimits
from storage.intake_record import inspect_file

EXPECTED = {
    "truncated": Reason.TRUNCATED,
    "no_trailer": Reason.TRUNCATED,
    "short_content": Reason.TRUNCATED,
    "empty_file": Reason.TRUNCATED,
    "wrong_crc": Reason.CRC_ERROR,
    "text": Reason.NOT_AN_IMAGE,
    "gzipped_text": Reason.NOT_AN_IMAGE,
    "zeros": Reason.NOT_AN_IMAGE,
    "bomb": Reason.EXPANDS_PAST_LIMIT,
    "qform_shifted": Reason.SFORM_QFORM_MISMATCH,
    "float_nan": Reason.NON_FINITE,
    "slope_infinite": Reason.NON_FINITE,
    "lost_intercept": Reason.NOT_HU,
    "empty_mask": Reason.NOT_HU,
    "unknown_label": Reason.NOT_HU,
    "pixdim_zero": Reason.ZERO_SPACING,
    "zero_column": Reason.ZERO_SPACING,
    "singular": Reason.BAD_AFFINE,
    "nan_affine": Reason.BAD_AFFINE,
    "without_forms": Reason.BAD_AFFINE,
    "one_slice": Reason.TOO_FEW_SLICES,
    "four_dimensional": Reason.FOUR_DIMENSIONAL,
    "rgb": Reason.RGB,
    "complex": Reason.RGB,
    "dim_zero": Reason.NOT_AN_IMAGE,
    "dim_negative": Reason.NOT_AN_IMAGE,
}
ODD_BUT_FINE = ("flipped", "negative")


def reason_for(path: Path, limits: VolumeLimits | None = None) -> Reason:
    with pytest.raises(CaseError) as caught:
        inspect_file(path, limits or VolumeLimits())
    return caught.value.reason


@pytest.mark.parametrize("name", EXPECTED)
def test_each_fault_gets_its_reason(bad_inputs: Mapping[str, Path], name: str) -> None:
    assert reason_for(bad_inputs[name]) == EXPECTED[name]


def test_each_fault_of_a_real_ct_gets_its_reason(real_bad_inputs: Mapping[str, Path]) -> None:
    found = {name: reason_for(real_bad_inputs[name]) for name in EXPECTED}

    assert found == EXPECTED


@pytest.mark.parametrize("name", ODD_BUT_FINE)
def test_any_orientation_is_accepted(bad_inputs: Mapping[str, Path], name: str) -> None:
    assert inspect_file(bad_inputs[name]).case_id.startswith("c-")


def test_the_tables_name_every_bad_input(bad_inputs: Mapping[str, Path]) -> None:
    assert set(bad_inputs) == {*EXPECTED, *ODD_BUT_FINE}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("four_dimensional.nii.gz", Reason.FOUR_DIMENSIONAL),
        ("rgb.nii.gz", Reason.RGB),
        # Grey values of 0 to 255, so no CT, though its oblique affine is fine.
        ("oblique_head.nii.gz", Reason.NOT_HU),
        ("grid_mismatch/mask.nii.gz", Reason.NOT_HU),
        ("truncated.dcm", Reason.DICOM_UNSUPPORTED),
        ("not_an_image.dcm", Reason.DICOM_UNSUPPORTED),
        ("gantrytilting/IM-0001-0001.dcm", Reason.DICOM_UNSUPPORTED),
        ("missing_slice/IM-0001-0007-0001.dcm", Reason.DICOM_UNSUPPORTED),
        ("notavolume/001.dcm", Reason.DICOM_UNSUPPORTED),
        ("slicecount/IM-0001-0001-0001.dcm", Reason.DICOM_UNSUPPORTED),
    ],
)
def test_real_bad_files_get_their_reason(real_data: Path, file: str, reason: Reason) -> None:
    assert reason_for(real_data / "bad" / file) == reason


@pytest.mark.parametrize(
    "file",
    [
        "ct/example_ct/ct.nii.gz",
        "ct/example_ct_slab/ct.nii.gz",
        "ct/aorta_crop/ct.nii.gz",
        "bad/grid_mismatch/ct.nii.gz",
    ],
)
def test_real_cts_are_accepted(real_data: Path, file: str) -> None:
    record = inspect_file(real_data / file)
    voxels = np.asanyarray(nibabel.load(real_data / file).dataobj)

    assert record.hu_percentiles[3] == np.median(voxels)


@pytest.mark.parametrize("folder", ["example_ct", "aorta_crop"])
def test_real_label_maps_are_no_ct(real_data: Path, folder: str) -> None:
    labels = [p for p in (real_data / "ct" / folder).glob("*.nii.gz") if p.name != "ct.nii.gz"]

    assert labels
    assert {reason_for(path) for path in labels} == {Reason.NOT_HU}


def test_dicom_is_told_by_its_content_without_a_suffix(tmp_path: Path) -> None:
    path = tmp_path / "IM0001"
    path.write_bytes(bytes(128) + b"DICM" + bytes(1000))

    assert reason_for(path) == Reason.DICOM_UNSUPPORTED


def test_a_missing_file_and_a_folder_have_their_own_reasons(tmp_path: Path) -> None:
    assert reason_for(tmp_path / "gone.nii.gz") == Reason.MISSING_FILE
    assert reason_for(tmp_path) == Reason.UNREADABLE


def test_a_file_without_read_permission_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # chmod would not stop root, who runs the tests in many containers.
    monkeypatch.setattr(Path, "open", refuse)

    assert reason_for(tmp_path / "ct.nii.gz") == Reason.UNREADABLE


def header_for(shape: tuple[int, ...], *, large: bool = False) -> bytes:
    header = nibabel.Nifti2Header() if large else nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(np.diag([1.0, 1.0, 1.0, 1.0]), code=1)
    header["magic"] = header["magic"] if large else b"n+1"
    header["vox_offset"] = 544 if large else 352
    return header.binaryblock + bytes(4)


@pytest.mark.parametrize("declared", [(512, 512, 2000), (8, 8, 8)])
def test_a_gigabyte_bomb_is_refused_fast_in_little_memory(
    tmp_path: Path, declared: tuple[int, ...]
) -> None:
    path = tmp_path / "bomb.nii.gz"
    deflate = isal_zlib.compressobj(1, wbits=31)
    with path.open("wb") as file:
        file.write(deflate.compress(header_for(declared)))
        block = bytes(1 << 24)
        for _ in range(64):
            file.write(deflate.compress(block))
        file.write(deflate.flush())
    tracemalloc.start()
    started_s = time.perf_counter()

    reason = reason_for(path)

    seconds, (_, peak) = time.perf_counter() - started_s, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reason == Reason.EXPANDS_PAST_LIMIT
    assert seconds < 1
    assert peak < 32 << 20


@pytest.mark.parametrize("shape", [(1 << 31, 8, 8), (2048, 2048, 2048)])
def test_a_declared_size_past_the_limit_is_refused_before_reading(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "huge.nii.gz"
    path.write_bytes(gzip.compress(header_for(shape, large=True)))

    assert reason_for(path) == Reason.EXPANDS_PAST_LIMIT


def test_limits_are_settings(bad_inputs: Mapping[str, Path]) -> None:
    fine = bad_inputs["flipped"]

    assert reason_for(fine, VolumeLimits(max_voxels=1000)) == Reason.EXPANDS_PAST_LIMIT
    assert reason_for(fine, VolumeLimits(min_slices=31)) == Reason.TOO_FEW_SLICES


def test_a_trailing_axis_of_one_is_no_fourth_dimension(
    tmp_path: Path, bad_inputs: Mapping[str, Path]
) -> None:
    image = nibabel.load(bad_inputs["flipped"])
    nibabel.save(
        nibabel.Nifti1Image(np.asanyarray(image.dataobj)[..., None], image.affine),
        tmp_path / "ct.nii.gz",
    )

    record = inspect_file(tmp_path / "ct.nii.gz")

    assert record.grid.shape == image.shape
    assert record.case_id == inspect_file(bad_inputs["flipped"]).case_id


def test_an_uncompressed_file_cut_short_is_truncated(
    tmp_path: Path, bad_inputs: Mapping[str, Path]
) -> None:
    path = tmp_path / "ct.nii"
    content = gzip.decompress(bad_inputs["flipped"].read_bytes())
    path.write_bytes(content[: len(content) * 7 // 10])

    assert reason_for(path) == Reason.TRUNCATED


def test_a_message_gives_the_rule_and_no_path(bad_inputs: Mapping[str, Path]) -> None:
    with pytest.raises(CaseError) as caught:
        inspect_file(bad_inputs["one_slice"])

    assert "at least 8 slices, got 1" in str(caught.value)
    assert str(bad_inputs["one_slice"].parent) not in str(caught.value)
