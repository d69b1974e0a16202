"""Regions out of packed blocks against a whole read, for every way that a file's axes can lie."""

import hashlib
import os

import nibabel
import numpy as np
import pytest

from configs.errors import CaseError, Reason, StorageError, UsageError
from configs.setting_sections import IntakeSettings
from storage.cases import case_row
from storage.ct_blocks import (
    CtBlocks,
    most_bytes_of_blocks,
    write_ct_blocks,
    write_voxel_blocks,
)
from storage.ct_regions import CtRegions
from storage.volume import Volume


def turned(degrees):
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


AFFINES = {
    "RAS": np.diag([0.8, 0.8, 5, 1.0]),
    "LPS": np.diag([-0.8, -0.8, 1.5, 1.0]),
    "axes swapped": np.array([[0, 0, 2.5, 0], [-1.1, 0, 0, 0], [0, -3, 0, 0], [0, 0, 0, 1.0]]),
    "oblique": turned(20) @ np.diag([-1.1, 1.3, 2.7, 1]),
}


def scan(path, affine, shape=(70, 45, 67)):
    hu = np.random.default_rng(1).integers(-1024, 1500, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, affine), path)
    return Volume.open(path), hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_regions_and_overview_equal_the_whole_read(tmp_path, name, suffix):
    volume, sha256 = scan(tmp_path / f"ct{suffix}", AFFINES[name])
    whole = volume.read_ras()

    blocks = write_ct_blocks(tmp_path / "ct.blocks", volume, expected_sha256=sha256)

    ends = whole.shape
    for box in (
        tuple((0, end) for end in ends),
        ((0, 1), (0, 1), (0, 1)),
        tuple((end - 1, end) for end in ends),
        ((31, 33), (5, 40), (10, 11)),
    ):
        i, j, k = (slice(*extent) for extent in box)
        region = blocks.region(box)
        np.testing.assert_array_equal(region, whole[i, j, k])
        assert region.flags.c_contiguous
    small = blocks.overview()
    chosen = [slice(a, None, step) for a, step in zip(small.first, small.steps, strict=True)]
    np.testing.assert_array_equal(small.hu_ras, whole[tuple(chosen)])
    assert max(small.hu_ras.shape) < max(whole.shape)


@pytest.mark.parametrize(
    "box", [((0, 0), (0, 5), (0, 5)), ((0, 5), (-1, 5), (0, 5)), ((0, 71), (0, 5), (0, 5))]
)
def test_a_box_out_of_the_volume_is_refused(tmp_path, box):
    volume, sha256 = scan(tmp_path / "ct.nii", AFFINES["RAS"])
    blocks = write_ct_blocks(tmp_path / "ct.blocks", volume, expected_sha256=sha256)

    with pytest.raises(UsageError, match="inside the volume"):
        blocks.region(box)


def test_another_file_than_intake_saw_leaves_no_blocks(tmp_path):
    volume, _ = scan(tmp_path / "ct.nii", AFFINES["RAS"])

    with pytest.raises(CaseError) as caught:
        write_ct_blocks(tmp_path / "b" / "ct.blocks", volume, expected_sha256="0" * 64)

    assert caught.value.reason is Reason.CHANGED_FILE
    assert list((tmp_path / "b").iterdir()) == []


@pytest.mark.parametrize("place", ["block", "index", "end"])
def test_altered_or_cut_blocks_are_an_error(tmp_path, place):
    volume, sha256 = scan(tmp_path / "ct.nii", AFFINES["RAS"])
    path = tmp_path / "ct.blocks"
    write_ct_blocks(path, volume, expected_sha256=sha256)
    data = bytearray(path.read_bytes())
    if place == "end":
        path.write_bytes(data[:-5])
    else:
        data[500 if place == "block" else -60] ^= 255
        path.write_bytes(data)

    with pytest.raises(StorageError, match="made again"):
        CtBlocks.open(path).region(((0, 70), (0, 45), (0, 67)))


@pytest.mark.parametrize("name", AFFINES)
def test_blocks_of_voxels_in_memory_are_those_of_the_file(tmp_path, name):
    volume, sha256 = scan(tmp_path / "ct.nii", AFFINES[name])
    of_file = write_ct_blocks(tmp_path / "a.blocks", volume, expected_sha256=sha256)

    kept = write_voxel_blocks(tmp_path / "b.blocks", volume.read_ras(), volume.grid)

    assert kept.path.read_bytes() == of_file.path.read_bytes()


def test_noise_that_cannot_be_packed_stays_under_the_bound(tmp_path):
    affine = np.diag([5, 5, 5, 1.0])
    hu = np.random.default_rng(1).integers(-(2**15), 2**15, (40, 33, 65)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, affine), tmp_path / "ct.nii")
    volume = Volume.open(tmp_path / "ct.nii")

    kept = write_voxel_blocks(tmp_path / "ct.blocks", hu, volume.grid)

    assert 4 * hu.size < kept.path.stat().st_size < most_bytes_of_blocks(volume.grid)


def limited(root, most_bytes):
    return CtRegions(root, IntakeSettings(), most_bytes=most_bytes)


def test_kept_blocks_drop_no_others_and_are_the_first_to_go(small_ct, make_annotated):
    made = make_annotated(cases=2)
    root = made.store.workspace.regions_path
    regions, rows = opened(made)
    wanted = regions.blocks(rows[0]).path
    grid, size = CtBlocks.open(wanted).grid, wanted.stat().st_size
    bound = most_bytes_of_blocks(grid)

    full = limited(root, size + bound - 1)
    assert full.keep("unopened", small_ct, grid) is None
    assert list(root.iterdir()) == [wanted]

    roomy = limited(root, size + bound)
    assert roomy.keep("unopened", small_ct, grid) > 0
    assert roomy.keep("unopened", small_ct, grid) == 0
    assert (root / "unopened.blocks").read_bytes() == wanted.read_bytes()

    os.utime(wanted, (10**9, 10**9))
    second = limited(root, int(2.5 * size)).blocks(rows[1]).path
    assert sorted(root.iterdir()) == sorted([wanted, second])


def test_blocks_that_cannot_be_written_are_left_for_later(tmp_path, small_ct, small_affine):
    nibabel.save(nibabel.Nifti1Image(small_ct, small_affine), tmp_path / "ct.nii")
    grid = Volume.open(tmp_path / "ct.nii").grid
    in_the_way = tmp_path / "regions"
    in_the_way.write_text("a file where the folder should be")

    assert limited(in_the_way, 1 << 30).keep("a", small_ct, grid) is None


def opened(made, most_bytes=1 << 30):
    root = made.store.workspace.regions_path
    with made.store.read() as connection:
        rows = [case_row(connection, case_id) for case_id in made.case_ids]
    return CtRegions(root, IntakeSettings(), most_bytes=most_bytes), rows


def test_blocks_are_made_once_and_again_when_they_are_damaged(make_annotated, small_ct):
    regions, (row,) = opened(make_annotated())
    box = ((2, 9), (3, 20), (4, 6))
    np.testing.assert_array_equal(regions.blocks(row).region(box), small_ct[2:9, 3:20, 4:6])
    path = regions.blocks(row).path
    made_at = path.stat().st_ino
    assert regions.blocks(row).path.stat().st_ino == made_at

    path.write_bytes(path.read_bytes()[:-1])

    np.testing.assert_array_equal(regions.blocks(row).region(box), small_ct[2:9, 3:20, 4:6])
    assert CtBlocks.open(path).grid.ras_shape == small_ct.shape


def test_blocks_unused_longest_are_dropped_over_the_limit(make_annotated):
    made = make_annotated(cases=3)
    regions, rows = opened(made)
    first = regions.blocks(rows[0]).path
    size = first.stat().st_size
    regions, _ = opened(made, most_bytes=int(2.5 * size))
    second = regions.blocks(rows[1]).path
    os.utime(first, (10, 10))
    os.utime(second, (5, 5))

    third = regions.blocks(rows[2]).path

    assert sorted(regions.root.iterdir()) == sorted([first, third])


def test_blocks_hold_what_intake_saw_though_the_ct_is_gone(make_annotated, small_ct, tmp_path):
    regions, (row,) = opened(make_annotated(own_cts=True))
    regions.blocks(row)
    next((tmp_path / "cts").iterdir()).unlink()

    np.testing.assert_array_equal(regions.blocks(row).region(((0, 30), (0, 26), (0, 20))), small_ct)
