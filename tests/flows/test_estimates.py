from dataclasses import replace

import numpy as np
import pytest

from flows import estimates as module
from flows.estimates import estimate
from flows.read_labels import ReadLabels
from model.triage.score_table import SCORES, score_table
from storage.labels import ABSENT, LabelMask
from storage.review_outcomes import ReviewOutcome

BOX = (0, 4, 0, 4, 0, 4)
AI, OTHER = LabelMask("a", BOX, 30), LabelMask("b", BOX, 30)
STRUCTURES = ("liver", "stomach", "spleen")
NAN = np.nan


def make_table(cases, seed=0, **changes):
    """Three structures a case; members disagree by as much as the label errs."""
    rng = np.random.default_rng(seed)
    case, structure = (part.ravel() for part in np.mgrid[:cases, :3])
    error = np.clip(np.array([0.05, 0.1, 0.15])[structure] * rng.lognormal(0, 0.7, len(case)), 0, 1)
    scores = {
        "pairwise_dice": np.clip(1 - error * rng.lognormal(0, 0.2, len(case)), 0, 1),
        "volume_ml": np.full(len(case), 60.0),
        "max_probability": np.full(len(case), 0.99),
        "covering_members": np.full(len(case), 3.0),
        "seeing_members": np.full(len(case), 3.0),
    }
    table = score_table(
        case_ids=[f"c-{number}" for number in range(cases)],
        structures=STRUCTURES,
        case=case.astype(np.int32),
        patient=case.astype(np.int32),
        structure=structure.astype(np.int32),
        scores={**scores, **changes},
    )
    return table, 1 - error


def outcome(table, row, **changes):
    one = ReviewOutcome(
        case_id=table.case_ids[table.case[row]],
        structure=table.structures[table.structure[row]],
        verdict="correct",
        predicted=AI,
        read=OTHER,
        unaided=False,
        audit=False,
        first_look=True,
        opens=False,
        active_s=60.0,
        voxels_changed=10,
    )
    return replace(one, **changes)


def said(table, dsc, rows, *, audited=(), **changes):
    """Reviews of some rows; the label of structure 0 of audited cases is the audit's."""
    told = [
        outcome(
            table,
            row,
            audit=bool(table.case[row] in audited and table.structure[row] == 0),
            **changes,
        )
        for row in rows
    ]
    return ReadLabels(
        reviews=told,
        readings=[],
        told=told,
        dsc=np.asarray(dsc)[rows],
        patients={name: number for number, name in enumerate(table.case_ids)},
    )


@pytest.fixture
def estimated(empty_store, monkeypatch):
    """Estimates from what is said here instead of in a workspace."""

    def run(table, known):
        monkeypatch.setattr(module, "read_labels", lambda *_: known)
        return estimate(empty_store, table, committee_id="k-1")

    return run


def test_reviews_fit_the_dsc_and_the_audit_its_intervals(estimated):
    table, dsc = make_table(120)
    rows = np.flatnonzero(table.case < 60)

    found = estimated(table, said(table, dsc, rows, audited=range(20)))

    new = table.case >= 60
    assert found.basis == "calibrated"
    assert np.abs(found.dsc - dsc)[new].mean() < 0.05
    liver = new & (table.structure == 0)
    assert ((found.low <= dsc) & (dsc <= found.high))[liver].mean() > 0.8
    assert "fitted to 120 read labels of 40 patients" in found.words
    assert "90% intervals from 20 patients of the audit" in found.words
    assert "which is no accuracy" in found.words


def test_no_patient_both_fits_and_calibrates(estimated, monkeypatch):
    """Also the labels of an audited patient that the queue chose do neither."""
    table, dsc = make_table(60)
    seen = {}
    fit, calibrate = module.fit_dsc, module.fit_intervals

    def spy_fit(rows, *given, **named):
        seen["fit"] = set(rows.patient.tolist())
        return fit(rows, *given, **named)

    def spy_calibrate(rows, *given, **named):
        seen["audit"] = sorted(zip(rows.patient.tolist(), rows.structure.tolist(), strict=True))
        return calibrate(rows, *given, **named)

    monkeypatch.setattr(module, "fit_dsc", spy_fit)
    monkeypatch.setattr(module, "fit_intervals", spy_calibrate)
    estimated(table, said(table, dsc, np.arange(len(table)), audited=range(15)))

    assert seen["fit"] == set(range(15, 60))
    assert seen["audit"] == [(number, 0) for number in range(15)]


def test_a_fit_without_an_audit_says_that_it_has_no_interval(estimated):
    table, dsc = make_table(60)

    found = estimated(table, said(table, dsc, np.arange(120)))

    assert found.basis == "uncalibrated"
    assert np.isnan(found.low).all()
    assert "no interval: 0 patients of the audit could be set apart" in found.words


def test_an_audit_of_everybody_leaves_half_of_the_patients_to_fit_on(estimated):
    table, dsc = make_table(60)

    found = estimated(table, said(table, dsc, np.arange(150), audited=range(50)))

    assert "fitted to 75 read labels of 25 patients" in found.words
    assert "90% intervals from 25 patients of the audit" in found.words


def test_the_fit_goes_before_the_intervals_where_patients_are_few(estimated):
    """Of 28 patients 20 are to fit, and 8 cannot calibrate."""
    table, dsc = make_table(60)

    found = estimated(table, said(table, dsc, np.arange(84), audited=range(28)))

    assert "fitted to 84 read labels of 28 patients" in found.words
    assert found.basis == "uncalibrated"


def test_few_reviews_give_fallbacks_without_intervals(estimated):
    table, dsc = make_table(40)

    found = estimated(table, said(table, dsc, np.arange(45), audited=range(12)))

    assert found.basis == "uncalibrated"
    assert (found.dsc == table["pairwise_dice"]).all()
    assert np.isnan([found.low, found.high]).all()
    assert (found.presence == 0.99).all()
    assert np.isfinite([found.edit_chance, found.minutes]).all()
    assert "uncalibrated: agreement of the members stands in" in found.words
    assert "no interval: the predicted DSC is not fitted" in found.words


def test_nothing_said_of_an_empty_table(estimated):
    table, dsc = make_table(0)

    found = estimated(table, said(table, dsc, []))

    assert found.basis == "none"
    assert len(found.dsc) == len(found.minutes) == 0
    assert found.opening_minutes > 0


def test_structures_that_nobody_covers_get_no_number_for_their_quality(estimated):
    table, dsc = make_table(60)
    scores = {name: np.where(table.structure == 2, NAN, table[name]) for name in SCORES}
    table = replace(table, scores=scores)
    rows = np.flatnonzero((table.structure < 2) & (table.case < 50))

    found = estimated(table, said(table, dsc, rows, audited=range(12)))

    nobody = table.structure == 2
    assert np.isnan([column[nobody] for column in (found.dsc, found.low, found.presence)]).all()
    assert np.isfinite(found.dsc[~nobody]).all()
    assert np.isfinite(found.edit_chance).all()
    assert np.isfinite(found.minutes).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"pairwise_dice": np.full(180, 0.9)},
        {"pairwise_dice": np.full(180, NAN), "covering_members": np.ones(180)},
        {"volume_ml": np.zeros(180), "seeing_members": np.zeros(180)},
        {name: np.full(180, NAN) for name in SCORES},
    ],
    ids=["constant", "single member", "all empty", "all unknown"],
)
def test_scores_that_say_nothing_break_nothing(estimated, changes):
    table, dsc = make_table(60, **changes)

    found = estimated(table, said(table, dsc, np.arange(150), audited=range(12)))

    for column in (found.dsc, found.low, found.high, found.presence, found.edit_chance):
        known = column[np.isfinite(column)]
        assert ((known >= 0) & (known <= 1)).all()
        assert len(column) == 180
    assert (np.isnan(found.dsc) | (found.low <= found.dsc) & (found.dsc <= found.high)).all()
    assert (found.minutes > 0).all()


def test_rejected_labels_widen_the_intervals_and_absent_ones_leave_the_dsc_alone(estimated):
    table, dsc = make_table(120)
    rows = np.arange(180)
    plain = said(table, dsc, rows, audited=range(20))
    rejected = [
        replace(one, verdict="reject", read=None) if one.audit and place < 15 else one
        for place, one in enumerate(plain.told)
    ]
    absent = [
        replace(one, verdict="absent", read=ABSENT) if not one.audit and place % 2 else one
        for place, one in enumerate(plain.told)
    ]

    before = estimated(table, plain)
    worse = estimated(table, replace(plain, told=rejected, reviews=rejected))
    gone = estimated(table, replace(plain, told=absent, reviews=absent, dsc=plain.dsc * 0))

    # 5 of the audit's 20 labels are bad by an unknown amount, more than a tenth.
    assert (worse.low == 0).all()
    assert (worse.high == 1).all()
    assert (before.low > 0).any()
    assert gone.presence.mean() < before.presence.mean()


def test_outcomes_of_labels_outside_the_table_are_left_out(estimated):
    table, dsc = make_table(60)
    known = said(table, dsc, np.arange(150))
    strangers = [
        replace(known.told[0], case_id="c-elsewhere"),
        replace(known.told[0], structure="aorta"),
    ]
    more = replace(known, told=[*known.told, *strangers], dsc=np.r_[known.dsc, 0.0, 0.0])

    assert (estimated(table, more).dsc == estimated(table, known).dsc).all()


def test_the_order_of_the_table_does_not_matter(estimated):
    table, dsc = make_table(60)
    known = said(table, dsc, np.arange(150), audited=range(12))
    shuffle = np.random.default_rng(0).permutation(len(table))

    straight, mixed = estimated(table, known), estimated(table.rows(shuffle), known)

    for name in ("dsc", "low", "presence", "edit_chance", "minutes"):
        assert getattr(mixed, name) == pytest.approx(getattr(straight, name)[shuffle])


def test_an_annotated_workspace_is_estimated_from_its_index(make_annotated, make_readings):
    made = make_annotated(cases=2)
    make_readings(made).review(made.case_ids[0], "liver", "accept")
    table, _ = make_table(2)
    table = replace(table, case_ids=made.case_ids)

    found = estimate(made.store, table, committee_id=made.committee_id)

    assert found.basis == "uncalibrated"
    assert "1 labels of 1 patients were read" in found.words
    assert "minutes fitted to 1 recorded times" in found.words
