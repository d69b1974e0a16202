import math

import numpy as np
import pytest

from model.scores import (
    border_band,
    claimed_share,
    committee_dice,
    dice_between,
    dice_of_counts,
    entropy_bits,
    entropy_map,
    foreground_entropy,
    least_dice,
    level_counts,
    mean_deviation,
    mean_entropy,
    member_dice,
    self_consistency,
    worst_region_entropy,
)


def levels(*values):
    return np.array(values, np.uint8).reshape(-1, 1, 1)


def binary_entropy(p):
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def test_entropy_is_one_bit_at_a_half_and_zero_when_certain():
    np.testing.assert_allclose(
        entropy_bits(np.array([0.0, 0.25, 0.5, 1.0])), [0.0, 0.8112781244591328, 1.0, 0.0]
    )


def test_entropy_map_has_the_scale_255_per_bit():
    assert entropy_map(levels(0, 51, 255)).ravel().tolist() == [
        0,
        round(255 * binary_entropy(0.2)),
        0,
    ]


def test_mean_entropy_looks_only_inside_the_mask():
    where = np.array([True, True, False]).reshape(-1, 1, 1)

    assert mean_entropy(levels(51, 255, 128), where) == pytest.approx(binary_entropy(0.2) / 2)


def test_mean_entropy_of_an_empty_mask_is_none():
    assert mean_entropy(levels(128), np.zeros((1, 1, 1), bool)) is None


def test_self_consistency_by_hand():
    # p = 1, 0.8, 0.4, 0; a = 1, 1, 0, 0: 2 * 1.8 / (2.2 + 2).
    assert self_consistency(level_counts(levels(255, 204, 102, 0))) == pytest.approx(3.6 / 4.2)


def test_self_consistency_counts_exactly_127_as_background():
    assert self_consistency(level_counts(levels(127, 127))) is None
    assert self_consistency(level_counts(levels(255, 255))) == 1.0


def test_counting_in_chunks_equals_counting_at_once(monkeypatch):
    values = np.random.default_rng(0).integers(0, 256, (37, 5, 4)).astype(np.uint8)
    where = values % 3 == 0
    expected = float(entropy_bits(values[where] / 255.0).mean())
    monkeypatch.setattr("model.scores._CHUNK_VOXELS", 41)

    assert mean_entropy(values, where) == pytest.approx(expected)
    np.testing.assert_array_equal(level_counts(values), np.bincount(values.ravel(), minlength=256))


def test_entropy_of_the_foreground_is_that_inside_the_mask():
    values = np.random.default_rng(1).integers(0, 256, (9, 5, 4)).astype(np.uint8)

    assert foreground_entropy(level_counts(values)) == pytest.approx(
        float(entropy_bits(values[values > 127] / 255.0).mean())
    )
    assert foreground_entropy(level_counts(levels(127, 0))) is None


def naive_band(mask, spacing_mm, band_mm):
    """A voxel is in the band when its box holds foreground and background of the array."""
    radii = [max(1, int(band_mm / size)) for size in spacing_mm]
    band = np.zeros_like(mask)
    for index in np.ndindex(mask.shape):
        box = tuple(slice(max(0, i - r), i + r + 1) for i, r in zip(index, radii, strict=True))
        band[index] = mask[box].any() and not mask[box].all()
    return band


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.9, 5.0), (2.0, 0.5, 3.0)])
def test_border_band_equals_a_naive_loop(spacing):
    generator = np.random.default_rng(2)
    mask = np.zeros((14, 12, 9), bool)
    mask[4:12, 3:, 2:7] = True
    mask ^= generator.random(mask.shape) > 0.99

    np.testing.assert_array_equal(border_band(mask, spacing, 3.0), naive_band(mask, spacing, 3.0))


def test_a_mask_that_fills_the_array_has_no_border():
    assert not border_band(np.ones((4, 4, 4), bool), (1.0, 1.0, 1.0), 2.0).any()


def test_dice_of_counts_defines_empty_masks():
    assert dice_of_counts(0, 0, 0) == 1.0
    assert dice_of_counts(0, 5, 0) == 0.0
    assert dice_of_counts(2, 3, 5) == 0.5


def masks(**rows):
    return {name: np.array(row, bool).reshape(-1, 1, 1) for name, row in rows.items()}


def test_families_count_alike_whatever_their_size():
    pairs = dice_between(masks(a=[1, 1, 0, 0], b=[1, 1, 0, 0], c=[1, 0, 0, 0], d=[0, 0, 1, 1]))
    families = {"a": "f", "b": "f", "c": "f", "d": "g"}

    assert pairs["a", "b"] == 1.0
    assert pairs["a", "c"] == pytest.approx(2 / 3)
    assert committee_dice(pairs, families) == 0.0
    assert member_dice(pairs, "a") == pytest.approx((1 + 2 / 3 + 0) / 3)


def test_committee_dice_averages_within_a_pair_of_families_first():
    pairs = {("a", "b"): 0.9, ("a", "c"): 0.2, ("b", "c"): 0.6, ("a", "d"): 1.0, ("b", "d"): 1.0}
    pairs["c", "d"] = 0.4
    families = {"a": "f", "b": "f", "c": "g", "d": "h"}

    # f-g: (0.2 + 0.6) / 2 = 0.4; f-h: 1.0; g-h: 0.4.
    assert committee_dice(pairs, families) == pytest.approx((0.4 + 1.0 + 0.4) / 3)


def test_one_family_is_compared_inside():
    assert committee_dice({("a", "b"): 0.7}, {"a": "f", "b": "f"}) == 0.7


def test_one_member_has_nobody_to_agree_with():
    assert committee_dice({}, {"a": "f"}) is None
    assert member_dice({}, "a") is None


def test_mean_deviation_undoes_the_scale():
    where = np.array([True, True, False]).reshape(-1, 1, 1)

    assert mean_deviation(levels(255, 0, 255), where) == pytest.approx(0.25)
    assert mean_deviation(levels(255), np.zeros((1, 1, 1), bool)) is None


def test_claimed_share_counts_a_voxel_once():
    own, left, right = (
        np.packbits(np.array(row, bool))
        for row in ([1, 1, 1, 1, 0], [1, 1, 0, 0, 1], [0, 1, 0, 0, 0])
    )

    assert claimed_share(own, [left, right]) == 0.5
    assert claimed_share(own, []) == 0.0
    assert claimed_share(np.zeros_like(own), [left]) is None


def naive_worst(uncertainty, sides):
    windows = np.lib.stride_tricks.sliding_window_view(uncertainty / 255.0, sides)
    return float(windows.mean(axis=(3, 4, 5)).max())


@pytest.mark.parametrize(
    ("spacing_mm", "sides"), [((2.0, 3.0, 5.0), (5, 3, 2)), ((2.0, 2.0, 40.0), (5, 5, 1))]
)
def test_the_worst_region_is_the_highest_mean_over_a_cube(spacing_mm, sides):
    uncertainty = np.random.default_rng(3).integers(0, 256, (11, 9, 7)).astype(np.uint8)

    assert worst_region_entropy(uncertainty, spacing_mm, 10.0) == pytest.approx(
        naive_worst(uncertainty, sides)
    )


def test_fine_voxels_are_sampled_for_the_worst_region():
    uncertainty = np.random.default_rng(4).integers(0, 256, (20, 20, 9)).astype(np.uint8)

    assert worst_region_entropy(uncertainty, (0.7, 0.7, 2.0), 7.0) == pytest.approx(
        naive_worst(uncertainty[::2, ::2], (5, 5, 4))
    )


def test_a_box_smaller_than_the_cube_counts_as_a_whole():
    uncertainty = np.full((2, 3, 4), 51, np.uint8)

    assert worst_region_entropy(uncertainty, (2.0, 2.0, 2.0), 100.0) == pytest.approx(0.2)


def test_the_lowest_pair_of_all_and_of_a_member():
    pairs = {("a", "b"): 0.9, ("a", "c"): 0.5, ("b", "c"): 0.6}

    assert (least_dice(pairs), least_dice(pairs, "b"), least_dice({})) == (0.5, 0.6, None)
