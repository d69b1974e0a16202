import numpy as np
import pytest

from model.midline import Midline, body_midline
from model.side_split import SideFinding, labels_on, side_of, split_sides
from storage.image_faults import VolumeLimits
from storage.label_file import read_label_file
from storage.volume import Volume

MM = (4.0, 4.0, 5.0)
MIDDLE = Midline(47.5, 52.5)


def ball(shape, centre, radius):
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2


def masks(*balls, shape=(100, 40, 30)):
    """One mask a ball of (first index, radius)."""
    return [ball(shape, (place, 20, 15), radius) for place, radius in balls]


def test_each_organ_goes_to_its_side():
    left, right = masks((25, 8), (75, 8))

    split = split_sides(left | right, MIDDLE, MM)

    assert np.array_equal(split.left, left)
    assert np.array_equal(split.right, right)
    assert (split.findings, split.left_out) == ((), 0)


@pytest.mark.parametrize(("place", "side"), [(25, "left"), (75, "right")])
def test_one_kidney_leaves_the_other_side_empty(place, side):
    (kidney,) = masks((place, 8))

    split = split_sides(kidney, MIDDLE, MM)

    assert split.findings == (SideFinding.ONE_SIDE,)
    assert np.array_equal(getattr(split, side), kidney)
    assert not (split.left & split.right).any()
    assert side_of(kidney, MIDDLE) == side


def test_two_fragments_on_one_side_are_one_organ():
    upper, lower = ball((100, 40, 30), (25, 20, 8), 4), ball((100, 40, 30), (30, 20, 22), 4)

    split = split_sides(upper | lower, MIDDLE, MM)

    assert np.array_equal(split.left, upper | lower)
    assert not split.right.any()


def test_specks_stay_on_the_side_that_they_lie_on():
    left, right = masks((25, 8), (75, 8))
    mask = left | right
    mask[5, 5, 5] = mask[90, 5, 5] = True

    split = split_sides(mask, MIDDLE, MM)

    assert split.left[5, 5, 5]
    assert split.right[90, 5, 5]
    assert (split.findings, split.left_out) == ((), 0)


def test_specks_on_the_midline_are_in_neither_and_are_counted():
    left, right = masks((25, 8), (75, 8))
    mask = left | right
    mask[50, 5, 5:8] = True

    split = split_sides(mask, MIDDLE, MM)

    assert np.array_equal(split.left, left)
    assert np.array_equal(split.right, right)
    assert (split.findings, split.left_out) == ((SideFinding.SPECKS,), 3)


def test_organs_that_touch_are_parted_at_the_bridge():
    """Two balls of 12 voxels, from 16 to 40 and from 58 to 82, joined by a rod of 5 x 5 voxels."""
    left, right = masks((28, 12), (70, 12))
    bridge = np.zeros_like(left)
    bridge[28:71, 18:23, 13:18] = True
    mask = left | right | bridge

    split = split_sides(mask, MIDDLE, MM)

    assert split.findings == (SideFinding.FUSED,)
    assert np.array_equal(split.left | split.right, mask)
    assert not (split.left & split.right).any()
    assert split.left[left].all()
    assert split.right[right].all()
    # Halfway between the two, wherever the midline is.
    assert split.left[48, 20, 15]
    assert split.right[50, 20, 15]


def test_a_bar_across_the_midline_is_told_to_nobody():
    mask = np.zeros((100, 40, 30), bool)
    mask[20:80, 15:25, 10:20] = True

    split = split_sides(mask, MIDDLE, MM)

    assert split.findings == (SideFinding.UNSURE,)
    assert not split.is_sure
    assert not (split.left | split.right).any()
    assert split.left_out == mask.sum()
    assert side_of(mask, MIDDLE) is None


def test_an_organ_on_the_midline_is_told_to_nobody():
    split = split_sides(masks((50, 6))[0], Midline(40.0, 60.0), MM)

    assert not split.is_sure


def test_nothing_gives_nothing():
    split = split_sides(np.zeros((10, 10, 10), bool), Midline(4, 5), MM)

    assert not (split.left | split.right).any()
    assert split.findings == ()
    assert side_of(split.left, Midline(4, 5)) is None


def patient(*, centre, half=35):
    hu = np.full((100, 60, 12), -1000, np.int16)
    i, j = np.meshgrid(np.arange(100), np.arange(60), indexing="ij")
    hu[((i - centre) / half) ** 2 + ((j - 30) / 22) ** 2 <= 1] = 40
    return hu


def test_a_patient_beside_the_middle_of_the_image_is_split_by_the_body():
    """Both kidneys lie left of the image's middle at 49.5; the spine is at voxel 38."""
    hu = patient(centre=38.0)
    left, right = ball(hu.shape, (22, 25, 6), 4), ball(hu.shape, (48, 25, 6), 4)
    assert np.flatnonzero((left | right).any(axis=(1, 2))).max() < 53

    split = split_sides(left | right, body_midline(hu, MM), MM)

    assert np.array_equal(split.left, left)
    assert np.array_equal(split.right, right)


def test_half_a_body_gives_its_one_kidney_the_right_side():
    hu = patient(centre=42.0)[42:]
    kidney = ball(hu.shape, (24, 25, 6), 4)

    split = split_sides(kidney, body_midline(hu, MM), MM)

    assert np.array_equal(split.right, kidney)
    assert split.findings == (SideFinding.ONE_SIDE,)


def test_a_body_that_fills_the_image_is_not_guessed_at():
    hu = np.full((60, 60, 12), 40, np.int16)
    kidneys = ball(hu.shape, (20, 25, 6), 4) | ball(hu.shape, (40, 25, 6), 4)

    assert not split_sides(kidneys, body_midline(hu, MM), MM).is_sure


@pytest.mark.parametrize("cut", [(0, 122), (20, 122), (20, 100), (0, 95), (30, 122), (0, 60)])
def test_pairs_of_a_real_ct_are_parted_as_named_or_not_at_all(real_data, cut):
    """Kidneys, lungs and adrenals by a model that names their sides; narrow crops are unsure."""
    ct = Volume.open(real_data / "ct" / "example_ct" / "ct.nii.gz")
    labels = real_data / "ct" / "example_ct" / "totalseg_v2.nii.gz"
    kept = slice(*cut)
    named = read_label_file(labels, VolumeLimits(), allowed=range(256)).values_ras[kept]
    midline = body_midline(ct.read_ras()[kept], ct.grid.ras_spacing_mm)

    for left_values, right_values in (([3], [2]), ([10, 11], [12, 13, 14]), ([9], [8])):
        left, right = np.isin(named, left_values), np.isin(named, right_values)
        split = split_sides(left | right, midline, ct.grid.ras_spacing_mm)
        if split.is_sure or cut in [(0, 122), (20, 122), (20, 100)]:
            assert np.array_equal(split.left, left)
            assert np.array_equal(split.right, right)


def test_components_are_told_by_what_surely_lies_on_each_side():
    labels = np.zeros((10, 4, 1), np.uint16)
    labels[0:3, 0], labels[7:10, 1], labels[0:9, 2], labels[2:7, 3] = 1, 2, 3, 4
    counts = np.array([0, 3, 3, 9, 5])
    midline = Midline(3.0, 5.0)

    # 3 lies on both sides, 4 for less than a half on one.
    assert np.flatnonzero(labels_on("left", labels, counts, midline)).tolist() == [1]
    assert np.flatnonzero(labels_on("right", labels, counts, midline)).tolist() == [2]
