import numpy as np
import pytest

from model.triage.conformal import fit_intervals, interval_quality
from model.triage.predicted_dsc import fit_dsc

BROAD = (0.0, 1.0)


def one_each(make_table, count, **changes):
    return make_table(pairwise_dice=np.full(count, 0.5), **changes)


def ends(intervals, table, predicted):
    low, high = intervals.of(table, np.asarray(predicted, float))
    return pytest.approx((low[0], high[0]), abs=1e-9)


def test_nine_patients_give_the_largest_error_and_eight_nothing(make_table):
    """Of 9 scores and the one to come, the largest known is exceeded in 1 of 10 draws."""
    predicted, errors = np.full(9, 0.5), np.arange(1, 10) / 100
    table = one_each(make_table, 9)

    nine = fit_intervals(table, predicted, predicted - errors)
    fewer = np.arange(9) < 8
    eight = fit_intervals(table.rows(fewer), predicted[fewer], (predicted - errors)[fewer])

    assert ends(nine, table, [0.5] * 9) == (0.41, 0.59)
    assert np.isnan(eight.of(table, predicted)).all()
    assert eight.words.startswith("no interval: 8 patients of the audit could be set apart")


def test_nineteen_patients_leave_the_largest_error_out(make_table):
    predicted, errors = np.full(19, 0.5), np.arange(1, 20) / 100
    table = one_each(make_table, 19)

    intervals = fit_intervals(table, predicted, predicted + errors)

    assert ends(intervals, table, [0.5] * 19) == (0.32, 0.68)


def test_a_patient_counts_once_however_many_labels_are_read(make_table):
    """Ten patients with an error of 0.1, one with fifty of 0.4: two thirds of the labels, yet one
    of eleven patients, whom 90 % leaves out; with two such patients it does not."""
    patient = np.r_[np.arange(10), np.full(50, 10)].astype(np.int32)
    errors = np.where(patient < 10, 0.1, 0.4)
    many = one_each(make_table, 60)
    table = type(many)(
        many.case_ids, many.structures, patient, patient, many.structure, many.scores
    )
    predicted = np.full(60, 0.5)

    # 10 / 12 of the mass is at 0.1, less than 0.9, so that the eleventh is reached.
    assert ends(fit_intervals(table, predicted, predicted - errors), table, predicted) == (0.1, 0.9)
    lenient = fit_intervals(table, predicted, predicted - errors, level=0.8)
    assert ends(lenient, table, predicted) == (0.4, 0.6)


def test_better_labels_have_narrower_intervals_inside_of_0_and_1(make_table):
    rng = np.random.default_rng(0)
    predicted = rng.uniform(0.7, 1, 200)
    table = one_each(make_table, 200)
    intervals = fit_intervals(table, predicted, predicted - 0.5 * (1 - predicted))

    low, high = intervals.of(table, predicted)

    order = np.argsort(predicted)
    assert (np.diff((high - low)[order]) < 0).all()
    assert low.min() > 0
    assert high.max() <= 1


def test_structures_with_many_patients_stand_alone(make_table):
    structure = np.r_[np.zeros(30, int), np.ones(15, int)].astype(np.int32)
    table = one_each(make_table, 45, structures=("a", "b", "c"), structure=structure)
    predicted, errors = np.full(45, 0.5), np.where(structure == 0, 0.05, 0.2)

    intervals = fit_intervals(table, predicted, predicted - errors)

    wanted = one_each(make_table, 3, structures=("a", "b", "c"), structure=[0, 1, 2])
    low, _ = intervals.of(wanted, np.full(3, 0.5))
    assert low == pytest.approx([0.45, 0.3, 0.3])
    assert "1 structures by themselves" in intervals.words


def test_rejected_labels_lie_outside_of_every_interval(make_table):
    predicted = np.full(20, 0.9)
    table, rejected = one_each(make_table, 20), np.arange(20) < 4
    dsc = np.where(rejected, np.nan, 0.9)

    intervals = fit_intervals(table, predicted, dsc, rejected=rejected)

    assert ends(intervals, table, predicted) == BROAD
    silent = fit_intervals(table, predicted, dsc)
    assert ends(silent, table, predicted) == (0.9, 0.9)


def test_labels_without_a_prediction_get_no_interval(make_table):
    predicted = np.r_[np.full(20, 0.9), np.nan]
    table = one_each(make_table, 21)

    intervals = fit_intervals(table, predicted, np.full(21, 0.8))
    low, high = intervals.of(table, predicted)

    assert intervals.patients == 20
    assert np.isfinite(low[:20]).all()
    assert np.isnan([low[20], high[20]]).all()


def test_a_level_is_a_share(make_table):
    with pytest.raises(ValueError, match="between 0 and 1, got 90"):
        fit_intervals(one_each(make_table, 9), np.ones(9), np.ones(9), level=90)


def test_quality_of_intervals_by_hand():
    """Patient 0 has one label in and one 0.1 below, patient 1 one inside."""
    quality = interval_quality(
        low=np.array([0.6, 0.6, 0.9, np.nan]),
        high=np.array([0.8, 0.8, 1.0, np.nan]),
        dsc=np.array([0.7, 0.5, 1.0, 0.2]),
        patient=np.array([0, 0, 1, 2], np.int32),
    )

    assert quality.patients == 2
    assert quality.coverage == pytest.approx(0.75)
    assert quality.median_width == pytest.approx(0.2)
    assert quality.score == pytest.approx((0.2 + 0.2 + 20 * 0.1 + 0.1) / 3)
    assert (quality.bad, quality.bad_coverage) == (2, pytest.approx(0.5))


def test_quality_of_nothing_is_not_a_number():
    nothing = np.zeros(0)

    quality = interval_quality(
        low=nothing, high=nothing, dsc=nothing, patient=np.zeros(0, np.int32)
    )

    assert quality.patients == 0
    assert np.isnan([quality.coverage, quality.median_width, quality.score]).all()


def test_nine_in_ten_labels_of_new_patients_lie_inside(read_labels):
    """20 splits: fitted on 40 patients, calibrated on 200 others, counted on 300 more."""
    coverages = []
    for seed in range(20):
        known = read_labels(patients=540, seed=seed)
        patient = known.table.patient
        fit, audit, new = patient < 40, (patient >= 40) & (patient < 240), patient >= 240
        predictor = fit_dsc(known.table.rows(fit), known.dsc[fit], seed=0)
        predicted = predictor.predict(known.table)
        intervals = fit_intervals(known.table.rows(audit), predicted[audit], known.dsc[audit])
        low, high = intervals.of(known.table.rows(new), predicted[new])
        quality = interval_quality(low=low, high=high, dsc=known.dsc[new], patient=patient[new])
        coverages.append(quality.coverage)

    assert np.mean(coverages) == pytest.approx(0.9, abs=0.03)


def test_few_calibration_patients_still_cover(read_labels):
    """Twelve patients of three labels each: wide, yet no less than 90 % on average over draws."""
    covered = []
    known = read_labels(patients=12 * 150 + 300, seed=7)
    predicted = known.table["pairwise_dice"]
    patient, new = known.table.patient, known.table.patient >= 12 * 150
    for draw in range(150):
        audit = (patient >= 12 * draw) & (patient < 12 * (draw + 1))
        intervals = fit_intervals(known.table.rows(audit), predicted[audit], known.dsc[audit])
        low, high = intervals.of(known.table.rows(new), predicted[new])
        quality = interval_quality(low=low, high=high, dsc=known.dsc[new], patient=patient[new])
        covered.append(quality.coverage)

    assert np.mean(covered) > 0.88
