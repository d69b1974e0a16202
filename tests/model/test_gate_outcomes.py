from __future__ import annotations

import numpy as np
import pytest

from model.gate_outcomes import count_lesions, outcomes
from model.grid import Box

REFERENCE = np.zeros((6, 4, 4), bool)
REFERENCE[:2, :2, :2] = True
REFERENCE[4:, :2, :2] = True
WHERE = Box((10, 10, 10), (16, 14, 14))


def test_dice_of_crops_equals_dice_of_full_volumes() -> None:
    rng = np.random.default_rng(0)
    consensus = rng.random((5, 6, 4)) > 0.5
    box = Box((8, 9, 11), (13, 15, 15))
    full_consensus, full_reference = np.zeros((2, 20, 20, 20), bool)
    full_consensus[box.slices] = consensus
    full_reference[WHERE.slices] = REFERENCE

    found = outcomes(consensus, box, REFERENCE, WHERE, lesion=False)

    total = full_consensus.sum() + full_reference.sum()
    assert found.dsc == pytest.approx(2 * (full_consensus & full_reference).sum() / total)


def test_two_lesions_of_which_one_is_touched() -> None:
    consensus = np.ones((1, 1, 1), bool)

    found = outcomes(consensus, Box((10, 10, 10), (11, 11, 11)), REFERENCE, WHERE, lesion=True)

    assert count_lesions(REFERENCE) == 2
    assert found.lesions_found == 1


def test_a_missed_structure_has_no_overlap() -> None:
    assert outcomes(None, None, REFERENCE, WHERE, lesion=False).dsc == 0.0


def test_a_mask_far_away_has_no_overlap() -> None:
    far = Box((0, 0, 0), (2, 2, 2))

    assert outcomes(np.ones((2, 2, 2), bool), far, REFERENCE, WHERE, lesion=True).dsc == 0.0


@pytest.mark.parametrize("drawn", [True, False])
def test_an_absent_structure_is_a_false_positive_or_none(drawn: bool) -> None:
    consensus = np.full((2, 2, 2), drawn)

    found = outcomes(consensus, Box((0, 0, 0), (2, 2, 2)), None, None, lesion=False)

    assert (found.dsc, found.false_positive) == (None, drawn)
