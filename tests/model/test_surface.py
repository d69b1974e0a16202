import numpy as np
import pytest

from model.surface import surface_of

SPACING = (0.8, 1.0, 2.5)


def signed_volume_mm3(surface):
    """Sum of the tetrahedra between the triangles and the origin; above 0 when they face out."""
    first, second, third = np.moveaxis(
        surface.vertices_mm[surface.triangles].astype(np.float64), 1, 0
    )
    return float(np.einsum("ij,ij->i", first, np.cross(second, third)).sum() / 6)


def ball(n, radius_mm, centre_mm):
    axes = np.meshgrid(*(np.arange(n) * s for s in SPACING), indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre_mm, strict=True)) < radius_mm**2


def test_a_ball_s_surface_lies_at_its_radius_and_faces_outwards():
    centre = (24.0, 28.0, 70.0)
    surface = surface_of(ball(60, 15.0, centre), SPACING)

    radii = np.linalg.norm(surface.vertices_mm - centre, axis=1)
    assert abs(radii.mean() - 15.0) < 0.5
    assert radii.max() - radii.min() < 3.0
    assert signed_volume_mm3(surface) == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.04)


def test_one_voxel_is_an_octahedron_halfway_to_its_neighbours():
    mask = np.zeros((3, 4, 5), bool)
    mask[0, 3, 2] = True

    surface = surface_of(mask, SPACING)

    assert surface.triangles.shape == (8, 3)
    np.testing.assert_allclose(
        sorted(map(tuple, surface.vertices_mm.tolist())),
        sorted([(-0.4, 3, 5), (0.4, 3, 5), (0, 2.5, 5), (0, 3.5, 5), (0, 3, 3.75), (0, 3, 6.25)]),
        atol=1e-6,
    )


def test_a_mask_that_fills_the_region_is_closed_there():
    surface = surface_of(np.ones((6, 5, 4), bool), (1.0, 1.0, 1.0))

    edges = np.sort(surface.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, shared = np.unique(edges, axis=0, return_counts=True)
    assert (shared == 2).all()
    assert surface.vertices_mm.min() == pytest.approx(-0.5)


def test_many_triangles_are_made_fewer_in_the_same_place():
    mask = ball(60, 20.0, (24.0, 28.0, 70.0))

    fine, coarse = surface_of(mask, SPACING), surface_of(mask, SPACING, most_triangles=4000)

    assert len(coarse.triangles) <= 4000 < len(fine.triangles)
    assert signed_volume_mm3(coarse) == pytest.approx(signed_volume_mm3(fine), rel=0.1)


def test_an_empty_mask_has_an_empty_surface():
    surface = surface_of(np.zeros((3, 3, 3), bool), SPACING)

    assert surface.vertices_mm.shape == (0, 3)
    assert surface.triangles.shape == (0, 3)
