import numpy as np
import pytest
from scipy.interpolate import BSpline

from model.phantom.smooth import Displacement, basis, random_field


def test_basis_agrees_with_scipy() -> None:
    position = np.array([0.0, 0.25, 1.5, 2.9])

    first, weights = basis(position)

    spline = [BSpline.basis_element(np.arange(5), extrapolate=False) for _ in range(4)]
    for place, start, row in zip(position, first, weights, strict=True):
        t = place - start
        expected = [float(np.nan_to_num(spline[n](t + 3 - n))) for n in range(4)]
        assert row == pytest.approx(expected, abs=1e-6)


def test_random_field_has_unit_variance() -> None:
    axis = np.arange(0, 240, 4, dtype=np.float32)

    field = random_field((axis, axis, axis), 8.0, np.random.default_rng(0))

    assert field.shape == (60, 60, 60)
    assert field.std() == pytest.approx(1.0, abs=0.05)


def test_random_field_is_smooth_below_its_knots() -> None:
    axis = np.arange(0, 200, 1, dtype=np.float32)
    short = np.arange(2, dtype=np.float32)

    field = random_field((axis, short, short), 40.0, np.random.default_rng(0))

    assert np.abs(np.diff(field[:, 0, 0])).max() < 0.15


def test_displacement_is_the_same_on_a_grid_and_at_points() -> None:
    field = Displacement.draw(
        np.random.default_rng(1), sd_mm=5.0, knot_mm=50.0, half_extent_mm=120.0
    )
    i, j, k = (np.array([-80.0, 3.0, 77.0], np.float32) + shift for shift in (0, 5, 9))
    points = np.stack(np.meshgrid(i, j, k, indexing="ij"), axis=-1).reshape(-1, 3)

    at_points = field.at(points)

    for axis in range(3):
        on_grid = field.on_grid(axis, (i, j, k)).reshape(-1)
        assert on_grid == pytest.approx(at_points[:, axis], abs=1e-4)
