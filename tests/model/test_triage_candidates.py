import numpy as np
import pytest

from model.grid import Box
from model.triage_candidates import CandidateLimits, ConsensusCrop, triage_candidates

SHAPE = (30, 10, 8)
BOX = Box((100, 20, 10), (130, 30, 18))
LIMITS = CandidateLimits(low_probability=0.1, least_mm3=40.0, most=9)


def crop(*bars, dropped=(), host=None):
    """Bars of 4 x 4 voxels of a level; those that start at ``dropped`` were taken away."""
    levels = np.zeros(SHAPE, np.uint8)
    kept = np.zeros(SHAPE, bool)
    for start, stop, level in bars:
        levels[start:stop, 2:6, 2:6] = level
        if start not in dropped:
            kept[start:stop, 2:6, 2:6] = level > 127
    return ConsensusCrop(box=BOX, levels=levels, raw=levels > 127, kept=kept, host=host)


def listed(found):
    return [(one.in_mask, round(255 * one.candidate.peak)) for one in found.listed]


def test_what_is_in_the_mask_what_was_taken_and_what_is_faint_are_listed():
    consensus = crop((0, 4, 200), (6, 9, 150), (12, 16, 230), (20, 24, 90), dropped=(6, 12))

    found = triage_candidates(consensus, (1.0, 1.0, 1.0), LIMITS)

    assert listed(found) == [(True, 200), (False, 230), (False, 150), (False, 90)]
    assert found.left_out == 0


def test_each_says_where_it_is_and_how_much_of_it_is_in_its_organ():
    host = np.zeros(SHAPE, bool)
    host[:2] = True

    found = triage_candidates(crop((0, 4, 200), host=host), (1.0, 2.0, 3.0), LIMITS)

    (one,) = found.listed
    assert one.candidate.volume_mm3 == 64 * 6.0
    assert one.candidate.host_share == 0.5
    # The middle of voxels 0 to 3 and 2 to 5 is 1.5 and 3.5; halves go to the even number.
    assert one.candidate.centre == (102, 24, 14)


def test_the_faint_rim_of_a_lesion_is_no_candidate_of_its_own():
    found = triage_candidates(crop((0, 4, 60), (4, 8, 200)), (1.0, 1.0, 1.0), LIMITS)

    assert listed(found) == [(True, 200)]
    assert found.listed[0].candidate.voxels == 64


def test_small_faint_places_are_nothing_and_small_dropped_ones_are_listed():
    consensus = crop((0, 2, 90), (5, 6, 200), (10, 13, 90), dropped=(5,))

    assert listed(triage_candidates(consensus, (1.0, 1.0, 1.0), LIMITS)) == [
        (False, 200),
        (False, 90),
    ]


def test_only_the_highest_peaks_outside_of_the_mask_are_listed():
    consensus = crop((0, 4, 140), (6, 10, 50), (12, 16, 70), (18, 22, 60))
    limits = CandidateLimits(low_probability=0.1, least_mm3=0.0, most=2)

    found = triage_candidates(consensus, (1.0, 1.0, 1.0), limits)

    assert listed(found) == [(True, 140), (False, 70), (False, 60)]
    assert found.left_out == 1


def test_without_the_organ_there_is_no_share():
    (one,) = triage_candidates(crop((0, 4, 200)), (1.0, 1.0, 1.0), LIMITS).listed

    assert one.candidate.host_share is None
    assert one.candidate.diameter_mm == pytest.approx((6 * 64 / np.pi) ** (1 / 3))
