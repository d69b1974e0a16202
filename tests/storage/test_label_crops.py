import numpy as np
import pytest

from configs.errors import StorageError
from storage.grid import Grid
from storage.label_crops import case_grids, paired_crops
from storage.labels import ABSENT, LabelMask
from storage.masks import encode_mask
from storage.objects import ObjectStore
from storage.predictions import flat_box

SHAPE = (9, 8, 7)


def rotated(degrees):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[:2, :2] = [[cosine, -sine], [sine, cosine]]
    return turn


RAS = np.diag([0.7, 0.8, 5.0, 1.0])
AFFINES = {
    "RAS": RAS,
    "LPS": RAS @ np.diag([-1, -1, 1, 1]),
    "PIR": RAS[:, [1, 2, 0, 3]] @ np.diag([-1, -1, 1, 1]),
    "oblique": rotated(20) @ RAS,
    "oblique LPS": rotated(-30) @ RAS @ np.diag([-1, -1, 1, 1]),
}


@pytest.fixture
def objects(tmp_path):
    return ObjectStore(tmp_path / "objects")


def grid_like(affine):
    """A grid whose shape along R, A, S is SHAPE."""
    axes = Grid.from_affine(SHAPE, affine).ras_axes
    shape = [0, 0, 0]
    for axis, length in zip(axes, SHAPE, strict=True):
        shape[axis] = length
    return Grid.from_affine(shape, affine)


def put(objects, mask_ras, grid):
    encoded = encode_mask(mask_ras, tuple((0, n) for n in grid.ras_shape), grid)
    return LabelMask(objects.put(encoded.data), flat_box(encoded.box), encoded.voxels)


def blob(seed, low, high):
    mask = np.zeros(SHAPE, bool)
    inner = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    mask[inner] = np.random.default_rng(seed).random(mask[inner].shape) > 0.4
    return mask


FIRST = blob(0, (1, 2, 0), (5, 6, 3))
SECOND = blob(1, (3, 1, 2), (8, 5, 7))


@pytest.mark.parametrize("name", AFFINES)
def test_crops_hold_both_masks_voxel_by_voxel(objects, name):
    grid = grid_like(AFFINES[name])

    first, second = paired_crops(
        objects, put(objects, FIRST, grid), put(objects, SECOND, grid), SHAPE
    )

    # Crops carry a margin of one voxel: along I 0..9, J 0..7, K 0..7.
    box = (slice(0, 9), slice(0, 7), slice(0, 7))
    assert np.array_equal(first, FIRST[box])
    assert np.array_equal(second, SECOND[box])


@pytest.mark.parametrize("drawn", AFFINES)
@pytest.mark.parametrize("case", ["RAS", "LPS"])
def test_labels_drawn_on_a_copy_with_other_axes_fit(objects, drawn, case):
    here, there = grid_like(AFFINES[case]), grid_like(AFFINES[drawn])

    first, second = paired_crops(
        objects, put(objects, FIRST, here), put(objects, FIRST, there), SHAPE
    )

    assert first.sum() == FIRST.sum()
    assert np.array_equal(first, second)


def test_copy_with_another_origin_fits(objects):
    here, moved = grid_like(RAS), RAS.copy()
    moved[:3, 3] = (-300.0, 20.0, 999.0)

    first, second = paired_crops(
        objects, put(objects, FIRST, here), put(objects, FIRST, grid_like(moved)), SHAPE
    )

    assert np.array_equal(first, second)


def test_absent_label_is_empty_on_the_others_box(objects):
    grid = grid_like(RAS)

    first, second = paired_crops(objects, ABSENT, put(objects, SECOND, grid), SHAPE)

    assert not first.any()
    assert first.shape == second.shape
    assert second.sum() == SECOND.sum()


def test_two_absent_labels_have_no_voxel(objects):
    first, second = paired_crops(objects, ABSENT, ABSENT, SHAPE)

    assert first.shape == second.shape == (0, 0, 0)


def test_label_outside_its_case_is_refused(objects):
    mask = put(objects, SECOND, grid_like(RAS))

    with pytest.raises(StorageError, match="outside the volume"):
        paired_crops(objects, mask, ABSENT, (4, 4, 4))


@pytest.mark.parametrize("name", AFFINES)
def test_case_grid_is_the_one_that_was_taken_in(make_annotated, name):
    made = make_annotated(affine=AFFINES[name])

    with made.store.read() as connection:
        grids = case_grids(connection, made.case_ids)
        (row,) = connection.execute("SELECT orientation FROM cases").fetchone()

    grid = grids[made.case_ids[0]]
    assert grid.orientation == row
    assert np.allclose(grid.affine_matrix, AFFINES[name])
