import io

import numpy as np
import pytest
from PIL import Image

from review_app.slice_picture import (
    Contour,
    MaskCrop,
    SliceView,
    best_cursor,
    part_of,
    slice_png,
)

SHAPE = (20, 16, 12)
WHOLE = ((0, 20), (0, 16), (0, 12))


def view(**changes):
    hu = np.full(SHAPE, -1000, np.int16)
    hu[16:, 12:, 9:] = 400
    values = {
        "hu_ras": hu,
        "spacing_mm": (2.0, 2.0, 4.0),
        "view_ras": WHOLE,
        "cursor": (18, 14, 10),
        "window_hu": (-160.0, 240.0),
        **changes,
    }
    return SliceView(**values)


def pixels(plane, **changes):
    data = slice_png(view(**changes), plane, panel_px=200)
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def centre_of(bright):
    rows, columns = np.nonzero(bright)
    return rows.mean(), columns.mean()


@pytest.mark.parametrize(
    ("plane", "right_half"), [("axial", False), ("coronal", False), ("sagittal", False)]
)
def test_right_and_anterior_lie_on_the_left_superior_and_anterior_on_top(plane, right_half):
    picture = pixels(plane)
    bright = picture.min(axis=2) > 240

    row, column = centre_of(bright)

    assert row < 100
    assert (column > 100) == right_half


def test_contour_has_its_colour_and_heat_a_shade():
    crop = MaskCrop(np.ones((6, 6, 6), np.uint8), ((6, 12), (4, 10), (4, 10)))
    plain = pixels("axial", cursor=(9, 7, 6))

    outlined = pixels("axial", cursor=(9, 7, 6), contours=[Contour(crop, (10, 200, 30), 2)])
    heated = pixels("axial", cursor=(9, 7, 6), heat=MaskCrop(crop.values * 255, crop.box_ras))

    assert (outlined == (10, 200, 30)).all(axis=2).sum() > 100
    assert not (plain == (10, 200, 30)).all(axis=2).any()
    assert (heated != plain).any(axis=2).sum() > 1000


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_frame_stands_round_the_voxels_of_its_box(plane):
    box = ((6, 12), (4, 10), (4, 10))
    outline = Contour(MaskCrop(np.ones((6, 6, 6), np.uint8), box), (10, 200, 30), 1)
    plain = pixels(plane, cursor=(9, 7, 6))
    filled = (pixels(plane, cursor=(9, 7, 6), contours=[outline]) != plain).any(axis=2)

    framed = (pixels(plane, cursor=(9, 7, 6), frame=box) != plain).any(axis=2)

    for axis in (0, 1):
        inner, outer = (np.flatnonzero(one.any(axis=axis)) for one in (filled, framed))
        assert abs(inner[0] - outer[0]) <= 2
        assert abs(inner[-1] - outer[-1]) <= 2
    assert not framed[tuple(np.argwhere(filled).mean(axis=0).astype(int))]


def test_part_of_a_crop_is_zero_where_the_crop_says_nothing():
    crop = MaskCrop(np.full((2, 2, 2), 7, np.uint8), ((4, 6), (4, 6), (4, 6)))

    part = part_of(crop, ((5, 8), (0, 5), (4, 6)))

    assert part.shape == (3, 5, 2)
    assert part.sum() == 7 * 2
    assert part[0, 4, 0] == 7
    assert part_of(crop, ((0, 4), (0, 16), (0, 12))).sum() == 0


def test_best_cursor_meets_the_most_of_the_first_crop_that_holds_anything():
    empty = MaskCrop(np.zeros((3, 3, 3), np.uint8), ((0, 3), (0, 3), (0, 3)))
    filled = np.zeros((4, 4, 4), np.uint8)
    filled[2, 1, 3] = 9

    assert best_cursor([empty, MaskCrop(filled, ((5, 9), (5, 9), (5, 9)))], SHAPE) == (7, 6, 8)
    assert best_cursor([empty], SHAPE) == (10, 8, 6)
