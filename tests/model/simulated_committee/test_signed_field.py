import numpy as np
import pytest

from model.grid import Box, Grid
from model.simulated_committee.signed_field import (
    FAR_MM,
    SignedField,
    ball,
    signed_distance,
    truth_field,
)


def test_a_field_is_positive_exactly_inside_the_mask():
    mask = np.random.default_rng(0).random((12, 10, 8)) > 0.6

    np.testing.assert_array_equal(signed_distance(mask, (3.0, 3.0, 5.0)) > 0, mask)


def test_distances_to_a_plane_are_those_between_voxel_centres_less_half_a_voxel():
    mask = np.zeros((20, 9, 9), bool)
    mask[10:] = True

    distance = signed_distance(mask, (2.0, 2.0, 2.0))[:, 4, 4]

    assert distance[13] == pytest.approx(7.0, abs=0.01)
    assert distance[6] == pytest.approx(-7.0, abs=0.01)


def test_a_field_is_cropped_and_there_is_no_surface_where_the_volume_ends():
    mask = np.zeros((20, 20, 20), bool)
    mask[8:12, 8:12, :6] = True
    field = truth_field(mask, Grid(mask.shape, (2.0, 2.0, 2.0)), 4.0)

    assert field.box == Box((5, 5, 0), (15, 15, 9))
    assert field.values[4, 4, 0] == pytest.approx(field.values[4, 4, 1], abs=0.1)
    assert truth_field(np.zeros_like(mask), Grid(mask.shape, (2.0, 2.0, 2.0)), 4.0) is None


def test_union_and_difference_of_shapes():
    grid = Grid((30, 30, 30), (1.0, 1.0, 1.0))
    first = ball(np.array([10.0, 15, 15]), np.full(3, 5.0), grid)
    second = ball(np.array([20.0, 15, 15]), np.full(3, 5.0), grid)
    whole = Box((0, 0, 0), grid.shape)
    masks = [one.over(whole) > 0 for one in (first, second)]

    np.testing.assert_array_equal(first.joined(second).over(whole) > 0, masks[0] | masks[1])
    np.testing.assert_array_equal(first.without(second).over(whole) > 0, masks[0] & ~masks[1])
    assert masks[0].sum() == pytest.approx(4 / 3 * np.pi * 125, rel=0.1)


def test_outside_of_its_box_a_shape_is_far():
    field = SignedField(np.ones((2, 2, 2), np.float32), Box((0, 0, 0), (2, 2, 2)))

    assert (field.over(Box((3, 3, 3), (5, 5, 5))) == -FAR_MM).all()
