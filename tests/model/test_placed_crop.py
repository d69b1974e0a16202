import numpy as np
import pytest

from model.grid import Box
from model.placed_crop import PlacedMask, cropped, grown, packed, placed, union_box


def test_a_crop_put_back_is_the_whole_mask():
    mask = np.zeros((6, 7, 8), bool)
    mask[2:4, 3, 5:8] = True

    crop = cropped(mask)

    assert crop is not None
    assert crop.box == Box((2, 3, 5), (4, 4, 8))
    assert (placed(crop.mask, crop.box, Box((0, 0, 0), (6, 7, 8))) == mask).all()
    assert cropped(np.zeros((2, 2, 2), bool)) is None


def test_what_lies_outside_is_cut_and_what_is_new_is_empty():
    values = np.arange(1, 9, dtype=np.uint8).reshape(2, 2, 2)

    into = placed(values, Box((1, 1, 1), (3, 3, 3)), Box((2, 0, 1), (4, 3, 2)))

    assert into.shape == (2, 3, 1)
    assert into[0, :, 0].tolist() == [0, 5, 7]
    assert not into[1].any()
    assert not placed(values, Box((0, 0, 0), (2, 2, 2)), Box((5, 5, 5), (6, 6, 6))).any()


def test_boxes_grow_up_to_the_edge_and_join():
    assert grown(Box((1, 4, 4), (3, 5, 6)), (2, 1, 3), (10, 10, 8)) == Box((0, 3, 1), (5, 6, 8))
    joined = union_box([Box((1, 5, 2), (2, 6, 9)), Box((0, 6, 3), (3, 7, 4))])
    assert joined == Box((0, 5, 2), (3, 7, 9))


def test_a_crop_has_the_shape_of_its_box():
    with pytest.raises(ValueError, match="box's shape"):
        PlacedMask(np.zeros((1, 2, 3), bool), Box((0, 0, 0), (3, 2, 1)))


def test_a_packed_crop_comes_back_as_it_was():
    mask = np.random.default_rng(0).random((7, 5, 3)) > 0.5
    crop = PlacedMask(mask, Box((1, 2, 3), (8, 7, 6)))

    again = packed(crop).unpacked()

    assert packed(crop).bits.nbytes == 14
    assert again.dtype == np.bool_
    np.testing.assert_array_equal(again, mask)


def test_a_crop_of_a_crop_lies_where_it_lay():
    volume = np.zeros((9, 9, 9), bool)
    volume[4:6, 5, 2:8] = True

    crop = cropped(volume[3:, 2:, 1:], origin=(3, 2, 1))

    assert crop is not None
    assert crop.box == Box((4, 5, 2), (6, 6, 8))
