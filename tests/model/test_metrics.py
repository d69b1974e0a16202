import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from skimage import measure

from model.metrics import (
    Agreement,
    dice,
    hausdorff95_mm,
    surface_dice,
    surface_distances,
    volume_ml,
)


def cube(shape, start, stop):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


def ball(shape, centre, radius_mm, spacing_mm=(1.0, 1.0, 1.0)):
    grid = np.meshgrid(
        *(np.arange(n) * s for n, s in zip(shape, spacing_mm, strict=True)), indexing="ij"
    )
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= radius_mm**2


EMPTY = np.zeros((6, 6, 6), bool)
SMALL = cube((6, 6, 6), (1, 1, 1), (3, 3, 3))
UNIT = (1.0, 1.0, 1.0)


def test_dice_by_hand():
    # 8 and 8 voxels, 4 shared.
    assert dice(SMALL, cube((6, 6, 6), (2, 1, 1), (4, 3, 3))) == 0.5
    assert dice(SMALL, SMALL) == 1.0


def test_two_empty_masks_agree_that_it_is_absent_and_have_no_number():
    distances = surface_distances(EMPTY, EMPTY, UNIT)

    assert dice(EMPTY, EMPTY) is Agreement.ABSENT
    assert surface_dice(distances, 2.0) is Agreement.ABSENT
    assert hausdorff95_mm(distances) is Agreement.ABSENT


@pytest.mark.parametrize(("first", "second"), [(EMPTY, SMALL), (SMALL, EMPTY)])
def test_one_empty_mask_scores_zero_and_has_no_distance(first, second):
    distances = surface_distances(first, second, UNIT)

    assert dice(first, second) == 0.0
    assert surface_dice(distances, 2.0) == 0.0
    assert hausdorff95_mm(distances) is None


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="share one shape"):
        dice(EMPTY, EMPTY[:3])


def test_volume():
    assert volume_ml(SMALL, (1.0, 2.0, 5.0)) == pytest.approx(0.08)


@pytest.mark.parametrize("spacing", [UNIT, (0.7, 0.9, 2.5)])
def test_the_surface_area_equals_marching_cubes_of_the_whole_mask(spacing):
    blob = np.random.default_rng(0).random((9, 8, 7)) > 0.6
    vertices, faces, *_ = measure.marching_cubes(
        np.pad(blob, 1).astype(np.float32), 0.5, spacing=spacing
    )

    distances = surface_distances(blob, blob, spacing)

    expected = measure.mesh_surface_area(vertices, faces)
    assert distances.prediction_mm2.sum() == pytest.approx(expected, rel=0.01)


def test_the_area_of_a_long_box_approaches_its_faces():
    """Faces of 1 mm2 voxels; marching cubes only bevels the edges."""
    box = cube((34, 34, 34), (2, 2, 2), (32, 32, 32))

    area = surface_distances(box, box, UNIT).prediction_mm2.sum()

    assert 0.94 * 5400 < area < 5400


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slab_shifted_along_an_axis_is_that_far_away(axis):
    spacing = (1.0, 2.0, 3.0)
    start, stop = [0, 0, 0], [40, 40, 40]
    start[axis], stop[axis] = 10, 20
    first = cube((40, 40, 40), start, stop)
    second = np.roll(first, 4, axis=axis)
    shift_mm = 4 * spacing[axis]
    # Under the shift lie the sides and the rim of the face that is inside the other slab.
    width, height = (40 * spacing[other] for other in range(3) if other != axis)
    reach = shift_mm - 0.5
    rim = width * height - (width - 2 * reach) * (height - 2 * reach)
    sides = 2 * 10 * spacing[axis] * (width + height)
    expected = (sides + rim) / (sides + 2 * width * height)

    distances = surface_distances(first, second, spacing)

    assert hausdorff95_mm(distances) == pytest.approx(shift_mm)
    assert surface_dice(distances, shift_mm) == 1.0
    assert surface_dice(distances, reach) == pytest.approx(expected, abs=0.06)


def test_two_balls_of_one_centre_are_their_radii_apart():
    small, large = (ball((50, 50, 50), (25, 25, 25), r) for r in (12.0, 17.0))

    distances = surface_distances(small, large, UNIT)

    assert hausdorff95_mm(distances) == pytest.approx(5.0, abs=0.6)
    assert surface_dice(distances, 3.4) == 0.0
    assert surface_dice(distances, 6.2) == 1.0


def brute_force(first, second, spacing, tolerance):
    """Areas cell by cell, distances between all pairs of cells."""
    surfaces = []
    for mask in (first, second):
        padded = np.pad(mask, 1).astype(np.float32)
        places, areas = [], []
        for corner in itertools.product(*(range(n - 1) for n in padded.shape)):
            cell = padded[tuple(slice(c, c + 2) for c in corner)]
            if 0 < cell.sum() < 8:
                vertices, faces, *_ = measure.marching_cubes(cell, 0.5, spacing=spacing)
                places.append(np.array(corner) * spacing)
                areas.append(measure.mesh_surface_area(vertices, faces))
        surfaces.append((np.array(places), np.array(areas)))
    (a, area_a), (b, area_b) = surfaces
    distance = cdist(a, b)
    to_b, to_a = distance.min(axis=1), distance.min(axis=0)
    near = area_a[to_b <= tolerance + 1e-6].sum() + area_b[to_a <= tolerance + 1e-6].sum()
    percentiles = []
    for values, areas in ((to_b, area_a), (to_a, area_b)):
        repeated = np.repeat(values, np.rint(areas * 2000).astype(int))
        percentiles.append(np.percentile(repeated, 95, method="inverted_cdf"))
    return near / (area_a.sum() + area_b.sum()), max(percentiles)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_surface_metrics_equal_a_brute_force_count(seed):
    generator = np.random.default_rng(seed)
    spacing = tuple(generator.uniform(0.6, 2.0, 3))
    first = ball((10, 9, 8), (5, 5, 5), 4.0, spacing) ^ (generator.random((10, 9, 8)) > 0.98)
    second = np.roll(first, 1, axis=0) ^ (generator.random((10, 9, 8)) > 0.98)
    expected_dice, expected_distance = brute_force(first, second, spacing, 2.0)

    distances = surface_distances(first, second, spacing)

    assert surface_dice(distances, 2.0) == pytest.approx(expected_dice)
    assert hausdorff95_mm(distances) == pytest.approx(expected_distance)


def test_a_tolerance_under_the_largest_spacing_gives_nothing():
    distances = surface_distances(SMALL, SMALL, (1.0, 1.0, 5.0))

    assert surface_dice(distances, 3.0) is None
    assert surface_dice(distances, 5.0) == 1.0


def test_distant_spots_do_not_move_the_95th_percentile():
    block = cube((60, 30, 30), (5, 5, 5), (25, 25, 25))
    spotted = block.copy()
    spotted[55, 15, 15] = True

    distances = surface_distances(spotted, block, UNIT)

    assert hausdorff95_mm(distances) == 0.0
    assert distances.from_prediction_mm.max() == pytest.approx(31.0, abs=1.5)
