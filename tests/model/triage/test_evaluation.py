from dataclasses import dataclass, replace

import numpy as np
import pytest

from configs.triage_priors import load_triage_priors
from model.triage import conformal, predicted_dsc
from model.triage.estimates import Estimates
from model.triage.evaluation import (
    ORACLE,
    PREDICTED,
    STRUCTURE_MEAN,
    Beliefs,
    KnownLabels,
    coverage,
    dsc_errors,
    fit_triage,
    order_qualities,
    replay_qualities,
    resampled,
    split_coverage,
)
from model.triage.group_evaluation import PatientGroup, evaluate_group
from model.triage.policies import POLICIES, Ranking
from model.triage.replay import ReaderModel
from model.triage.score_table import SCORES

NAN = np.nan
EXACT = ReaderModel(
    dsc_sd=0, tolerance=0, overlooked=0, minutes_sigma=0, misspecified=0, ceiling_error=0
)


@dataclass(frozen=True)
class Pace:
    """Every label takes the same minutes, whatever there is to change."""

    minutes: float
    opening_minutes: float = 0.0

    def predict(self, table, dsc):
        return np.full(len(table), self.minutes)


def known(table, dsc, present=None):
    dsc = np.array(dsc, np.float64)
    present = np.ones(len(dsc), np.bool_) if present is None else np.array(present)
    return KnownLabels(table, np.where(present, dsc, NAN), present)


def expecting(dsc, *, means=0.9, minutes=1.0, low=NAN, high=NAN, presence=1.0):
    """Triage that predicts these DSC; the baseline predicts the mean."""
    dsc = np.array(dsc, np.float64)
    estimates = Estimates(
        dsc=dsc,
        low=np.full(len(dsc), low),
        high=np.full(len(dsc), high),
        presence=np.full(len(dsc), presence),
        edit_chance=np.ones(len(dsc)),
        minutes=np.full(len(dsc), minutes),
        opening_minutes=0.0,
        basis="uncalibrated",
        words="for a test",
    )
    return Beliefs(estimates, replace(estimates, dsc=np.full(len(dsc), means)), Pace(minutes))


def plain_ranking(table, *, ceiling=1.0, **changes):
    size = len(table.structures)
    return Ranking(weights=np.ones(size), ceilings=np.full(size, ceiling), **changes)


def by_name(rows):
    return {row.name: row for row in rows}


def test_quality_without_the_structure_is_that_of_the_right_answer(make_table):
    table = make_table(volume_ml=[5.0, 0.0, 5.0, 0.0, NAN])

    labels = known(table, [0.9, 0.0, NAN, NAN, NAN], [True, True, False, False, False])

    assert labels.quality.tolist() == [0.9, 0.0, 0.0, 1.0, 1.0]


def test_errors_are_of_structures_that_are_there_and_predicted(make_table):
    table = make_table(volume_ml=[5.0] * 4)
    labels = known(table, [0.9, 0.5, NAN, 0.7], [True, True, False, True])

    errors = dsc_errors(labels, expecting([0.8, 0.7, 0.1, NAN], means=0.6))

    assert (errors.n, errors.bad) == (2, 1)
    assert errors.predicted == pytest.approx(0.15)
    assert errors.structure_mean == pytest.approx(0.2)
    assert (errors.bad_predicted, errors.bad_structure_mean) == pytest.approx((0.2, 0.1))


def test_intervals_from_0_to_1_cover_everything_that_is_there(make_table):
    labels = known(make_table(volume_ml=[5.0] * 3), [0.9, 0.1, NAN], [True, True, False])

    found = coverage(labels, expecting([0.5] * 3, low=0.0, high=1.0))

    assert (found.coverage, found.median_width, found.bad_coverage) == (1.0, 1.0, 1.0)
    assert (found.patients, found.bad) == (2, 1)


def test_a_perfect_prediction_orders_as_the_truth_does(make_table):
    dsc = np.linspace(0.3, 0.95, 20)
    table = make_table(volume_ml=[5.0] * 20, entropy_mean=dsc)

    orders = by_name(
        order_qualities(
            known(table, dsc), expecting(dsc), plain_ranking(table, seed=1), queued=dsc >= 0
        )
    )

    assert set(orders) == {
        PREDICTED,
        STRUCTURE_MEAN,
        ORACLE,
        "attention, corrected",
        *(set(POLICIES) - {"round_robin"}),
    }
    perfect = replace(orders[ORACLE], name="")
    assert replace(orders[PREDICTED], name="") == perfect
    assert replace(orders["expected_gain"], name="") == perfect
    assert perfect.within.spearman == pytest.approx(1)
    assert perfect.within.excess_aurc == pytest.approx(0)
    # 15 of 20 are bad, so that 5 % of the queue can hold one of them.
    assert perfect.found_5 == pytest.approx(1 / int((dsc < 0.8).sum()))
    assert orders["entropy"].within.spearman == pytest.approx(-1)
    # What is constant, or not known at all, orders nothing.
    assert orders[STRUCTURE_MEAN].within.spearman is None
    assert orders["attention"].within.spearman is None


def test_order_is_told_apart_where_labels_are_good(make_table):
    dsc = np.array([0.1, 0.2, 0.85, 0.9, 0.95])
    table = make_table(volume_ml=[5.0] * 5)
    predicted = np.array([0.1, 0.2, 0.95, 0.9, 0.85])

    orders = by_name(
        order_qualities(
            known(table, dsc), expecting(predicted), plain_ranking(table), queued=dsc >= 0
        )
    )

    assert orders[PREDICTED].within_good.spearman == pytest.approx(-1)
    assert orders[PREDICTED].within_good.n == 3
    assert orders[PREDICTED].within.n == 5


def test_a_label_without_a_score_is_looked_at_last(make_table):
    dsc = np.array([0.9, 0.2, 0.95, 0.85])
    table = make_table(volume_ml=[5.0] * 4)

    orders = by_name(
        order_qualities(
            known(table, dsc),
            expecting([0.9, NAN, 0.95, 0.85]),
            plain_ranking(table),
            queued=dsc >= 0,
        )
    )

    assert orders[PREDICTED].found_10 == 0.0


def test_the_oracle_closes_the_gap_and_random_none_of_it(make_table):
    dsc = np.linspace(0.0, 0.95, 30)
    labels = known(make_table(volume_ml=[5.0] * 30), dsc)

    rows = replay_qualities(
        labels,
        expecting(dsc, means=0.5),
        plain_ranking(labels.table),
        queued=np.ones(30, np.bool_),
        reader=EXACT,
        seeds=range(5),
    )
    found = by_name(rows)

    for name, gap in ((ORACLE, 1.0), ("random_foreground", 0.0), ("expected_gain", 1.0)):
        row = found[name]
        assert (row.gap, row.gap_low, row.gap_high) == pytest.approx((gap, gap, gap))
    assert found["expected_gain"].area == pytest.approx(found[ORACLE].area)
    assert found["attention"].against_attention == pytest.approx(1)
    assert found[ORACLE].minutes_95 < found["attention"].minutes_95
    assert {f"{name} per minute" for name in POLICIES} & set(found) == {
        f"{name} per minute" for name in set(POLICIES) - {"expected_gain", "round_robin"}
    }
    assert [row.gap for row in rows] == sorted((row.gap for row in rows), reverse=True)


def test_replay_by_hand(make_table):
    # One label of one patient lacks everything: whoever reads it gains all in its minute.
    labels = known(make_table(volume_ml=[5.0]), [0.0])

    (row, *_) = replay_qualities(
        labels,
        expecting([0.0], minutes=2.0),
        plain_ranking(labels.table),
        queued=np.ones(1, np.bool_),
        reader=EXACT,
        seeds=[0],
    )

    # No time is left after the first label, and nothing lies between random and the oracle.
    assert (row.area, row.minutes_95, row.against_attention) == pytest.approx((0.0, 1.0, 1.0))
    assert np.isnan([row.gap, row.gap_low, row.gap_high]).all()


def test_only_queued_labels_are_read(make_table):
    labels = known(make_table(volume_ml=[5.0] * 4), [0.0, 1.0, 1.0, 1.0])

    def rows(queued):
        return replay_qualities(
            labels,
            expecting([0.5] * 4),
            plain_ranking(labels.table),
            queued=np.array(queued),
            reader=EXACT,
            seeds=range(3),
        )

    nothing_to_gain = rows([False, True, True, True])
    assert all(np.isnan([row.gap, row.area, row.minutes_95]).all() for row in nothing_to_gain)
    assert rows([False] * 4) == []


def test_the_structure_mean_looks_at_no_case(read_labels):
    made = read_labels(patients=60)
    labels = known(made.table, made.dsc)
    fitted = fit_triage(labels, labels, ceilings=np.ones(4), priors=load_triage_priors(), seed=0)

    baseline = fitted.beliefs(made.table).baseline

    for code in range(4):
        own = made.table.structure == code
        assert baseline.dsc[own] == pytest.approx(made.dsc[own].mean())
        assert np.ptp(baseline.edit_chance[own]) == pytest.approx(0)


def test_resampling_keeps_a_patients_and_a_cts_labels_together(make_table):
    # Patient 7 has CTs 0 (two labels) and 1 (one label), patient 9 has CT 2 (two labels).
    table = replace(
        make_table(volume_ml=[1.0, 2.0, 3.0, 4.0, 5.0]),
        case=np.array([0, 0, 1, 2, 2], np.int32),
        patient=np.array([7, 7, 7, 9, 9], np.int32),
    )
    labels = known(table, [0.1, 0.2, 0.3, 0.4, 0.5])
    whole = {(7, 0): [1.0, 2.0], (7, 1): [3.0], (9, 2): [4.0, 5.0]}
    sizes = set()

    for seed in range(20):
        sample, places = resampled(labels, np.random.default_rng(seed))
        own = sample.table
        assert own["volume_ml"].tolist() == table["volume_ml"][places].tolist()
        assert sample.dsc.tolist() == labels.dsc[places].tolist()
        assert set(own.case) == set(range(len(own.case_ids)))
        for case in np.unique(own.case):
            rows = own.case == case
            (source,) = set(zip(table.patient[places[rows]], table.case[places[rows]], strict=True))
            assert own["volume_ml"][rows].tolist() == whole[source]
            assert len(set(own.patient[rows])) == 1
        for patient in np.unique(own.patient):
            (source,) = set(table.patient[places[own.patient == patient]])
            assert sorted(own["volume_ml"][own.patient == patient]) == [
                volume for (of, _), volumes in whole.items() if of == source for volume in volumes
            ]
        assert len(set(own.patient)) == 2
        sizes.add(len(own))

    # Both patients once, the first twice, the second twice.
    assert sizes == {5, 6, 4}


def test_estimates_follow_their_labels_when_patients_are_drawn_anew(make_table):
    beliefs = expecting([0.1, 0.2, 0.3])

    assert beliefs.rows(np.array([2, 2, 0])).estimates.dsc.tolist() == [0.3, 0.3, 0.1]
    assert beliefs.rows(np.array([False, True, False])).baseline.dsc.tolist() == [0.9]


def test_fitted_triage_beats_the_structures_means(read_labels):
    fit, audit, test = (read_labels(patients=80, seed=seed) for seed in (0, 1, 2))
    fitted = fit_triage(
        known(fit.table, fit.dsc),
        known(audit.table, audit.dsc),
        ceilings=np.ones(4),
        priors=load_triage_priors(),
        seed=0,
    )
    labels = known(test.table, test.dsc)

    errors = dsc_errors(labels, fitted.beliefs(test.table))
    covered = coverage(labels, fitted.beliefs(test.table))

    assert errors.predicted < 0.7 * errors.structure_mean
    assert 0.8 < covered.coverage < 1
    assert covered.median_width < 0.5
    assert fitted.beliefs(test.table).estimates.basis == "calibrated"


def test_splits_calibrate_and_test_on_other_patients(read_labels, monkeypatch):
    made = read_labels(patients=40)
    pool = known(made.table, made.dsc)
    fitted = fit_triage(pool, pool, ceilings=np.ones(4), priors=load_triage_priors(), seed=0)
    calibrating, tested = [], []
    for module_name, patients in (("fit_intervals", calibrating), ("interval_quality", tested)):
        original = getattr(conformal, module_name)

        def spy(*args, original=original, patients=patients, **kwargs):
            patients.append(set(kwargs["patient"] if "patient" in kwargs else args[0].patient))
            return original(*args, **kwargs)

        monkeypatch.setattr(f"model.triage.evaluation.{module_name}", spy)

    found = split_coverage(pool, fitted.predictor, splits=5, calibrate=30, seed=3)

    assert [len(one) for one in calibrating] == [30] * 5
    assert all(
        own.isdisjoint(rest) and len(own | rest) == 40
        for own, rest in zip(calibrating, tested, strict=True)
    )
    assert len({frozenset(one) for one in calibrating}) == 5
    assert [one.patients for one in found] == [10] * 5


def test_too_few_read_patients_give_a_fallback_without_intervals(read_labels):
    few, audit = (read_labels(patients=count) for count in (predicted_dsc.LEAST_PATIENTS - 1, 40))
    fitted = fit_triage(
        known(few.table, few.dsc),
        known(audit.table, audit.dsc),
        ceilings=np.ones(4),
        priors=load_triage_priors(),
        seed=0,
    )
    estimates = fitted.beliefs(audit.table).estimates
    (split,) = split_coverage(
        known(audit.table, audit.dsc), fitted.predictor, splits=1, calibrate=30, seed=0
    )

    assert estimates.basis == "uncalibrated"
    assert "uncalibrated" in estimates.words
    assert np.isnan(estimates.low).all()
    assert (split.patients, np.isnan(split.coverage)) == (0, True)


def group_of(fit, table, dsc, present=None, *, never=None):
    """Fit and test; ``never`` is a structure that nobody had at the fit."""
    there = known(fit.table, fit.dsc, fit.table.structure != never)
    fitted = fit_triage(
        there,
        there,
        ceilings=np.full(4, 0.95),
        priors=load_triage_priors(),
        seed=0,
    )
    tested = PatientGroup(
        name="odd",
        labels=known(table, dsc, present),
        beliefs=fitted.beliefs(table),
        queued=table["volume_ml"] > 0,
    )
    ranking = plain_ranking(table, ceiling=0.95)
    return evaluate_group(tested, ranking, reader=ReaderModel(), seeds=range(2))


@pytest.mark.parametrize("odd", ["constant", "one member", "no score", "absent structure"])
def test_odd_input_is_measured_without_a_fault(read_labels, odd):
    fit, test = read_labels(patients=40), read_labels(patients=12, seed=1)
    table, present = test.table, np.ones(len(test.table), np.bool_)
    if odd == "constant":
        scores = {name: np.full(len(table), 0.5) for name in SCORES}
    elif odd == "one member":
        scores = {
            **table.scores,
            "pairwise_dice": np.full(len(table), NAN),
            "covering_members": np.ones(len(table)),
            "seeing_members": np.ones(len(table)),
        }
    elif odd == "no score":
        nothing = np.full(len(table), NAN)
        scores = {**dict.fromkeys(SCORES, nothing), "volume_ml": table["volume_ml"]}
    else:
        scores, present = table.scores, table.structure != 1

    never = 1 if odd == "absent structure" else None

    found = group_of(fit, replace(table, scores=scores), test.dsc, present, never=never)

    assert found.labels == len(table)
    assert found.bad == int((present & (test.dsc < 0.8)).sum())
    assert by_name(found.replays)[ORACLE].gap == pytest.approx(1)
    assert found.errors.n == (0 if odd == "no score" else int(present.sum()))
    if odd in ("constant", "no score"):
        assert by_name(found.orders)[PREDICTED].within.spearman is None


def test_what_no_queue_holds_is_out_of_reach(make_table, read_labels):
    fit = read_labels(patients=40)
    table = make_table(
        structures=fit.table.structures, volume_ml=[5.0, 0.0], self_consistency=[0.9, 0.9]
    )

    found = group_of(fit, table, [0.65, 0.0])

    # The first lacks 0.3 to the ceiling of 0.95, the missed one 0.95.
    assert found.out_of_reach == pytest.approx(0.95 / 1.25)
