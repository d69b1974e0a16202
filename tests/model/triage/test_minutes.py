import numpy as np
import pytest

from configs.triage_priors import load_triage_priors
from model.triage.minutes import LEAST_OPENINGS, change_size, fit_minutes

PRIOR = load_triage_priors().minutes
NAN = np.nan
NOBODY = np.zeros(0, bool)


def no_times(make_table):
    return fit_minutes(
        make_table(structures=("a", "b"), volume_ml=[]),
        np.zeros(0),
        np.zeros(0),
        opens=NOBODY,
        prior=PRIOR,
    )


def test_without_times_the_published_ones_hold(make_table):
    """A pancreas of 70 mL at a DSC of 0.85, from nothing, and a label that is right."""
    table = make_table(volume_ml=[70, 70, 70])
    model = no_times(make_table)

    minutes = model.predict(table, np.array([0.85, 0.0, 1.0]))

    assert minutes == pytest.approx([0.6, 3.37, 0.25], rel=0.15)
    assert model.opening_minutes == PRIOR.opening
    assert model.words.startswith("minutes are uncalibrated")


def test_what_is_not_known_counts_as_the_priors_change(make_table):
    table = make_table(volume_ml=[NAN, 0.0, 50.0])

    size = change_size(table, np.array([0.5, 0.5, NAN]), PRIOR)

    expected = np.log1p(PRIOR.unknown_changed_ml / PRIOR.reference_ml)
    assert size == pytest.approx([expected] * 3)


def timed(make_table, rows, *, pace, seed=0, structures=("a", "b")):
    """Labels of two structures whose readers need the prior's time, times their pace."""
    rng = np.random.default_rng(seed)
    structure = (np.arange(rows) % 2).astype(np.int32)
    volume, dsc = np.exp(rng.normal(4, 0.7, rows)), rng.uniform(0.5, 1, rows)
    table = make_table(structures=structures, structure=structure, volume_ml=volume)
    expected = PRIOR.look * np.exp(change_size(table, dsc, PRIOR))
    return table, dsc, expected * np.array(pace)[structure] * np.exp(rng.normal(0, 0.5, rows))


def test_the_pace_of_each_structure_is_learned(make_table):
    table, dsc, minutes = timed(make_table, 800, pace=(2.0, 0.5))
    model = fit_minutes(table, dsc, minutes, opens=np.zeros(800, bool), prior=PRIOR)

    predicted = model.predict(table, dsc)

    for code in (0, 1):
        own = table.structure == code
        assert predicted[own].mean() == pytest.approx(minutes[own].mean(), rel=0.1)


def test_few_times_move_the_prior_a_little(make_table):
    table, dsc, minutes = timed(make_table, 4, pace=(8.0, 8.0))
    model = fit_minutes(table, dsc, minutes, opens=np.zeros(4, bool), prior=PRIOR)

    ratio = model.predict(table, dsc) / no_times(make_table).predict(table, dsc)

    assert (ratio > 1.05).all()
    assert (ratio < 4).all()


def test_a_reader_who_left_the_room_counts_little(make_table):
    table, dsc, minutes = timed(make_table, 400, pace=(1.0, 1.0))
    opens = np.zeros(400, bool)
    before = fit_minutes(table, dsc, minutes, opens=opens, prior=PRIOR).predict(table, dsc)
    minutes[:8] = 300.0

    after = fit_minutes(table, dsc, minutes, opens=opens, prior=PRIOR).predict(table, dsc)

    assert after == pytest.approx(before, rel=0.15)


def test_the_cost_of_opening_is_told_from_labels_that_come_first(make_table):
    table, dsc, minutes = timed(make_table, 600, pace=(1.0, 1.0))
    opens = np.arange(600) % 3 == 0
    later = fit_minutes(
        table.rows(~opens), dsc[~opens], minutes[~opens], opens=np.zeros(400, bool), prior=PRIOR
    )
    model = fit_minutes(table, dsc, minutes + 2.0 * opens, opens=opens, prior=PRIOR)

    assert model.opening_minutes == pytest.approx(2.0, abs=0.3)
    assert "opening a CT from recorded times" in model.words
    # What the opening took is not counted again in each label.
    assert model.predict(table, dsc).mean() == pytest.approx(
        later.predict(table, dsc).mean(), rel=0.15
    )


def test_too_few_first_labels_leave_the_opening_to_the_prior(make_table):
    table, dsc, minutes = timed(make_table, 100, pace=(1.0, 1.0))
    opens = np.arange(100) < LEAST_OPENINGS - 1

    model = fit_minutes(table, dsc, minutes + 5.0 * opens, opens=opens, prior=PRIOR)

    assert model.opening_minutes == PRIOR.opening


def test_times_of_nothing_and_unknown_ones_count_nothing(make_table):
    table = make_table(volume_ml=[70, 70, 70])
    model = fit_minutes(
        table, np.full(3, 0.9), np.array([0.0, NAN, -1.0]), opens=np.zeros(3, bool), prior=PRIOR
    )

    assert model.words.startswith("minutes are uncalibrated")
    assert model.common == 0.0
