"""Operations in mm against cases counted by hand and against scipy on the whole array."""

import numpy as np
import pytest
from scipy import ndimage

from configs.errors import UsageError
from model.mask_operation import (
    component_at,
    grown_by,
    shrunk_by,
    smoothed,
    with_holes_filled,
    without_islands,
)

SPACING = (0.8, 1.0, 2.5)


def mask_of(shape, *boxes):
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[tuple(slice(*extent) for extent in box)] = True
    return mask


def blobs(seed=0, shape=(40, 33, 21)):
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, 2) > 0.05


def test_islands_go_by_their_volume_in_ml():
    large = ((0, 10), (0, 10), (0, 5))
    mask = mask_of((30, 30, 12), large, ((15, 20), (15, 20), (6, 8)), ((25, 29), (0, 5), (0, 5)))
    # 50 voxels of 2 mm^3 are 0.1 mL, 100 are 0.2 mL.

    result = without_islands(mask, SPACING, least_ml=0.2)

    np.testing.assert_array_equal(result, mask_of((30, 30, 12), large, ((25, 29), (0, 5), (0, 5))))
    assert without_islands(mask, SPACING, least_ml=0.1).sum() == mask.sum()
    np.testing.assert_array_equal(
        without_islands(mask, SPACING, least_ml=99.0), mask_of((30, 30, 12), large)
    )


def test_the_component_of_a_voxel_touches_by_corners_too():
    first, second = ((1, 3), (1, 3), (1, 3)), ((3, 5), (3, 5), (3, 5))
    mask = mask_of((9, 9, 9), first, second, ((7, 8), (0, 1), (0, 1)))

    np.testing.assert_array_equal(component_at(mask, (2, 2, 2)), mask_of((9, 9, 9), first, second))
    for outside in ((0, 0, 0), (9, 0, 0), (-1, 0, 0)):
        with pytest.raises(UsageError, match="voxel"):
            component_at(mask, outside)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_holes_are_scipys(axis):
    mask = np.random.default_rng(4).random((40, 33, 21)) > 0.12
    if axis is None:
        expected = ndimage.binary_fill_holes(mask)
    else:
        slices = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(mask, axis, 0)]
        expected = np.moveaxis(np.stack(slices), 0, axis)

    result = with_holes_filled(mask, axis=axis)

    assert expected.sum() > mask.sum()
    np.testing.assert_array_equal(result, expected)


def test_a_hollow_that_opens_to_the_end_of_the_region_stays_open():
    mask = mask_of((8, 8, 8), ((0, 6), (1, 7), (1, 7)))
    mask[0:4, 3:5, 3:5] = False

    np.testing.assert_array_equal(with_holes_filled(mask, axis=None), mask)


@pytest.mark.parametrize("reach_mm", [0.8, 2.5, 4.1])
def test_growing_and_shrinking_are_distances_between_centres(reach_mm):
    mask = blobs(1) & mask_of((40, 33, 21), ((3, 30), (4, 28), (5, 18)))
    away = ndimage.distance_transform_edt(~mask, sampling=SPACING)
    deep = ndimage.distance_transform_edt(mask, sampling=SPACING)

    np.testing.assert_array_equal(
        grown_by(mask, SPACING, reach_mm=reach_mm), away <= reach_mm + 1e-6
    )
    np.testing.assert_array_equal(
        shrunk_by(mask, SPACING, reach_mm=reach_mm), deep > reach_mm + 1e-6
    )


def test_growing_works_by_slabs_as_on_the_whole():
    mask = mask_of((150, 12, 10), ((0, 2), (5, 6), (5, 6)), ((63, 64), (0, 1), (0, 1)))
    mask[140] = True
    away = ndimage.distance_transform_edt(~mask, sampling=SPACING)

    np.testing.assert_array_equal(grown_by(mask, SPACING, reach_mm=6.0), away <= 6.0)


def test_one_voxel_grows_by_its_spacing_counted_by_hand():
    mask = mask_of((7, 7, 7), ((3, 4), (3, 4), (3, 4)))
    # Within 2.5 mm: two steps of 1 mm along j, three of 0.8 mm along i, one of 2.5 mm along k.
    result = grown_by(mask, SPACING, reach_mm=2.5)

    assert result[:, 3, 3].sum() == 7
    assert result[3, :, 3].sum() == 5
    assert result[3, 3, :].sum() == 3


def test_nothing_is_shrunk_from_the_end_of_the_region():
    mask = mask_of((10, 10, 10), ((0, 5), (0, 10), (0, 10)))

    result = shrunk_by(mask, (1.0, 1.0, 1.0), reach_mm=2.0)

    np.testing.assert_array_equal(result, mask_of((10, 10, 10), ((0, 3), (0, 10), (0, 10))))


def test_smoothing_is_the_gaussian_mean_of_the_whole():
    mask = blobs(2) & mask_of((40, 33, 21), ((8, 30), (8, 25), (6, 15)))
    sigmas = [1.5 / size for size in SPACING]
    mean = ndimage.gaussian_filter(mask.astype(np.float64), sigmas, mode="nearest", truncate=3)

    result = smoothed(mask, SPACING, sigma_mm=1.5)

    # The last bits of float32 decide where the mean is a half.
    assert ((mean > 0.5) != result)[np.abs(mean - 0.5) > 1e-5].sum() == 0
    assert (result != mask).any()


def test_smoothing_keeps_a_plane_that_leaves_the_region():
    mask = mask_of((12, 12, 12), ((0, 6), (0, 12), (0, 12)))

    np.testing.assert_array_equal(smoothed(mask, (1.0, 1.0, 1.0), sigma_mm=2.0), mask)


@pytest.mark.parametrize("operation", [grown_by, shrunk_by])
@pytest.mark.parametrize("reach_mm", [0.0, -1.0, float("nan"), float("inf"), 101.0])
def test_a_distance_out_of_range_is_refused(operation, reach_mm):
    with pytest.raises(UsageError, match="distance above 0"):
        operation(blobs(), SPACING, reach_mm=reach_mm)


def test_an_empty_mask_stays_empty():
    empty = np.zeros((5, 6, 7), bool)

    for result in (
        without_islands(empty, SPACING, least_ml=1.0),
        with_holes_filled(empty, axis=None),
        smoothed(empty, SPACING, sigma_mm=1.0),
        grown_by(empty, SPACING, reach_mm=1.0),
        shrunk_by(empty, SPACING, reach_mm=1.0),
    ):
        assert result.shape == empty.shape
        assert not result.any()
