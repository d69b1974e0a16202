import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from model.grid import Box, Grid
from model.native_maps import Vote, consensus_levels, foreground_box, native_maps
from model.temperature import level_table, scaled_levels
from model.working_levels import STEPS

CPU = torch.device("cpu")


def vote(levels, *, member="a", family="f", spacing_mm=(1.0, 1.0, 1.0), temperature=1.0):
    """A vote of levels from 0 to 255, which may lie between whole ones."""
    working = np.rint(STEPS * np.asarray(levels, float)).astype(np.int16)
    return Vote(member, family, spacing_mm, working, temperature)


def box_of(shape):
    return Box((0, 0, 0), shape)


def blob(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape)


def test_interpolation_equals_scipy_linear_with_a_repeated_edge():
    levels = blob((7, 6, 5))
    spacing, native_mm, shape = (2.0, 1.5, 3.0), (0.9, 1.1, 1.3), (15, 8, 11)
    grids = np.meshgrid(
        *(
            (np.arange(n) + 0.5) * s / w - 0.5
            for n, s, w in zip(shape, native_mm, spacing, strict=True)
        ),
        indexing="ij",
    )
    expected = map_coordinates(levels.astype(float), grids, order=1, mode="nearest")

    maps = native_maps([vote(levels, spacing_mm=spacing)], box_of(shape), native_mm, device=CPU)

    assert np.abs(maps.members["a"] - expected).max() <= 0.51
    np.testing.assert_array_equal(maps.members["a"] > 127, expected > 127.5)


def test_a_box_equals_the_same_part_of_the_whole(monkeypatch):
    votes = [vote(blob((8, 8, 8)), spacing_mm=(1.5, 1.5, 1.5))]
    whole = native_maps(votes, box_of((12, 12, 12)), (1.0, 1.0, 1.0), device=CPU)
    monkeypatch.setattr("model.native_maps.SLAB_VOXELS", 40)
    box = Box((2, 3, 1), (9, 7, 12))

    part = native_maps(votes, box, (1.0, 1.0, 1.0), device=CPU)

    np.testing.assert_array_equal(part.members["a"], whole.members["a"][box.slices])
    np.testing.assert_array_equal(part.mean, whole.mean[box.slices])


def test_mean_is_over_families_and_deviation_over_members():
    votes = [
        vote(np.full((2, 2, 2), 255), member="a", family="f"),
        vote(np.full((2, 2, 2), 255), member="b", family="f"),
        vote(np.full((2, 2, 2), 51), member="c", family="g"),
    ]

    maps = native_maps(votes, box_of((2, 2, 2)), (1.0, 1.0, 1.0), device=CPU)

    assert set(maps.mean.ravel().tolist()) == {153}  # (1 + 0.2) / 2 = 0.6
    # Population deviation of 1, 1, 0.2 is 0.37712; times 510 is 192.3.
    assert set(maps.deviation.ravel().tolist()) == {192}
    np.testing.assert_array_equal(
        consensus_levels(votes, box_of((2, 2, 2)), (1.0, 1.0, 1.0), device=CPU), maps.mean
    )


def test_a_tie_between_two_members_is_background_and_the_largest_deviation_is_255():
    votes = [
        vote(np.zeros((1, 1, 1)), member="a", family="f"),
        vote(np.full((1, 1, 1), 255), member="b", family="g"),
    ]

    maps = native_maps(votes, box_of((1, 1, 1)), (1.0, 1.0, 1.0), device=CPU)

    assert maps.mean.item() == 127
    assert maps.deviation.item() == 255


def test_box_holds_every_foreground_voxel_on_any_pair_of_grids():
    generator = np.random.default_rng(3)
    for _ in range(30):
        native_mm = tuple(generator.uniform(0.5, 5, 3))
        working_mm = tuple(generator.uniform(0.5, 5, 3))
        shape = tuple(int(n) for n in generator.integers(4, 25, 3))
        working = tuple(
            max(1, round(n * s / w)) for n, s, w in zip(shape, native_mm, working_mm, strict=True)
        )
        levels = np.where(generator.random(working) > 0.97, 255, 0)
        levels.flat[generator.integers(levels.size)] = 255
        one = vote(levels, spacing_mm=working_mm)
        whole = native_maps([one], box_of(shape), native_mm, device=CPU).members["a"] > 127

        box = foreground_box([one], Grid(shape, native_mm), 0.0)

        assert whole[box.slices].sum() == whole.sum()
        assert all(0 <= a < b <= n for a, b, n in zip(box.start, box.stop, shape, strict=True))


def test_margin_widens_the_box_in_mm():
    levels = np.zeros((40, 40, 40))
    levels[20, 20, 20] = 255
    grid = Grid((40, 40, 40), (1.0, 1.0, 1.0))

    tight, wide = (foreground_box([vote(levels)], grid, margin) for margin in (0.0, 5.0))

    assert wide.start == tuple(s - 5 for s in tight.start)
    assert wide.stop == tuple(s + 5 for s in tight.stop)


def test_no_foreground_gives_no_box():
    levels = np.full((3, 3, 3), 127)

    assert foreground_box([vote(levels)], Grid((3, 3, 3), (1.0, 1.0, 1.0)), 3.0) is None


def test_voxel_volume():
    assert Grid((1, 1, 1), (2.0, 2.5, 4.0)).voxel_ml == pytest.approx(0.02)


def test_what_a_byte_would_round_away_decides_a_mask():
    """Between 127.3 and 127.9 the middle is above 127.5; bytes of both would be 127 and 128."""
    levels = np.array([127.3, 127.9]).reshape(2, 1, 1)

    maps = native_maps([vote(levels)], box_of((4, 1, 1)), (0.5, 1.0, 1.0), device=CPU)

    # Centres at a quarter and three quarters: 127.45 and 127.75.
    assert maps.members["a"].ravel().tolist() == [127, 127, 128, 128]
    levels[1] = 127.6
    maps = native_maps([vote(levels)], box_of((4, 1, 1)), (0.5, 1.0, 1.0), device=CPU)
    assert maps.members["a"].ravel().tolist() == [127, 127, 128, 128]
    levels[0] = 126.0
    maps = native_maps([vote(levels)], box_of((4, 1, 1)), (0.5, 1.0, 1.0), device=CPU)
    assert maps.members["a"].ravel().tolist() == [126, 126, 127, 128]


def test_deviation_of_three_members_equals_numpys_on_any_grid():
    values = [blob((6, 5, 4), seed) for seed in range(3)]
    votes = [vote(one, member=str(n), family=str(n)) for n, one in enumerate(values)]

    maps = native_maps(votes, box_of((6, 5, 4)), (1.0, 1.0, 1.0), device=CPU)

    np.testing.assert_array_equal(maps.deviation, np.rint(2 * np.std(values, axis=0)))
    assert np.abs(maps.mean - np.mean(values, axis=0)).max() <= 0.5 + 1e-3


def test_one_member_is_the_consensus_and_deviates_from_nobody():
    maps = native_maps([vote(blob((4, 4, 4)))], box_of((4, 4, 4)), (1.0, 1.0, 1.0), device=CPU)

    assert maps.mean is maps.members["a"]
    assert maps.deviation is None


def test_a_temperature_leaves_a_members_mask_and_moves_the_mean():
    votes = [
        vote(np.full((1, 1, 1), 230), member="sure", family="f", temperature=3.0),
        vote(np.full((1, 1, 1), 51), member="unsure", family="g"),
    ]

    maps = native_maps(votes, box_of((1, 1, 1)), (1.0, 1.0, 1.0), device=CPU)

    # sigmoid(logit(230 / 255) / 3) = 0.67709, times 255 is 172.66.
    assert maps.members["sure"].item() == 173
    assert maps.members["unsure"].item() == 51
    assert maps.mean.item() == 112  # (172.66 + 51) / 2; 140.5 without the temperature
    assert maps.deviation.item() == 122  # 2 * (172.66 - 51) / 2


@pytest.mark.parametrize("temperature", [0.05, 0.6, 3.0, 20.0])
def test_calibrated_maps_are_what_a_validation_scales(temperature):
    levels = np.arange(256).reshape(16, 4, 4)
    plain, scaled = (
        native_maps(
            [vote(levels, temperature=one)], box_of((16, 4, 4)), (1.0, 1.0, 1.0), device=CPU
        ).members["a"]
        for one in (1.0, temperature)
    )

    np.testing.assert_array_equal(plain, levels)
    np.testing.assert_array_equal(scaled, scaled_levels(plain, temperature))
    np.testing.assert_array_equal(scaled > 127, plain > 127)


def test_a_calibrated_level_is_looked_for_where_the_network_is_above_another():
    levels = np.zeros((9, 9, 9))
    levels[4, 4, 4] = 10
    grid, found = Grid((9, 9, 9), (1.0, 1.0, 1.0)), {}
    for temperature in (1.0, 2.0):
        one = vote(levels, temperature=temperature)
        found[temperature] = foreground_box([one], grid, 0.0, threshold=25)
        assert one.highest == pytest.approx(level_table(temperature)[10] / 255)

    # sigmoid(logit(10 / 255) / 2) = 0.16811, level 42.9.
    assert found[1.0] is None
    assert found[2.0] is not None
