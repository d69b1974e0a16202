import numpy as np
import pytest

from configs.errors import UsageError
from model.random_walk import RandomWalkRefiner
from model.refiner import Marks

SPACING = (1.0, 1.0, 2.0)


def phantom():
    """A ball of 120 HU in 40 HU, noisy; the mask lacks a side of it and leaks on the other."""
    rng = np.random.default_rng(3)
    i, j, k = np.meshgrid(*(np.arange(n) for n in (50, 50, 25)), indexing="ij")
    truth = (i - 25) ** 2 + (j - 25) ** 2 + (2 * k - 25) ** 2 < 15**2
    hu = (np.where(truth, 120, 40) + rng.normal(0, 10, truth.shape)).astype(np.int16)
    lacking = truth & (i < 32)
    leaking = truth | ((i < 14) & (np.abs(j - 25) < 8) & (np.abs(2 * k - 25) < 8) & (i > 3))
    return hu, truth, lacking, leaking


def marks(hu, mask, scribbles):
    return Marks(hu=hu, mask=mask, scribbles=scribbles, spacing_mm=SPACING, structure="liver")


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (one.sum() + other.sum())


@pytest.mark.parametrize(("most_voxels", "share"), [(400_000, 0.5), (8_000, 0.3)])
def test_a_click_brings_back_what_is_missing(most_voxels, share):
    hu, truth, lacking, _ = phantom()
    scribbles = np.zeros(hu.shape, np.uint8)
    scribbles[36, 25, 12] = 1

    result = RandomWalkRefiner(reach_mm=20, most_voxels=most_voxels).refine(
        marks(hu, lacking, scribbles)
    )

    before = dice(lacking, truth)
    assert dice(result, truth) > before + share * (1 - before)
    assert (result & ~truth).sum() < 0.06 * truth.sum()


def test_a_scribble_outside_takes_a_leak_away():
    hu, truth, _, leaking = phantom()
    scribbles = np.zeros(hu.shape, np.uint8)
    scribbles[4:9, 25, 12] = 2

    result = RandomWalkRefiner(reach_mm=12).refine(marks(hu, leaking, scribbles))

    assert not result[4:9, 25, 12].any()
    assert dice(result, truth) > dice(leaking, truth) + 0.03


def test_only_what_lies_within_reach_changes_and_scribbles_hold():
    hu, _, lacking, _ = phantom()
    scribbles = np.zeros(hu.shape, np.uint8)
    scribbles[34, 25, 12], scribbles[36, 25, 12] = 1, 2

    result = RandomWalkRefiner(reach_mm=5).refine(marks(hu, lacking, scribbles))

    i, j, k = np.nonzero(result != lacking)
    assert len(i) > 5
    squared = (i - 34) ** 2 + (j - 25) ** 2 + (2 * (k - 12)) ** 2
    assert squared.max() <= 25
    assert result[34, 25, 12]
    assert not result[36, 25, 12]


def test_a_scribble_that_agrees_with_the_mask_changes_nothing():
    hu, _, lacking, _ = phantom()
    scribbles = np.zeros(hu.shape, np.uint8)
    scribbles[25, 25, 12], scribbles[2, 2, 2] = 1, 2

    result = RandomWalkRefiner().refine(marks(hu, lacking, scribbles))

    np.testing.assert_array_equal(result, lacking)


def test_a_first_click_on_nothing_starts_a_mask():
    hu, truth, _, _ = phantom()
    scribbles = np.zeros(hu.shape, np.uint8)
    scribbles[25, 25, 12] = 1

    result = RandomWalkRefiner().refine(marks(hu, np.zeros_like(truth), scribbles))

    assert result[25, 25, 12]
    assert (result & ~truth).sum() <= 0.1 * result.sum()


def test_marks_must_fit_and_say_something():
    hu, _, mask, _ = phantom()
    scribbles = np.zeros(hu.shape, np.uint8)
    with pytest.raises(UsageError, match="needs a click"):
        marks(hu, mask, scribbles)
    scribbles[0, 0, 0] = 3
    with pytest.raises(UsageError, match="0, 1 and 2"):
        marks(hu, mask, scribbles)
    with pytest.raises(UsageError, match="share one shape"):
        marks(hu, mask, scribbles[1:])


def test_a_scribble_reaches_half_its_length_and_a_click_5_mm():
    hu, _, lacking, _ = phantom()
    click, scribble = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.uint8)
    click[36, 25, 12] = 1
    scribble[36, 15:36, 12] = 1

    near, far = (
        np.argwhere(RandomWalkRefiner().refine(marks(hu, lacking, drawn)) & ~lacking)
        for drawn in (click, scribble)
    )

    squared = ((near - (36, 25, 12)) ** 2 * np.square(SPACING)).sum(axis=1)
    assert squared.max() <= 25
    assert len(far) > 5 * len(near)
    assert (far[:, 0] - 36).max() <= 10


def test_what_looks_otherwise_than_the_scribble_is_left_alone():
    hu, truth, _, _ = phantom()
    scribbles = np.zeros(hu.shape, np.uint8)
    scribbles[36, 25, 12] = 1
    hu[38:, :, :] = 400

    result = RandomWalkRefiner(reach_mm=12).refine(marks(hu, np.zeros_like(truth), scribbles))

    assert result[36, 25, 12]
    assert not result[38:].any()
