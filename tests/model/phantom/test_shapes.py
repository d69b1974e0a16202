from collections.abc import Callable

import numpy as np
import pytest

from model.phantom.canvas import Canvas
from model.phantom.shapes import (
    Ellipsoid,
    Path,
    rasterise,
    rotation,
    smooth_max,
    smooth_min,
    spline_path,
)

MakeCanvas = Callable[[float], Canvas]
WHOLE = (slice(None), slice(None), slice(None))


def test_ellipsoid_has_the_volume_of_its_formula(straight_canvas: MakeCanvas) -> None:
    canvas = straight_canvas(1.0)
    shape = Ellipsoid((1.0, -2.0, 3.0), (10, 15, 20), rotation(about_x=30, about_z=50))

    inside = shape.distance(canvas, WHOLE) < 0

    assert inside.sum() == pytest.approx(4 / 3 * np.pi * 10 * 15 * 20, rel=0.01)


def test_sphere_distance_is_exact(straight_canvas: MakeCanvas) -> None:
    canvas = straight_canvas(3.0)

    distance = Ellipsoid((0, 0, 0), (12, 12, 12)).distance(canvas, WHOLE)

    radius = np.sqrt(canvas.x**2 + canvas.y**2 + canvas.z**2)
    assert distance == pytest.approx(radius - 12, abs=2e-2)


def test_ellipsoid_box_holds_all_of_it(straight_canvas: MakeCanvas) -> None:
    canvas = straight_canvas(1.5)
    shape = Ellipsoid((5.0, 5, 5), (5, 12, 8), rotation(about_x=40))

    box = shape.box(canvas)

    assert box is not None
    everywhere = shape.distance(canvas, WHOLE) < 0
    assert (shape.distance(canvas, box) < 0).sum() == everywhere.sum()


def test_tube_agrees_with_a_naive_distance(straight_canvas: MakeCanvas) -> None:
    canvas = straight_canvas(3.0)
    points = np.array([[-15.0, 0, 0], [0, 10, 0], [12, 0, 8]])
    tube = rasterise(canvas, Path(points, np.array([4.0, 5.0, 6.0])), margin_mm=3)
    assert tube is not None

    voxels = np.stack([canvas.x, canvas.y, canvas.z], axis=-1)[tube.box]
    naive = np.full(tube.distance_mm.shape, np.inf)
    for n in range(2):
        for t in np.linspace(0, 1, 400):
            center = points[n] * (1 - t) + points[n + 1] * t
            radius = 4 + n + t
            naive = np.minimum(naive, np.linalg.norm(voxels - center, axis=-1) - radius)

    near = naive < 0
    # A cone's own distance differs a little from that of the balls inside it.
    assert np.abs(tube.distance_mm - naive)[near].max() < 0.25
    assert (tube.distance_mm[~near] > -0.25).all()


def test_tube_outside_the_grid_is_none(straight_canvas: MakeCanvas) -> None:
    path = spline_path([(200, 0, 0), (220, 0, 0)], 5.0)

    assert rasterise(straight_canvas(3.0), path) is None


def test_tube_knows_the_nearest_path_point(straight_canvas: MakeCanvas) -> None:
    canvas = straight_canvas(3.0)
    path = Path(np.array([[-15.0, 0, 0], [0, 0, 0], [15, 0, 0]]), np.full(3, 6.0))
    tube = rasterise(canvas, path)
    assert tube is not None

    x = canvas.x[tube.box]
    inside = tube.distance_mm < 0

    assert (tube.nearest[inside & (x < -8)] == 0).all()
    assert (tube.nearest[inside & (np.abs(x) < 7)] == 1).all()
    assert (tube.nearest[inside & (x > 8)] == 2).all()


def test_spline_path_passes_through_its_ends() -> None:
    path = spline_path([(0, 0, 0), (10, 5, 0), (20, 0, 0)], [2, 4, 6], step_mm=1.0)

    assert path.points_mm[0].tolist() == [0, 0, 0]
    assert path.points_mm[-1] == pytest.approx([20, 0, 0])
    assert path.radii_mm[[0, -1]].tolist() == [2, 6]


def test_volume_of_a_straight_path_is_that_of_a_cylinder() -> None:
    path = spline_path([(0, 0, 0), (0, 0, 100)], 10.0)

    assert path.volume_ml == pytest.approx(np.pi * 100 * 100 / 1000)


def test_smooth_max_equals_max_away_from_the_edge() -> None:
    first, second = np.float32([0, 10, 3]), np.float32([20, 0, 3])

    rounded = smooth_max(first, second, 4.0)

    assert rounded.tolist() == [20, 10, 4]
    assert smooth_min(first, second, 4.0).tolist() == [0, 0, 2]


def test_rotation_turns_right_to_front() -> None:
    turned = rotation(about_z=90) @ np.array([1.0, 0, 0])

    assert turned == pytest.approx([0, 1, 0])
