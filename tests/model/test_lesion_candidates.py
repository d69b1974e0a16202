import math

import numpy as np
import pytest
from scipy import ndimage

from model.grid import Box
from model.lesion_candidates import lesion_candidates, level_of, touching


def levels_with(*blocks, shape=(12, 12, 12)):
    levels = np.zeros(shape, np.uint8)
    for place, level in blocks:
        levels[place] = level
    return levels


def test_a_candidate_says_what_its_component_is_like():
    levels = levels_with(((slice(1, 3), slice(1, 3), slice(1, 3)), 100), ((slice(2, 3), 2, 2), 204))
    host = np.zeros(levels.shape, bool)
    host[1:2] = True

    found = lesion_candidates(levels, (1.0, 2.0, 3.0), origin=(10, 20, 30), host=host)

    (candidate,) = found.candidates
    assert candidate.peak == pytest.approx(0.8)
    assert candidate.box == Box((11, 21, 31), (13, 23, 33))
    assert (candidate.voxels, candidate.volume_mm3) == (8, 48.0)
    assert math.pi / 6 * candidate.diameter_mm**3 == pytest.approx(48.0)
    assert candidate.host_share == 0.5


def test_corners_join_and_low_voxels_do_not():
    levels = levels_with(((0, 0, 0), 26), ((1, 1, 1), 255), ((5, 5, 5), 25), ((8, 8, 8), 90))

    found = lesion_candidates(levels, (1.0, 1.0, 1.0), low_probability=0.1)

    assert [(one.voxels, one.peak) for one in found.candidates] == [(2, 1.0), (1, 90 / 255)]
    assert found.candidates[0].host_share is None


def test_candidates_equal_scipys_components():
    rng = np.random.default_rng(4)
    levels = (ndimage.gaussian_filter(rng.random((30, 20, 10)), 1.5) > 0.53).astype(np.uint8)
    levels *= rng.integers(30, 256, levels.shape).astype(np.uint8)

    found = lesion_candidates(levels, (1.0, 1.0, 1.0))

    labels, count = ndimage.label(levels > 25, np.ones((3, 3, 3)))
    peaks = ndimage.maximum(levels, labels, range(1, count + 1)) / 255
    sizes = np.bincount(labels.ravel())[1:]
    assert {(one.voxels, round(one.peak, 9)) for one in found.candidates} == {
        (int(size), round(float(peak), 9)) for size, peak in zip(sizes, peaks, strict=True)
    }
    assert len(found.candidates) == count
    assert count > 3


def test_nothing_above_the_low_probability_gives_no_candidate():
    assert lesion_candidates(np.full((4, 4, 4), 25, np.uint8), (1.0, 1.0, 1.0)).candidates == ()
    assert lesion_candidates(np.zeros((0, 0, 0), np.uint8), (1.0, 1.0, 1.0)).candidates == ()


def test_what_does_not_fit_is_refused():
    levels = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="low_probability"):
        lesion_candidates(levels, (1.0, 1.0, 1.0), low_probability=1.0)
    with pytest.raises(ValueError, match="share one shape"):
        lesion_candidates(levels, (1.0, 1.0, 1.0), host=np.zeros((3, 2, 2), bool))


def test_touching_pairs_share_a_voxel():
    one, other = np.zeros((2, 4, 4, 4), np.uint8)
    one[0], one[3] = 1, 2
    other[:1, 0], other[:1, 3] = 5, 6

    assert touching(one, other) == {(1, 5), (1, 6)}


def test_a_level_is_the_highest_that_is_not_above_the_probability():
    assert [level_of(p) for p in (0.0, 0.1, 0.5, 0.2)] == [0, 25, 127, 51]
