import numpy as np

from model.disputed_places import disputed_places

SPACING = (1.0, 1.0, 2.0)


def test_the_part_with_most_disagreement_comes_first_at_its_highest_voxel():
    levels = np.zeros((60, 40, 30), np.uint8)
    levels[5:7, 5:7, 5:7] = 200
    levels[5, 6, 6] = 250
    levels[30:36, 20:26, 10:14] = 180
    levels[33, 22, 12] = 190

    assert disputed_places(levels, SPACING) == [(33, 22, 12), (5, 6, 6)]


def test_what_is_far_below_the_highest_is_no_place():
    levels = np.zeros((60, 10, 10), np.uint8)
    levels[2, 2, 2], levels[50, 5, 5] = 255, 120

    assert disputed_places(levels, SPACING) == [(2, 2, 2)]
    assert disputed_places(np.full((4, 4, 4), 20, np.uint8), SPACING) == []


def test_a_long_part_has_several_places_apart_in_mm():
    levels = np.zeros((10, 10, 40), np.uint8)
    levels[4, 4, :] = 100

    places = disputed_places(levels, SPACING)

    # 15 mm are 7.5 slices of 2 mm.
    assert [k for _, _, k in places] == [0, 8, 16, 24, 32]
    assert len(disputed_places(levels, SPACING, most=2)) == 2
