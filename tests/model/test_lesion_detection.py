import math

import numpy as np
import pytest

from model.lesion_detection import match_lesions

UNIT = (1.0, 1.0, 1.0)


def spots(*boxes, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    for start, size in boxes:
        mask[tuple(slice(a, a + size) for a in start)] = True
    return mask


def test_found_missed_and_false_lesions_are_counted():
    reference = spots(((1, 1, 1), 3), ((10, 10, 10), 2))
    tested = spots(((3, 3, 3), 3), ((16, 1, 1), 2), ((1, 16, 1), 1))

    match = match_lesions(tested, reference, UNIT)

    assert match.found == (True, False)
    assert match.false_positives == 2


def test_diameter_is_that_of_a_ball_of_the_lesions_volume():
    match = match_lesions(spots(), spots(((2, 2, 2), 4)), (1.0, 2.0, 3.0))

    (diameter,) = match.diameters_mm
    assert math.pi / 6 * diameter**3 == pytest.approx(64 * 6.0)


def test_voxels_that_touch_by_a_corner_are_one_lesion():
    reference = spots(((1, 1, 1), 2), ((3, 3, 3), 2))

    assert len(match_lesions(spots(), reference, UNIT).found) == 1


def test_one_mask_over_two_lesions_finds_both():
    reference = spots(((1, 1, 1), 3), ((10, 1, 1), 3))

    match = match_lesions(spots(((0, 0, 0), 15)), reference, UNIT)

    assert match.found == (True, True)
    assert match.false_positives == 0


@pytest.mark.parametrize("shape", [(4, 4, 4), (0, 0, 0)])
def test_empty_masks_have_no_lesion(shape):
    empty = np.zeros(shape, bool)

    match = match_lesions(empty, empty, UNIT)

    assert (match.diameters_mm, match.found, match.false_positives) == ((), (), 0)


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="share one shape"):
        match_lesions(spots(), spots(shape=(4, 4, 4)), UNIT)
