import numpy as np
import pytest

from model.triage.replay import (
    Curve,
    Expected,
    ReaderModel,
    Readings,
    TrueLabels,
    gap_closed,
    oracle_order,
    read,
    replay,
)

PERFECT = ReaderModel(dsc_sd=0, tolerance=0, overlooked=0, minutes_sigma=0, misspecified=0)


def expected(n, *, structure=None, case=None):
    return Expected(
        minutes=np.full(n, 2.0),
        opening_minutes=1.0,
        structure=np.zeros(n, np.int32) if structure is None else np.array(structure),
        case=np.arange(n) if case is None else np.array(case),
    )


def truth(dsc, *, is_there=True, ceiling=0.9):
    n = len(dsc)
    return TrueLabels(np.array(dsc, float), np.full(n, is_there), np.full(n, ceiling))


def drawn(labels, belief, reader=PERFECT, seed=0):
    return read(labels, belief, reader=reader, generator=np.random.default_rng(seed))


def test_a_perfect_reader_brings_each_label_to_the_ceiling_and_leaves_better_ones_alone():
    readings = drawn(truth([0.5, 0.95, 0.9]), expected(3))

    assert readings.gain == pytest.approx([0.4, 0, 0])
    assert readings.minutes == pytest.approx([2, 2, 2])


def test_a_mask_of_nothing_gains_the_ceiling_when_it_is_taken_away():
    readings = drawn(truth([0.0, 1.0], is_there=False), expected(2))

    assert readings.gain == pytest.approx([0.9, 0])


def test_an_imperfect_reader_overlooks_a_share_and_takes_other_times_by_structure():
    n = 20_000
    belief = expected(n, structure=np.arange(n) % 2, case=np.zeros(n, int))
    readings = drawn(truth([0.5] * n), belief, ReaderModel(overlooked=0.2), seed=3)

    assert np.mean(readings.gain == 0) == pytest.approx(0.2, abs=0.02)
    means = [readings.minutes[belief.structure == code].mean() / 2 for code in (0, 1)]
    assert means[0] != pytest.approx(means[1], rel=0.02)
    assert all(0.45 < mean < 1.55 for mean in means)


def test_a_curve_opens_each_ct_once():
    readings = Readings(
        gain=np.array([0.1, 0.2, 0.3]),
        minutes=np.array([1.0, 1.0, 1.0]),
        opening=np.array([10.0, 20.0]),
    )

    curve = replay(np.array([2, 0, 1]), readings, np.array([0, 1, 0]))

    assert curve.minutes.tolist() == [11, 12, 33]
    assert curve.gain == pytest.approx([0.3, 0.4, 0.6])


def test_area_is_the_mean_share_of_the_gain_over_the_minutes():
    # Nothing for a minute, half for a minute, and all at the end of the second one.
    curve = Curve(np.array([1.0, 2.0]), np.array([0.5, 1.0]))

    assert curve.area() == pytest.approx(0.25)
    assert curve.minutes_to(0.5) == 1
    assert curve.minutes_to(0.95) == 2


def test_without_any_gain_there_is_no_time_to_reach_it():
    curve = Curve(np.array([1.0]), np.array([0.0]))

    assert curve.area() == 0
    assert np.isnan(curve.minutes_to(0.95))


def test_the_oracle_is_no_worse_than_any_random_order():
    generator = np.random.default_rng(0)
    case = generator.integers(0, 5, 40)
    readings = Readings(generator.random(40), 0.5 + generator.random(40), np.full(5, 2.0))

    best = replay(oracle_order(readings, case), readings, case).area()

    others = [replay(generator.permutation(40), readings, case).area() for _ in range(50)]
    assert best > max(others)


def test_gap_closed_is_half_between_random_and_oracle():
    assert gap_closed(0.7, random=0.5, oracle=0.9) == pytest.approx(0.5)
    assert np.isnan(gap_closed(0.7, random=0.9, oracle=0.9))
