import numpy as np
import pytest

from model.triage.presence import LEAST_EACH, LEAST_PATIENTS, fallback_presence, fit_presence

NAN = np.nan


def seen(make_table, rng, rows, slope=4.0):
    """Labels that are there the more often, the higher the probability."""
    probability = rng.random(rows)
    there = rng.random(rows) < 1 / (1 + np.exp(-slope * (probability - 0.7)))
    table = make_table(max_probability=probability, volume_ml=np.where(probability > 0.5, 20.0, 0))
    return table, there.astype(float)


def test_the_fallback_is_what_is_known_of_the_label(make_table):
    table = make_table(
        max_probability=[0.4, NAN, NAN, NAN, NAN],
        seeing_members=[3, 1, NAN, NAN, 0],
        covering_members=[3, 2, NAN, NAN, 0],
        volume_ml=[9, 9, 9, NAN, 0],
    )

    assert fallback_presence(table) == pytest.approx([0.4, 0.5, 1.0, NAN, 0.0], nan_ok=True)


def test_presence_is_fitted_to_what_readers_saw(make_table):
    table, there = seen(make_table, np.random.default_rng(0), 600)
    new, truth = seen(make_table, np.random.default_rng(1), 3000)

    model = fit_presence(table, there)

    predicted = model.predict(new)
    assert "fitted to 600 read labels of 600 patients" in model.words
    assert np.square(predicted - truth).mean() < np.square(fallback_presence(new) - truth).mean()
    for low in (0.0, 0.25, 0.5, 0.75):
        band = (new["max_probability"] >= low) & (new["max_probability"] < low + 0.25)
        assert predicted[band].mean() == pytest.approx(truth[band].mean(), abs=0.08)


def test_a_higher_probability_never_makes_a_structure_less_likely(make_table):
    table, there = seen(make_table, np.random.default_rng(0), 100, slope=-3.0)

    predicted = fit_presence(table, there).predict(
        make_table(max_probability=np.linspace(0, 1, 20), volume_ml=np.full(20, 5.0))
    )

    assert (np.diff(predicted) >= -1e-12).all()


@pytest.mark.parametrize(("absent", "rows"), [(LEAST_EACH - 1, 200), (8, LEAST_PATIENTS - 1)])
def test_few_answers_of_a_kind_or_few_patients_give_the_fallback(make_table, absent, rows):
    table = make_table(max_probability=np.linspace(0, 1, rows))
    there = (np.arange(rows) >= absent).astype(float)

    model = fit_presence(table, there)

    assert f"missed {absent} in {rows} patients" in model.words
    assert "uncalibrated" in model.words
    assert (model.predict(table) == table["max_probability"]).all()


def test_labels_without_any_score_get_no_number(make_table):
    table, there = seen(make_table, np.random.default_rng(0), 200)

    predicted = fit_presence(table, there).predict(make_table(pairwise_dice=[NAN, NAN]))

    assert np.isnan(predicted).all()


def test_nothing_read(make_table):
    empty = make_table(max_probability=[])

    assert len(fit_presence(empty, np.zeros(0)).predict(empty)) == 0
