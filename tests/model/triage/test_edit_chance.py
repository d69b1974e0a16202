import numpy as np
import pytest

from configs.triage_priors import load_triage_priors
from model.triage.edit_chance import LEAST_EACH, fallback_edit_chance, fit_edit_chance

PRIOR = load_triage_priors().edit
NAN = np.nan


def test_the_fallback_is_a_line_between_the_priors_ends():
    dsc = np.array([1.0, PRIOR.sure_dsc, 0.1, (1 + PRIOR.sure_dsc) / 2, NAN])

    chance = fallback_edit_chance(dsc, PRIOR)

    middle = (PRIOR.least + PRIOR.most) / 2
    assert chance == pytest.approx([PRIOR.least, PRIOR.most, PRIOR.most, middle, PRIOR.unknown])


def test_the_chance_follows_what_readers_do_by_structure(make_table):
    """Readers of structure 0 change below 0.9, those of structure 1 below 0.7."""
    rng = np.random.default_rng(0)
    dsc, structure = rng.uniform(0.5, 1, 600), np.arange(600, dtype=np.int32) % 2
    table = make_table(structures=("a", "b"), structure=structure, pairwise_dice=dsc)
    changed = dsc < np.array([0.9, 0.7])[structure]

    model = fit_edit_chance(table, dsc, changed.astype(float), prior=PRIOR)

    chance = model.predict(table, dsc)
    for code in (0, 1):
        own = structure == code
        assert chance[own].mean() == pytest.approx(changed[own].mean(), abs=0.05)
    assert model.words == "chance of an edit fitted to 600 reviews of 600 patients"


def test_a_better_label_is_never_more_likely_to_be_changed(make_table):
    rng = np.random.default_rng(0)
    dsc = rng.uniform(0.5, 1, 200)
    table = make_table(pairwise_dice=dsc)
    changed = (rng.random(200) < dsc - 0.3).astype(float)
    model = fit_edit_chance(table, dsc, changed, prior=PRIOR)

    chance = model.predict(make_table(pairwise_dice=np.ones(50)), np.linspace(0, 1, 50))

    assert (np.diff(chance) <= 1e-12).all()
    assert ((chance >= 0) & (chance <= 1)).all()


def test_readers_who_never_change_anything_tell_too_little(make_table):
    dsc = np.full(300, 0.9)
    changed = (np.arange(300) < LEAST_EACH - 1).astype(float)
    table = make_table(pairwise_dice=dsc)

    model = fit_edit_chance(table, dsc, changed, prior=PRIOR)

    assert "uncalibrated" in model.words
    assert (model.predict(table, dsc) == fallback_edit_chance(dsc, PRIOR)).all()


def test_a_label_without_a_predicted_dsc_has_the_priors_chance(make_table):
    dsc = np.linspace(0.5, 1, 100)
    model = fit_edit_chance(
        make_table(pairwise_dice=dsc), dsc, (dsc < 0.8).astype(float), prior=PRIOR
    )

    chance = model.predict(make_table(pairwise_dice=[NAN]), np.array([NAN]))

    assert "fitted" in model.words
    assert chance == pytest.approx([PRIOR.unknown])
