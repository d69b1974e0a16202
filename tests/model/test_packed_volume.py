import numpy as np
import pytest
from scipy import ndimage

from model.packed_volume import packed_volume

# Rows that end on a byte, just before and just after one; longer than a word too.
SHAPES = [(9, 8, 7), (9, 8, 8), (5, 11, 9), (7, 6, 70), (3, 2, 1)]
RADII = [(0, 0, 0), (1, 1, 1), (2, 2, 2), (2, 0, 3), (4, 5, 6)]


def box(radii):
    return np.ones([2 * radius + 1 for radius in radii], bool)


def random_mask(shape, share, seed=1):
    return np.random.default_rng(seed).random(shape) < share


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radii", RADII)
def test_growing_and_wearing_off_are_scipys(shape, radii):
    sparse, dense = random_mask(shape, 0.05), random_mask(shape, 0.97)

    grown = packed_volume(sparse, reach=radii[2]).dilated(radii).unpacked()
    worn = packed_volume(dense, reach=radii[2]).eroded(radii).unpacked()

    np.testing.assert_array_equal(grown, ndimage.binary_dilation(sparse, box(radii)))
    np.testing.assert_array_equal(worn, ndimage.binary_erosion(dense, box(radii)))


@pytest.mark.parametrize("shape", SHAPES)
def test_opening_with_two_steps_of_the_full_element_is_scipys(shape):
    mask = ndimage.binary_dilation(random_mask(shape, 0.02), box((2, 2, 2)))
    mask |= random_mask(shape, 0.2, seed=2)
    full = ndimage.generate_binary_structure(3, 3)
    worn = ndimage.binary_erosion(mask, full, iterations=2)
    expected = ndimage.binary_dilation(worn, full, iterations=2)

    np.testing.assert_array_equal(
        packed_volume(mask, reach=2).opened((2, 2, 2)).unpacked(), expected
    )


def test_counts_and_set_operations_are_those_of_masks():
    first, second = random_mask((5, 6, 13), 0.4), random_mask((5, 6, 13), 0.4, seed=2)
    one, other = (packed_volume(mask, reach=4) for mask in (first, second))

    assert (one.count(), (~one).count()) == (first.sum(), (~first).sum())
    np.testing.assert_array_equal((one | other).unpacked(), first | second)
    np.testing.assert_array_equal((one & ~other).unpacked(), first & ~second)


def test_a_farther_reach_than_was_packed_for_is_refused():
    with pytest.raises(ValueError, match="reach 1"):
        packed_volume(np.ones((3, 3, 3), bool), reach=1).dilated((0, 0, 2))
