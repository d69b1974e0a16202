import numpy as np
import pytest
from scipy import ndimage

from model.dilation import closed, dilated, radii_of

RADII = (2, 0, 3)
BOX = np.ones([2 * radius + 1 for radius in RADII], bool)


@pytest.fixture
def mask():
    return np.random.default_rng(1).random((15, 14, 13)) > 0.97


def test_dilation_is_scipys(mask):
    np.testing.assert_array_equal(dilated(mask, RADII), ndimage.binary_dilation(mask, BOX))


def test_closing_is_scipys_and_takes_nothing_off_at_the_edge(mask):
    grown = ndimage.binary_dilation(mask, BOX)
    expected = ndimage.binary_erosion(grown, BOX, border_value=1)

    np.testing.assert_array_equal(closed(mask, RADII), expected)
    assert (closed(mask, RADII) >= mask).all()


def test_radii_are_whole_voxels_that_the_distance_holds():
    assert radii_of(3.0, (1.5, 0.7, 5.0)) == (2, 4, 0)
    assert radii_of(0.3, (0.1, 0.1, 0.1)) == (3, 3, 3)
