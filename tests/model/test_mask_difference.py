import numpy as np
import pytest

from model.mask_difference import mask_difference
from model.metrics import Agreement

SPACING_MM = (2.0, 2.5, 5.0)  # 25 mm3 a voxel


def box(*slices):
    mask = np.zeros((6, 6, 5), bool)
    mask[tuple(slice(lo, hi) for lo, hi in slices)] = True
    return mask


def test_two_boxes_by_hand():
    """16 voxels on slices 1 and 2; 24 on 2 to 4; they share 4 on slice 2."""
    first = box((0, 4), (0, 2), (1, 3))
    second = box((2, 6), (0, 2), (2, 5))

    found = mask_difference(first, second, SPACING_MM)

    assert (found.first_ml, found.second_ml) == (pytest.approx(0.4), pytest.approx(0.6))
    assert (found.added_ml, found.removed_ml) == (pytest.approx(0.5), pytest.approx(0.3))
    assert found.dsc == pytest.approx(2 * 4 / (16 + 24))
    assert (found.first_slices, found.second_slices, found.changed_slices) == (2, 3, 4)


def test_slice_with_most_difference_is_named_whichever_way_it_differs():
    first = box((0, 6), (0, 6), (0, 5))
    second = first.copy()
    second[0, 5, 1] = False
    second[2, 4, 3] = False
    second[2, 5, 3] = False

    assert mask_difference(first, second, SPACING_MM).most_changed == (2, 5, 3)
    assert mask_difference(second, first, SPACING_MM).most_changed == (2, 5, 3)


def test_equal_masks_differ_in_no_slice():
    found = mask_difference(box((0, 2), (0, 2), (0, 2)), box((0, 2), (0, 2), (0, 2)), SPACING_MM)

    assert (found.dsc, found.changed_slices, found.most_changed) == (1.0, 0, None)


@pytest.mark.parametrize("shape", [(6, 6, 5), (0, 0, 0)])
def test_two_empty_masks_agree_that_it_is_absent(shape):
    found = mask_difference(np.zeros(shape, bool), np.zeros(shape, bool), SPACING_MM)

    assert (found.dsc, found.first_ml, found.most_changed) == (Agreement.ABSENT, 0.0, None)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        mask_difference(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool), SPACING_MM)
