import numpy as np
import pytest
import torch

from model.resample import AxisMap, apply_maps, axis_map, to_working, working_shape


def whole(size, source, target):
    rows = max(1, round(size * source / target))
    return axis_map(size, source, target, rows=(0, rows))


def dense(one, columns):
    matrix = np.zeros((one.weights.shape[0], columns))
    matrix[:, one.columns] = one.weights.numpy()
    return matrix


def naive_weight(target, source_index, source_mm, target_mm):
    reach = max(source_mm, target_mm)
    centre = (target + 0.5) * target_mm
    return max(0.0, 1 - abs(centre - (source_index + 0.5) * source_mm) / reach)


@pytest.mark.parametrize("spacings", [(1.0, 2.0), (0.7, 1.5), (5.0, 1.5), (1.5, 0.8), (3.0, 3.0)])
def test_matrix_equals_a_naive_triangle_kernel_with_a_repeated_edge(spacings):
    source, target = spacings
    size = 13
    rows = max(1, round(size * source / target))
    expected = np.zeros((rows, size))
    for row in range(rows):
        for index in range(-20, size + 20):
            expected[row, min(max(index, 0), size - 1)] += naive_weight(row, index, source, target)
    expected /= expected.sum(axis=1, keepdims=True)

    np.testing.assert_allclose(dense(whole(size, source, target), size), expected, atol=1e-6)


def test_halving_the_grid_averages_with_known_weights():
    # Target centre at 2 mm, half width 2: sources at 0.5, 1.5, 2.5, 3.5 weigh 1/4, 3/4, 3/4, 1/4.
    row = dense(axis_map(6, 1.0, 2.0, rows=(1, 2)), 6)[0]

    np.testing.assert_allclose(row, [0, 0.125, 0.375, 0.375, 0.125, 0], atol=1e-7)


def test_doubling_the_grid_interpolates_linearly_and_repeats_the_edge():
    matrix = dense(whole(3, 2.0, 1.0), 3)

    np.testing.assert_allclose(matrix @ [0.0, 4.0, 8.0], [0.0, 1.0, 3.0, 5.0, 7.0, 8.0], atol=1e-6)


def test_a_row_range_equals_the_rows_of_the_whole_matrix():
    everything = dense(whole(40, 0.8, 1.5), 40)
    part = axis_map(40, 0.8, 1.5, rows=(7, 12))

    assert part.weights.shape[1] < 40
    np.testing.assert_array_equal(dense(part, 40), everything[7:12])


def test_working_shape_rounds_and_is_never_zero():
    assert working_shape((100, 3, 1), (1.5, 1.0, 0.2), (3.0, 2.0, 3.0)) == (50, 2, 1)


def test_resampling_a_linear_ramp_towards_a_finer_grid_is_exact_inside():
    ramp = torch.arange(10, dtype=torch.float32)[:, None, None].expand(10, 4, 4)
    maps = (whole(10, 3.0, 1.0), whole(4, 1.0, 1.0), whole(4, 1.0, 1.0))
    centres_mm = (np.arange(30) + 0.5) * 1.0

    result = apply_maps(ramp, maps)[:, 0, 0].numpy()

    np.testing.assert_allclose(result[2:-2], centres_mm[2:-2] / 3.0 - 0.5, atol=1e-5)


def test_apply_maps_equals_three_products_by_einsum():
    volume = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32))
    maps = (whole(6, 1.0, 1.7), whole(7, 2.0, 1.0), whole(8, 1.0, 3.0))
    expected = np.einsum(
        "ai,bj,ck,ijk->abc",
        *(dense(m, n) for m, n in zip(maps, (6, 7, 8), strict=True)),
        volume.numpy(),
    )

    np.testing.assert_allclose(apply_maps(volume, maps).numpy(), expected, atol=1e-5)


def test_to_working_equals_apply_maps_however_it_is_cut_into_slabs(monkeypatch):
    hu = np.random.default_rng(1).integers(-1000, 1000, (9, 8, 11)).astype(np.int16)
    native, working = (1.0, 0.8, 2.5), (1.5, 1.5, 1.5)
    maps = tuple(whole(n, s, w) for n, s, w in zip(hu.shape, native, working, strict=True))
    expected = apply_maps(torch.from_numpy(hu), maps)
    monkeypatch.setattr("model.resample._SLAB_VOXELS", 3 * 72)

    result = to_working(hu, native, working, device=torch.device("cpu"))

    assert tuple(result.shape) == working_shape(hu.shape, native, working)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-2)


def test_to_working_on_the_same_grid_changes_nothing():
    hu = np.random.default_rng(1).integers(-1000, 1000, (5, 4, 3)).astype(np.int16)

    result = to_working(hu, (1.0, 2.0, 3.0), (1.0, 2.0, 3.0), device=torch.device("cpu"))

    np.testing.assert_array_equal(result.numpy(), hu.astype(np.float32))


def test_grids_stay_aligned_at_the_outer_edge():
    """The centre of mass in mm of a blob does not move when it goes to the working grid."""
    hu = np.zeros((40, 40, 20), np.int16)
    hu[10:20, 16:30, 6:12] = 1000
    working = to_working(hu, (1.0, 1.0, 2.0), (1.7, 1.3, 1.1), device=torch.device("cpu")).numpy()

    for axis, (size, expected_mm) in enumerate(
        zip((1.7, 1.3, 1.1), (15.0, 23.0, 18.0), strict=True)
    ):
        profile = working.sum(axis=tuple(a for a in range(3) if a != axis))
        centre_mm = np.average((np.arange(len(profile)) + 0.5) * size, weights=profile)
        assert centre_mm == pytest.approx(expected_mm, abs=0.1)


def test_identity_maps_are_not_multiplied():
    volume = torch.ones((2, 2, 2))
    wrong = torch.full((2, 2), torch.nan)

    result = apply_maps(volume, tuple(AxisMap(wrong, 0, identity=True) for _ in range(3)))

    assert torch.equal(result, volume)
