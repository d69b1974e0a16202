import numpy as np
import pytest
from scipy import stats

from model.triage.predicted_dsc import (
    LEAST_PATIENTS,
    fallback_dsc,
    fit_dsc,
    risks,
    structure_means,
)
from model.triage.score_table import SCORES, score_table


def test_prediction_beats_the_structures_mean_and_the_members_agreement(read_labels):
    fitted, held_out = read_labels(patients=80), read_labels(patients=300, seed=1)

    predictor = fit_dsc(fitted.table, fitted.dsc, seed=0)

    def error(predicted):
        return float(np.abs(predicted - held_out.dsc).mean())

    means = structure_means(fitted.table, fitted.dsc)[held_out.table.structure]
    ours = error(predictor.predict(held_out.table))
    assert predictor.basis == "calibrated"
    assert ours < 0.8 * error(means)
    assert ours < error(fallback_dsc(held_out.table))


def test_prediction_orders_labels_within_each_structure(read_labels):
    fitted, held_out = read_labels(patients=80), read_labels(patients=300, seed=1)
    predicted = fit_dsc(fitted.table, fitted.dsc, seed=0).predict(held_out.table)

    for code in range(4):
        own = held_out.table.structure == code
        assert stats.spearmanr(predicted[own], held_out.dsc[own]).statistic > 0.6


def test_a_worse_score_never_predicts_a_better_label(read_labels, make_table):
    fitted = read_labels(patients=60)
    predictor = fit_dsc(fitted.table, fitted.dsc, seed=0)
    names = fitted.table.structures

    falling = make_table(structures=names, pairwise_dice=np.linspace(1, 0, 30))

    assert (np.diff(predictor.predict(falling)) <= 1e-12).all()


def test_the_fit_is_the_same_each_time(read_labels):
    known = read_labels(patients=50)

    first, second = (fit_dsc(known.table, known.dsc, seed=3) for _ in range(2))

    assert (first.predict(known.table) == second.predict(known.table)).all()


def test_few_patients_give_the_fallback_however_many_labels_they_have(read_labels):
    known = read_labels(patients=LEAST_PATIENTS - 1, each=30)

    predictor = fit_dsc(known.table, known.dsc, seed=0)

    assert predictor.basis == "uncalibrated"
    assert predictor.words.startswith("uncalibrated: ")
    assert "570 labels of 19 patients" in predictor.words
    assert (predictor.predict(known.table) == known.table["pairwise_dice"]).all()


def test_labels_without_a_dsc_count_nothing(read_labels):
    known = read_labels(patients=40)
    unread = np.where(known.table.patient < 19, known.dsc, np.nan)

    assert fit_dsc(known.table, unread, seed=0).basis == "uncalibrated"


def test_the_fallback_takes_the_first_agreement_that_is_known(make_table):
    nan = np.nan
    table = make_table(
        pairwise_dice=[0.7, nan, nan, nan, 1.2],
        tta_dice=[0.1, 0.8, nan, nan, nan],
        self_consistency=[0.2, 0.2, 0.9, nan, nan],
    )

    assert fallback_dsc(table) == pytest.approx([0.7, 0.8, 0.9, nan, 1.0], nan_ok=True)


def test_a_single_member_is_predicted_from_what_it_says_of_itself(read_labels):
    known = read_labels(patients=60)
    alone = {**known.table.scores, "pairwise_dice": np.full(len(known.table), np.nan)}
    table = score_table(
        case_ids=known.table.case_ids,
        structures=known.table.structures,
        case=known.table.case,
        patient=known.table.patient,
        structure=known.table.structure,
        scores=alone,
    )

    predicted = fit_dsc(table, known.dsc, seed=0).predict(table)

    assert np.isfinite(predicted).all()
    assert np.corrcoef(predicted, known.dsc)[0, 1] > 0.4


def test_a_structure_that_nobody_read_is_predicted_as_an_average_one(read_labels):
    known = read_labels(patients=80)
    unseen = known.table.structure == 3
    dsc = np.where(unseen, np.nan, known.dsc)

    predictor = fit_dsc(known.table, dsc, seed=0)

    predicted = predictor.predict(known.table.rows(unseen))
    assert predictor.model.offsets[3] == pytest.approx(0, abs=1e-9)
    assert ((predicted >= 0) & (predicted <= 1)).all()


def test_constant_scores_predict_the_structures_drawn_together(read_labels):
    known = read_labels(patients=80)
    rows = len(known.table)
    table = score_table(
        case_ids=known.table.case_ids,
        structures=known.table.structures,
        case=known.table.case,
        patient=known.table.patient,
        structure=known.table.structure,
        scores={name: np.full(rows, 0.5) for name in SCORES},
    )

    predicted = fit_dsc(table, known.dsc, seed=0).predict(table)

    means = structure_means(table, known.dsc)
    assert len(np.unique(predicted)) == 4
    for code in range(4):
        middle = sorted((known.dsc.mean(), means[code]))
        assert middle[0] <= predicted[table.structure == code][0] <= middle[1]


def test_labels_without_any_score_get_no_number(read_labels, make_table):
    known = read_labels(patients=40)
    predictor = fit_dsc(known.table, known.dsc, seed=0)

    nothing = make_table(structures=known.table.structures, volume_ml=[np.nan, np.nan])

    assert np.isnan(predictor.predict(nothing)).all()


def test_nothing_read_and_nothing_to_predict(make_table):
    empty = make_table(pairwise_dice=[])

    predictor = fit_dsc(empty, np.zeros(0), seed=0)

    assert predictor.basis == "uncalibrated"
    assert len(predictor.predict(empty)) == 0
    assert np.isnan(structure_means(empty, np.zeros(0))).all()


def test_structure_means_are_plain_means(make_table):
    table = make_table(structures=("a", "b", "c"), structure=[0, 0, 1, 1], volume_ml=[1, 1, 1, 1])

    means = structure_means(table, np.array([0.8, 1.0, 0.3, np.nan]))

    assert means == pytest.approx([0.9, 0.3, 0.7])


def test_nobody_covering_a_structure_is_no_share(make_table):
    table = make_table(covering_members=[0, 3], seeing_members=[0, 1])

    unseen = risks(table)[-1]

    assert unseen == pytest.approx([np.nan, 2 / 3], nan_ok=True)
