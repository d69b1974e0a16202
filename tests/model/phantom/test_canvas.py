from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from model.phantom.anatomy import Tissue
from model.phantom.canvas import Canvas, Pose, depth_inside
from model.phantom.shapes import rotation
from model.phantom.smooth import Displacement

WHOLE = (slice(None), slice(None), slice(None))


def test_pose_leads_to_the_scanner_and_back() -> None:
    rng = np.random.default_rng(3)
    bend = Displacement.draw(rng, sd_mm=4.0, knot_mm=60.0, half_extent_mm=300.0)
    pose = Pose(rotation(about_x=4, about_z=-6) / 0.95, bend)
    anatomy = rng.uniform(-150, 150, (50, 3))

    scanner = pose.to_scanner(anatomy)

    back = scanner @ pose.matrix.T + bend.at(scanner)
    assert np.abs(back - anatomy).max() < 0.2


def test_coordinates_of_voxels_follow_the_pose() -> None:
    rng = np.random.default_rng(4)
    bend = Displacement.draw(rng, sd_mm=4.0, knot_mm=60.0, half_extent_mm=300.0)
    pose = Pose(rotation(about_y=5), bend)
    canvas = Canvas.blank(
        pose, low_mm=np.array([-10.0, 5, 7]), shape=(4, 5, 6), spacing_mm=(3, 4, 5)
    )
    scanner = np.array([[-10 + 3 * 2, 5 + 4 * 3, 7 + 5 * 4.0]])

    expected = scanner @ pose.matrix.T + bend.at(scanner)

    here = (2, 3, 4)
    found = [canvas.x[here], canvas.y[here], canvas.z[here]]
    assert found == pytest.approx(expected[0].tolist(), abs=1e-3)


def test_paint_blends_half_at_the_surface(straight_canvas: Callable[[float], Canvas]) -> None:
    canvas = straight_canvas(3.0)

    canvas.paint(WHOLE, canvas.x - np.float32(0.0), hu=0.0, tissue=Tissue.LIVER)

    row = canvas.hu[9:12, 0, 0]
    assert row.tolist() == [0.0, -500.0, -1000.0]
    assert (canvas.tissue[canvas.x < 0] == Tissue.LIVER).all()
    assert (canvas.tissue[canvas.x >= 0] == Tissue.AIR).all()


def test_paint_leaves_what_may_not_be_painted_over(
    straight_canvas: Callable[[float], Canvas],
) -> None:
    canvas = straight_canvas(3.0)
    canvas.paint(WHOLE, canvas.x, hu=50.0, tissue=Tissue.LIVER)
    before = canvas.hu[canvas.tissue == Tissue.LIVER]

    canvas.paint(WHOLE, canvas.x - 1000, hu=900.0, tissue=Tissue.BONE, over=(Tissue.AIR,))

    assert (canvas.hu[canvas.x < 0] == before).all()
    assert (canvas.tissue[canvas.x >= 0] == Tissue.BONE).all()


def test_boxes_end_at_the_grid(straight_canvas: Callable[[float], Canvas]) -> None:
    canvas = straight_canvas(3.0)

    inside = canvas.scanner_box(np.array([-6.0, -300, 0]), np.array([6.0, 300, 3]))

    assert inside == (slice(8, 13), slice(0, 21), slice(10, 12))
    assert canvas.scanner_box(np.array([40.0, 0, 0]), np.array([50.0, 1, 1])) is None


def test_depth_counts_the_border_as_outside() -> None:
    mask = np.ones((5, 5, 5), bool)

    depth = depth_inside(mask, (2.0, 2.0, 2.0), 1)

    padded = ndimage.distance_transform_cdt(np.pad(mask, 1), "taxicab")[1:-1, 1:-1, 1:-1]
    assert depth[2, 2, 2] == 6.0
    assert (depth == 2.0 * padded).all()
