import itertools

import numpy as np
import pytest

from model.triage.estimates import Estimates
from model.triage.gain import by_rate, expected_gain, running_minutes, take_turns
from model.triage.score_table import score_table


def table(*, case, structure, volume_ml):
    return score_table(
        case_ids=[f"c-{n}" for n in range(max(case) + 1)],
        structures=["liver", "pancreas"],
        case=np.array(case),
        patient=np.array(case),
        structure=np.array(structure),
        scores={"volume_ml": np.array(volume_ml, float)},
    )


def estimates(*, dsc, presence, edit_chance, minutes=None, opening_minutes=0.5):
    n = len(dsc)
    nothing = np.full(n, np.nan)
    return Estimates(
        dsc=np.array(dsc, float),
        low=nothing,
        high=nothing,
        presence=np.array(presence, float),
        edit_chance=np.array(edit_chance, float),
        minutes=np.ones(n) if minutes is None else np.array(minutes, float),
        opening_minutes=opening_minutes,
        basis="uncalibrated",
        words="",
    )


def test_gain_is_what_lacks_to_the_ceiling_or_the_whole_of_it():
    labels = table(case=[0, 1, 2], structure=[0, 1, 0], volume_ml=[900, 30, 0])
    expected = estimates(
        dsc=[0.7, 0.9, np.nan], presence=[0.8, 1.0, 0.25], edit_chance=[0.5, 1.0, 1.0]
    )

    gain = expected_gain(
        labels, expected, weights=np.array([2.0, 1.0]), ceilings=np.array([0.9, 0.8])
    )

    # A mask: there, it lacks 0.2; not there, all 0.9 are gained by taking it away.
    assert gain[0] == pytest.approx(2 * (0.8 * 0.2 * 0.5 + 0.2 * 0.9))
    # Better than two readers agree: nothing to gain.
    assert gain[1] == 0
    # No mask: the ceiling if it is there after all.
    assert gain[2] == pytest.approx(2 * 0.25 * 0.9)


def test_opening_a_ct_is_paid_once_so_its_labels_stay_together():
    gain = np.array([0.30, 0.29, 0.28])
    case = np.array([0, 1, 0])

    order, rates = by_rate(gain, np.ones(3), case, opening_minutes=2.0)

    # (0.30 + 0.28) / (2 + 2) beats 0.29 / (2 + 1); the rest of an open CT costs only its minutes.
    assert order.tolist() == [0, 2, 1]
    assert rates == pytest.approx([0.58 / 4, 0.29 / 3, 0.58 / 4])


def test_without_an_opening_cost_labels_come_by_gain_per_minute():
    gain, minutes = np.array([0.4, 0.3, 0.2]), np.array([4.0, 1.0, 1.0])

    order, _ = by_rate(gain, minutes, np.array([0, 0, 1]), opening_minutes=0.0)

    assert order.tolist() == [1, 2, 0]


@pytest.mark.parametrize("seed", range(6))
def test_no_other_order_gains_faster(seed):
    generator = np.random.default_rng(seed)
    gain, minutes = generator.random(6), 0.2 + generator.random(6)
    case = np.sort(generator.integers(0, 3, 6))

    order, _ = by_rate(gain, minutes, case, opening_minutes=0.7)

    best = min(
        cost(gain, minutes, case, np.array(other)) for other in itertools.permutations(range(6))
    )
    assert cost(gain, minutes, case, order) == pytest.approx(best)


def cost(gain, minutes, case, order):
    """Area over the curve of gain against minutes: each gain times when it comes."""
    return float(gain[order] @ running_minutes(order, minutes, case, opening_minutes=0.7))


def test_empty_queue_has_an_empty_order():
    order, rates = by_rate(np.zeros(0), np.zeros(0), np.zeros(0, np.int32), opening_minutes=1.0)

    assert len(order) == len(rates) == 0


def test_minutes_run_with_each_ct_opened_once():
    order = np.array([2, 0, 1])

    minutes = running_minutes(
        order, np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]), opening_minutes=10.0
    )

    assert minutes.tolist() == [14.0, 15.0, 27.0]


def test_groups_take_turns_in_their_own_order():
    groups = np.array([0, 0, 0, 1, 1, 2])

    assert take_turns(np.arange(6), groups).tolist() == [0, 3, 5, 1, 4, 2]
