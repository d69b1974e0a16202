"""Grids: axis orders, boxes, exact floats."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import StorageError
from storage.grid import Grid, QForm, box_shape, box_slices

AXIS_ORDERS = [
    (order, flips)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def oriented_grid(order: tuple[int, ...], flips: tuple[int, ...]) -> Grid:
    """A grid of 4 x 5 x 6 voxels whose file axis a runs along RAS axis order[a]."""
    affine = np.zeros((4, 4))
    for axis, (target, flip) in enumerate(zip(order, flips, strict=True)):
        affine[target, axis] = flip * (1.5, 2.0, 2.5)[target]
    affine[:, 3] = (10.5, -20.25, 30.0, 1.0)
    return Grid.from_affine((4, 5, 6), affine)


@pytest.mark.parametrize(("order", "flips"), AXIS_ORDERS)
def test_ras_order_agrees_with_nibabel(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    grid = oriented_grid(order, flips)
    array = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    closest = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, grid.affine_matrix))

    ras = grid.array_to_ras(array)

    np.testing.assert_array_equal(ras, np.asanyarray(closest.dataobj))
    np.testing.assert_array_equal(np.array(grid.ras_affine), closest.affine)
    assert grid.ras_shape == ras.shape
    assert grid.ras_spacing_mm == (1.5, 2.0, 2.5)
    assert grid.orientation == "".join(nibabel.aff2axcodes(grid.affine_matrix))
    assert np.shares_memory(ras, array)
    np.testing.assert_array_equal(grid.array_from_ras(ras), array)


@pytest.mark.parametrize(("order", "flips"), AXIS_ORDERS)
def test_a_box_cuts_the_same_voxels_in_both_orders(
    order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    grid = oriented_grid(order, flips)
    array = np.arange(120).reshape(4, 5, 6)
    box = ((1, 3), (0, 4), (2, 6))

    ras_box = grid.box_to_ras(box)

    cut = grid.array_to_ras(array[box_slices(box)])
    np.testing.assert_array_equal(cut, grid.array_to_ras(array)[box_slices(ras_box)])
    assert grid.box_from_ras(ras_box) == box
    assert box_shape(ras_box) == cut.shape


def test_an_oblique_grid_takes_the_nearest_axes() -> None:
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:2, :2] = [[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]]

    grid = Grid.from_affine((3, 3, 3), affine)

    assert grid.orientation == "LAS"
    assert grid.ras_flips == (True, False, False)
    assert grid.spacing_mm == pytest.approx((1, 1, 1))


@given(st.lists(st.floats(-1e4, 1e4), min_size=23, max_size=23))
def test_json_gives_back_the_same_floats(numbers: list[float]) -> None:
    rows = [tuple(numbers[start : start + 4]) for start in (0, 4, 8)]
    qform = QForm(
        code=1,
        quaternion=(numbers[12], numbers[13], numbers[14]),
        offset_mm=(numbers[15], numbers[16], numbers[17]),
        qfac_and_spacing_mm=(numbers[18], numbers[19], numbers[20], numbers[21]),
    )
    grid = Grid(shape=(1, 2, 3), affine=(*rows, (0.0, 0.0, 0.0, 1.0)), sform_code=4, qform=qform)

    assert Grid.from_json(grid.to_json()) == grid


@pytest.mark.parametrize("text", ["", "{}", '{"shape":[1,2]}', "[1]"])
def test_text_that_is_no_grid_is_a_storage_error(text: str) -> None:
    with pytest.raises(StorageError, match="stored grid"):
        Grid.from_json(text)
