import io

import numpy as np
import pytest
from PIL import Image

from model.grid import Box, Grid
from model.rendering import (
    CONSENSUS_COLOUR,
    MEMBER_COLOURS,
    Picture,
    best_slice,
    context_box,
    member_colours,
    placed,
    render_item,
    render_plane,
    to_png,
    window,
)

UNIT = (1.0, 1.0, 1.0)
WINDOW = (-160.0, 240.0)
AXIAL, CORONAL, SAGITTAL = 2, 1, 0


def air(shape):
    return np.full(shape, -1000, np.int16)


def bright_quarter(image):
    """Return (top or bottom, left or right) of the brightest quarter."""
    half = image.shape[0] // 2
    grey = image.sum(axis=2, dtype=int)
    sums = {
        (vertical, horizontal): int(grey[rows, columns].sum())
        for vertical, rows in (("top", slice(half)), ("bottom", slice(half, None)))
        for horizontal, columns in (("left", slice(half)), ("right", slice(half, None)))
    }
    return max(sums, key=sums.__getitem__)


@pytest.mark.parametrize(
    ("axis", "place"),
    [(AXIAL, ("top", "left")), (CORONAL, ("top", "left")), (SAGITTAL, ("top", "left"))],
)
def test_right_anterior_and_superior_are_where_a_radiologist_looks_for_them(axis, place):
    """In RAS the last voxel of each axis is the most right, anterior, superior one."""
    hu = air((8, 8, 8))
    hu[6, 6, 6] = 1000

    image = render_plane(Picture(hu=hu, spacing_mm=UNIT), axis, 6, window_hu=WINDOW, panel_px=32)

    assert bright_quarter(image) == place


@pytest.mark.parametrize(
    ("axis", "moved", "place"),
    [
        (AXIAL, (1, 6, 6), ("top", "right")),
        (AXIAL, (6, 1, 6), ("bottom", "left")),
        (CORONAL, (1, 6, 6), ("top", "right")),
        (CORONAL, (6, 6, 1), ("bottom", "left")),
        (SAGITTAL, (6, 1, 6), ("top", "right")),
        (SAGITTAL, (6, 6, 1), ("bottom", "left")),
    ],
)
def test_moving_a_spot_moves_it_in_the_picture(axis, moved, place):
    hu = air((8, 8, 8))
    hu[moved] = 1000

    image = render_plane(Picture(hu=hu, spacing_mm=UNIT), axis, 6, window_hu=WINDOW, panel_px=32)

    assert bright_quarter(image) == place


def test_millimetres_are_as_long_down_as_across():
    """A cube of 20 mm in voxels of 1 x 1 x 5 mm is a square in every plane."""
    hu = air((40, 40, 8))
    hu[10:30, 10:30, 2:6] = 1000
    picture = Picture(hu=hu, spacing_mm=(1.0, 1.0, 5.0))

    for axis, index in ((AXIAL, 4), (CORONAL, 20), (SAGITTAL, 20)):
        lit = render_plane(picture, axis, index, window_hu=WINDOW, panel_px=200)[:, :, 0] > 127
        height, width = lit.any(axis=1).sum(), lit.any(axis=0).sum()
        # Full size of the panel is 40 mm; thick slices blur the edge by half a voxel.
        assert width == pytest.approx(100, abs=14)
        assert height == pytest.approx(100, abs=14)


def test_a_contour_runs_along_the_edge_of_the_mask_in_its_members_colour():
    mask = np.zeros((10, 10, 10), bool)
    mask[3:7, 3:7, 3:7] = True
    picture = Picture(hu=air((10, 10, 10)), spacing_mm=UNIT, members={"a": mask})

    image = render_plane(picture, AXIAL, 5, window_hu=WINDOW, panel_px=100)

    drawn = (image == MEMBER_COLOURS[0]).all(axis=2)
    rows, columns = np.nonzero(drawn)
    assert {rows.min(), columns.min()} <= {29, 30}
    assert {rows.max(), columns.max()} <= {69, 70}
    assert not drawn[40:60, 40:60].any()


def test_contours_on_the_same_pixels_take_turns():
    mask = np.zeros((10, 10, 10), bool)
    mask[3:7, 3:7, 3:7] = True
    picture = Picture(
        hu=air((10, 10, 10)), spacing_mm=UNIT, members={"a": mask, "b": mask}, consensus=mask
    )

    image = render_plane(picture, AXIAL, 5, window_hu=WINDOW, panel_px=100)

    counts = [
        int((image == colour).all(axis=2).sum())
        for colour in (*MEMBER_COLOURS[:2], CONSENSUS_COLOUR)
    ]
    # Four sides of 3 voxels and four corners cut by half a voxel, at 10 pixels a voxel.
    assert sum(counts) == pytest.approx(140, abs=6)
    assert min(counts) > 30


def test_a_mask_that_the_crop_cuts_is_closed_at_the_edge():
    mask = np.ones((4, 4, 4), bool)
    picture = Picture(hu=air((4, 4, 4)), spacing_mm=UNIT, consensus=mask)

    image = render_plane(picture, AXIAL, 2, window_hu=WINDOW, panel_px=40)

    assert (image == CONSENSUS_COLOUR).all(axis=2).any()


def test_uncertainty_colours_only_where_it_is():
    uncertainty = np.zeros((8, 8, 8), np.uint8)
    uncertainty[:4] = 255
    hu = np.full((8, 8, 8), 40, np.int16)
    picture = Picture(hu=hu, spacing_mm=UNIT, uncertainty=uncertainty)

    image = render_plane(picture, AXIAL, 4, window_hu=WINDOW, panel_px=80).astype(int)

    coloured = np.ptp(image, axis=2) > 30
    # Low i is the patient's left, on the right of the picture.
    assert coloured[:, 50:].all()
    assert not coloured[:, :30].any()


def test_the_best_slice_has_most_disagreement_else_the_largest_mask_else_the_middle():
    hu = air((9, 9, 9))
    mask = np.zeros((9, 9, 9), bool)
    mask[2:7, 2:7, 3] = True
    mask[4, 4, 6] = True
    disagreement = np.zeros((9, 9, 9), np.uint8)
    disagreement[4, 4, 7] = 90

    def index(**arrays):
        return best_slice(Picture(hu=hu, spacing_mm=UNIT, **arrays), AXIAL)

    assert index(consensus=mask, disagreement=disagreement) == 7
    assert index(consensus=mask, disagreement=np.zeros_like(disagreement)) == 3
    assert index(members={"a": mask}) == 3
    assert index() == 4


def test_window_maps_its_ends_to_black_and_white():
    hu = np.array([-1000, -160, 40, 240, 3000], np.int16)

    assert window(hu, WINDOW).tolist() == [0, 0, 128, 255, 255]


def test_three_panels_and_a_png_that_reads_back():
    hu = np.random.default_rng(0).integers(-200, 300, (6, 7, 8)).astype(np.int16)

    image = render_item(Picture(hu=hu, spacing_mm=(1.0, 1.0, 2.0)), panel_px=50)

    assert image.shape == (50, 158, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(to_png(image)))), image)


def test_members_keep_their_order_of_colours():
    assert member_colours(("x", "y")) == {"x": MEMBER_COLOURS[0], "y": MEMBER_COLOURS[1]}
    assert len(member_colours([str(n) for n in range(20)])) == 20


def test_context_is_added_in_mm_and_stays_inside():
    grid = Grid((50, 50, 10), (1.0, 2.0, 5.0))

    outer = context_box(Box((5, 20, 3), (10, 30, 5)), grid, 10.0)

    assert outer == Box((0, 15, 1), (20, 35, 7))


def test_a_crop_is_placed_where_its_box_is():
    volume = np.random.default_rng(0).integers(1, 9, (6, 6, 6)).astype(np.uint8)
    box, outer = Box((2, 1, 3), (4, 4, 5)), Box((1, 1, 0), (6, 5, 6))

    result = placed(volume[box.slices], box, outer)

    inside = np.zeros_like(volume)
    inside[box.slices] = volume[box.slices]
    np.testing.assert_array_equal(result, inside[outer.slices])
