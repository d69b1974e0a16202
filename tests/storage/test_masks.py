"""Cropped masks: what goes in comes out, on the right voxels, in bytes that repeat."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import StorageError, UsageError
from storage.grid import Grid, QForm
from storage.masks import (
    crop_grid,
    decode_crop,
    decode_map,
    decode_mask,
    encode_map,
    encode_mask,
)

GRID = Grid.from_affine(
    (9, 8, 7), [[0, 0, 2.5, -10], [-1.5, 0, 0, 20], [0, -2, 0, 30], [0, 0, 0, 1]]
)
FULL_BOX = ((0, 7), (0, 9), (0, 8))


def test_the_grid_of_these_tests_permutes_and_flips() -> None:
    assert GRID.orientation == "PIR"
    assert GRID.ras_shape == (7, 9, 8)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.2))
def test_a_mask_comes_back_voxel_for_voxel(seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random(GRID.ras_shape) < density

    encoded = encode_mask(mask, FULL_BOX, GRID)

    np.testing.assert_array_equal(decode_mask(encoded.data, encoded.box, GRID), mask)
    assert encoded.voxels == mask.sum()
    assert encoded.is_empty == (not mask.any())


def test_the_box_is_the_bounding_box_plus_one_voxel_inside_the_volume() -> None:
    mask = np.zeros(GRID.ras_shape, bool)
    mask[3:5, 0, 6:8] = True

    encoded = encode_mask(mask, FULL_BOX, GRID)

    assert encoded.box is not None
    assert GRID.box_to_ras(encoded.box) == ((2, 6), (0, 2), (5, 8))
    assert encoded.box == ((7, 9), (0, 3), (2, 6))


def test_surrounding_background_does_not_change_the_bytes() -> None:
    mask = np.zeros(GRID.ras_shape, bool)
    mask[2:4, 3:6, 4] = True

    whole = encode_mask(mask, FULL_BOX, GRID)
    part = encode_mask(mask[2:5, 3:6, 4:8], ((2, 5), (3, 6), (4, 8)), GRID)

    assert part == whole


def test_the_file_lies_over_the_ct_in_any_viewer(tmp_path: Path) -> None:
    mask = np.zeros(GRID.ras_shape, bool)
    mask[2:4, 3:6, 4] = True
    mask[6, 8, 7] = True
    encoded = encode_mask(mask, FULL_BOX, GRID)
    assert encoded.data is not None
    (tmp_path / "mask.nii.gz").write_bytes(encoded.data)

    image = nibabel.load(tmp_path / "mask.nii.gz")

    set_voxels = np.argwhere(np.asanyarray(image.dataobj))
    found_mm = nibabel.affines.apply_affine(image.affine, set_voxels)
    expected_mm = nibabel.affines.apply_affine(np.array(GRID.ras_affine), np.argwhere(mask))
    assert sorted(found_mm.tolist()) == sorted(expected_mm.tolist())
    assert image.get_data_dtype() == np.uint8
    assert nibabel.aff2axcodes(image.affine) == ("P", "I", "R")


def test_the_bytes_name_no_time_and_no_file_and_repeat_in_another_process() -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from storage.grid import Grid\n"
        "from storage.masks import encode_mask\n"
        "grid = Grid.from_affine((40, 41, 42), np.diag([1, 1, 2, 1]))\n"
        "mask = np.indices((40, 41, 42)).sum(0) % 7 < 3\n"
        "box = ((0, 40), (0, 41), (0, 42))\n"
        "data = encode_mask(mask, box, grid).data\n"
        "print(data[:10].hex(), hashlib.sha256(data).hexdigest())\n"
    )

    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]

    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.startswith("1f8b0800000000000")


def test_an_empty_mask_has_no_file() -> None:
    encoded = encode_mask(np.zeros((2, 2, 2), bool), ((0, 2), (1, 3), (2, 4)), GRID)

    assert (encoded.data, encoded.box, encoded.voxels) == (None, None, 0)
    assert not decode_mask(None, None, GRID).any()


def test_a_map_keeps_its_values() -> None:
    values = np.zeros(GRID.ras_shape, np.uint8)
    values[1:4, 2:6, 3:5] = np.arange(1, 25, dtype=np.uint8).reshape(3, 4, 2) * 10

    encoded = encode_map(values, FULL_BOX, GRID)

    assert encoded.data is not None
    assert encoded.box is not None
    np.testing.assert_array_equal(decode_map(encoded.data, encoded.box, GRID), values)
    crop = decode_crop(encoded.data, encoded.box, GRID)
    np.testing.assert_array_equal(crop, values[0:5, 1:7, 2:6])
    assert crop.flags.c_contiguous


def test_decoding_reads_files_as_well(tmp_path: Path) -> None:
    mask = np.zeros(GRID.ras_shape, bool)
    mask[2, 3, 4] = True
    encoded = encode_mask(mask, FULL_BOX, GRID)
    assert encoded.data is not None
    (tmp_path / "object").write_bytes(encoded.data)

    np.testing.assert_array_equal(decode_mask(tmp_path / "object", encoded.box, GRID), mask)
    with pytest.raises(StorageError, match="whole and readable"):
        decode_mask(tmp_path / "gone", encoded.box, GRID)


def test_damaged_or_foreign_bytes_are_a_storage_error() -> None:
    mask = np.ones(GRID.ras_shape, bool)
    encoded = encode_mask(mask, FULL_BOX, GRID)
    assert encoded.data is not None
    flipped = bytearray(encoded.data)
    flipped[-6] ^= 1

    for data in (encoded.data[:-20], bytes(flipped), b"", b"text", gzip.compress(b"text" * 99)):
        with pytest.raises(StorageError, match="stored mask"):
            decode_mask(data, encoded.box, GRID)
    with pytest.raises(StorageError, match="fill its box"):
        decode_mask(encoded.data, ((0, 8), (0, 9), (0, 7)), GRID)
    with pytest.raises(StorageError, match="stored mask"):
        decode_mask(encoded.data, ((0, 2), (0, 2), (0, 2)), GRID)


def test_input_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="must be bool"):
        encode_mask(np.zeros((2, 2, 2)), ((0, 2), (0, 2), (0, 2)), GRID)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="fill its box"):
        encode_mask(np.ones((2, 2, 2), bool), ((0, 3), (0, 2), (0, 2)), GRID)
    with pytest.raises(UsageError, match="fill its box"):
        encode_mask(np.ones((2, 2, 2), bool), ((6, 8), (0, 2), (0, 2)), GRID)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_qform_only_grid_is_cropped_by_its_qform(order: tuple[int, int, int]) -> None:
    image = nibabel.Nifti1Image(np.zeros((9, 8, 7), np.uint8), np.diag([-1.5, 2, 2.5, 1]))
    turned = image.as_reoriented(np.column_stack([order, (1, -1, 1)]))
    turned.set_qform(turned.affine, code=1)
    header = turned.header
    qform = QForm(
        code=1,
        quaternion=tuple(float(header[f"quatern_{axis}"]) for axis in "bcd"),
        offset_mm=tuple(float(header[f"qoffset_{axis}"]) for axis in "xyz"),
        qfac_and_spacing_mm=tuple(float(value) for value in header["pixdim"][:4]),
    )
    affine = tuple(tuple(row) for row in turned.get_qform().tolist())
    grid = Grid(shape=turned.shape, affine=affine, sform_code=0, qform=qform)
    mask = np.zeros(grid.ras_shape, bool)
    mask[3, 4, 5] = True

    encoded = encode_mask(mask, tuple((0, n) for n in grid.ras_shape), grid)

    assert encoded.data is not None
    assert encoded.box is not None
    written = nibabel.Nifti1Image.from_bytes(gzip.decompress(encoded.data))
    np.testing.assert_array_equal(written.affine, crop_grid(grid, encoded.box).affine_matrix)
    place = nibabel.affines.apply_affine(written.affine, np.argwhere(written.get_fdata()))
    np.testing.assert_allclose(
        place, nibabel.affines.apply_affine(np.array(grid.ras_affine), [[3, 4, 5]]), atol=1e-5
    )


def test_equal_masks_have_equal_hashes() -> None:
    mask = np.zeros(GRID.ras_shape, bool)
    mask[2:5, 2:5, 2:5] = True
    hashes = {
        hashlib.sha256(
            encode_mask(np.array(mask, order=order), FULL_BOX, GRID).data or b""
        ).hexdigest()
        for order in ("C", "F")
    }

    assert len(hashes) == 1
