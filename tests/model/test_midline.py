import numpy as np
import pytest

from model.midline import Midline, body_midline

MM = (4.0, 4.0, 5.0)
AIR, SOFT = -1000, 40


def body(width=100, *, centre=50.0, half=35, depth=22):
    """An upright ellipse in air, 100 x 60 x 12 voxels at 4 x 4 x 5 mm, its middle at ``centre``."""
    hu = np.full((width, 60, 12), AIR, np.int16)
    i, j = np.meshgrid(np.arange(width), np.arange(60), indexing="ij")
    hu[((i - centre) / half) ** 2 + ((j - 30) / depth) ** 2 <= 1] = SOFT
    return hu


def test_the_midline_is_the_middle_of_the_body_not_of_the_image():
    found = body_midline(body(centre=42.0), MM)

    assert (found.low + found.high) / 2 == pytest.approx(42.0, abs=0.5)
    assert found.high - found.low == pytest.approx(5.0)


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 2.5), (2.0, 2.0, 5.0), (7.0, 7.0, 7.0)])
def test_the_grid_does_not_move_it(spacing):
    """What is 70 voxels of 4 mm wide is drawn again on another grid, its middle at 168 mm."""
    shape = [round(400 / spacing[0]), round(240 / spacing[1]), 12]
    places = [np.arange(count) * size for count, size in zip(shape, spacing, strict=False)]
    i, j = np.meshgrid(places[0], places[1], indexing="ij")
    hu = np.full((*i.shape, 12), AIR, np.int16)
    hu[((i - 168) / 140) ** 2 + ((j - 120) / 88) ** 2 <= 1] = SOFT

    found = body_midline(hu, spacing)

    assert (found.low + found.high) / 2 * spacing[0] == pytest.approx(168, abs=spacing[0])


def test_an_off_centre_table_does_not_pull_it():
    """A table of 16 mm lies against the back and reaches from the middle to the right border."""
    hu = body(centre=42.0)
    hu[45:100, 6:10] = SOFT

    found = body_midline(hu, MM)

    assert found.low <= 42.0 <= found.high
    assert found.high - found.low < 12


def test_an_arm_on_one_side_does_not_pull_it_far():
    hu = body(centre=42.0)
    i, j = np.meshgrid(np.arange(100), np.arange(60), indexing="ij")
    hu[(i - 84) ** 2 + (j - 30) ** 2 <= 49] = SOFT

    found = body_midline(hu, MM)

    assert found.low <= 42.0 <= found.high
    assert found.high - found.low < 30


def test_half_a_body_gives_every_place_that_the_flank_allows():
    """The right half alone: its flank lies at voxel 35 of 35, the midline before the volume."""
    hu = body(centre=42.0)[42:]

    found = body_midline(hu, MM)

    assert found.low <= 0.0 <= found.high
    # A body is at least 180 mm wide, so its midline lies 90 mm or more from the flank.
    assert found.high == pytest.approx(35 - 90 / 4 + 10 / 4, abs=1.5)


def test_a_body_that_fills_the_image_leaves_the_midline_open():
    hu = np.full((60, 60, 12), SOFT, np.int16)

    found = body_midline(hu, MM)

    assert found.low < 29.5 < found.high
    assert found.high - found.low > (560 - 240) / 4


def test_a_little_cut_off_at_both_flanks_leaves_rows_enough():
    hu = body(centre=42.0)[12:72]

    found = body_midline(hu, MM)

    assert (found.low + found.high) / 2 == pytest.approx(30.0, abs=1)
    assert found.high - found.low == pytest.approx(5.0, abs=1)


def test_a_crop_of_the_chest_with_open_lungs_leaves_the_midline_open():
    """The heart between both lungs ends inside the volume, yet is no body; 180 mm are seen."""
    hu = np.full((45, 45, 12), SOFT, np.int16)
    hu[:12, 10:30] = hu[38:, 10:30] = -850

    found = body_midline(hu, MM)

    assert found.high - found.low > 200 / 4


def test_shares_count_what_is_surely_on_a_side():
    mask = np.zeros((10, 2, 2), bool)
    mask[1:9] = True

    assert Midline(3.5, 5.5).shares(mask) == (3 / 8, 3 / 8)
    assert Midline(13.5, 15.5).shares(mask, start=10) == (3 / 8, 3 / 8)
    assert Midline(3.5, 5.5).shares(np.zeros_like(mask)) == (0.0, 0.0)


def test_what_surely_lies_on_a_side_is_beyond_the_interval():
    planes = np.arange(10)[:, None, None]
    midline = Midline(3.0, 5.5)

    assert midline.beyond(planes, "left").ravel().tolist() == [0, 1, 2]
    assert midline.beyond(planes, "right").ravel().tolist() == [6, 7, 8, 9]
    assert midline.beyond(planes[2:], "left", start=2).ravel().tolist() == [2]
    assert midline.beyond(planes[8:], "right", start=8).ravel().tolist() == [8, 9]
    assert midline.beyond(planes[4:], "left", start=4).size == 0
    assert Midline(-9.0, 90.0).beyond(planes, "left").size == 0
    assert Midline(-9.0, 90.0).beyond(planes, "right").size == 0
