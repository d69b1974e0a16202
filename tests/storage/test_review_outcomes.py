from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from storage.approvals import Decision, decide
from storage.assignments import assign_readings
from storage.blind_items import BlindBatch, BlindItem, assign_blind
from storage.claims import claim_items
from storage.labels import ABSENT, LabelMask, base_of
from storage.model_registry import register_model
from storage.readers import Actor
from storage.review_outcomes import (
    ReviewOutcome,
    review_outcomes,
    unaided_outcomes,
    unanswered_audits,
)
from storage.splits import freeze_roles
from storage.training_exposure import maybe_trained_on
from storage.verdicts import Verdict, give_verdict

MASK = LabelMask("a", (0, 4, 0, 4, 0, 4), 30)


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def reviews(made, committee_id=None):
    with made.store.read() as connection:
        found = review_outcomes(connection, committee_id or made.committee_id)
    return {(made.case_ids.index(one.case_id), one.structure): one for one in found}


def unaided(made):
    with made.store.read() as connection:
        found = unaided_outcomes(connection, made.committee_id)
    return {(made.case_ids.index(one.case_id), one.structure): one for one in found}


def outcome(verdict="correct", *, predicted=MASK, read=MASK, changed=0, first_look=True):
    return ReviewOutcome(
        case_id="c",
        structure="liver",
        verdict=verdict,
        predicted=predicted,
        read=read,
        unaided=False,
        audit=False,
        first_look=first_look,
        opens=False,
        active_s=1.0,
        voxels_changed=changed,
    )


def test_the_recorded_change_gives_the_dice_of_the_masks():
    rng = np.random.default_rng(0)
    for _ in range(20):
        before, after = rng.random((2, 5, 6, 7)) < 0.4
        other = LabelMask("b", MASK.box, int(after.sum()))
        one = outcome(
            predicted=replace(MASK, voxels=int(before.sum())),
            read=other,
            changed=int((before != after).sum()),
        )

        expected = 2 * (before & after).sum() / (before.sum() + after.sum())
        assert one.counted_dsc == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("changed", [0, 9, 11, 71, 80])
def test_a_recorded_change_that_cannot_be_is_not_used(changed):
    """Masks of 30 and 40 voxels differ in 10 to 70, and in an even number of them."""
    assert outcome(read=LabelMask("b", MASK.box, 40), changed=changed).counted_dsc is None


def test_the_change_of_another_readers_mask_tells_nothing_of_the_committees():
    other = LabelMask("b", MASK.box, 40)

    assert outcome(read=other, changed=10, first_look=False).counted_dsc is None


def test_dice_of_masks_that_are_one_empty_or_not_given():
    assert outcome("accept").counted_dsc == 1.0
    assert outcome("absent", read=ABSENT).counted_dsc == 0.0
    assert outcome(predicted=ABSENT).counted_dsc == 0.0
    assert outcome("accept", predicted=ABSENT, read=ABSENT).counted_dsc is None
    assert outcome("reject", read=None).counted_dsc is None


def test_verdicts_of_a_committees_masks(made, readings):
    case_id = made.case_ids[0]
    readings.review(case_id, "liver", "accept")
    readings.review(case_id, "stomach", "absent")
    readings.review(case_id, "spleen", "absent")
    readings.review(made.case_ids[1], "liver", "reject")
    mask = readings.ball(made.case_ids[1], centre=-0.35, radius=0.2)
    readings.review(made.case_ids[1], "stomach", "correct", mask=mask)
    readings.review(made.case_ids[1], "spleen", "defer")

    found = reviews(made)

    assert {key: (one.is_there, one.is_changed) for key, one in found.items()} == {
        (0, "liver"): (True, False),
        (0, "stomach"): (False, True),
        (0, "spleen"): (False, False),
        (1, "liver"): (None, True),
        (1, "stomach"): (True, True),
    }
    assert all(one.first_look and not one.unaided and one.active_s == 5 for one in found.values())
    assert found[1, "stomach"].read == mask


def test_the_first_label_in_a_ct_holds_its_opening(made, readings):
    for case, structure in ((0, "liver"), (0, "stomach"), (1, "liver"), (0, "spleen")):
        readings.review(made.case_ids[case], structure, "absent")
    readings.review(made.case_ids[1], "stomach", "absent", reader="bert")

    opens = {key: one.opens for key, one in reviews(made).items()}

    assert opens == {
        (0, "liver"): True,
        (0, "stomach"): False,
        (1, "liver"): True,
        (0, "spleen"): True,
        (1, "stomach"): True,
    }


def test_a_review_of_a_correction_goes_back_to_the_committees_mask(made, readings):
    mask = readings.ball(made.case_ids[0], centre=0.35, radius=0.2)
    readings.review(made.case_ids[0], "liver", "correct", mask=mask)
    readings.review(made.case_ids[0], "liver", "accept", reader="bert")

    (one,) = reviews(made).values()

    assert (one.verdict, one.read, one.first_look, one.is_changed) == ("accept", mask, False, True)


def test_a_label_that_changed_along_with_a_neighbour_was_not_read(made, readings):
    mask, rest = (
        readings.ball(made.case_ids[0], centre=centre, radius=0.2) for centre in (0.3, -0.4)
    )
    readings.review(made.case_ids[0], "liver", "correct", mask=mask, linked={"stomach": rest})

    assert list(reviews(made)) == [(0, "liver")]


def test_a_label_that_was_brought_back_was_not_read(made, readings):
    case_id, now = made.case_ids[0], datetime(2026, 1, 5, 12, 0)
    with made.store.read() as connection:
        prediction_id, original = base_of(connection, case_id, "liver")
    mask = readings.ball(case_id, centre=0.35, radius=0.2)
    given = readings.review(case_id, "liver", "correct", mask=mask)
    claim_items(made.store, case_id, ["liver"], reader="anna", now=now, lease=timedelta(minutes=5))
    verdict = Verdict(
        case_id=case_id,
        structure="liver",
        verdict="correct",
        reader="anna",
        base_version=given.versions["liver"],
        request_id="back",
        opened_at=now,
        active_s=1.0,
        mask=original,
        restores=prediction_id,
    )
    assert list(reviews(made)) == [(0, "liver")]

    give_verdict(made.store, verdict, now=now)

    assert reviews(made) == {}


def test_a_returned_review_counts_nothing(made, readings):
    given = readings.review(made.case_ids[0], "liver", "accept")
    returned = Decision(
        verdict_id=given.verdict_id,
        outcome="returned",
        by=Actor("bert", verified=False),
        comment="look again",
    )

    decide(made.store, returned, now=datetime(2026, 1, 5, 12, 0))

    assert reviews(made) == {}


def test_another_committees_reviews_are_not_ours(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    with made.store.transaction() as transaction:
        transaction.connection.execute(
            """INSERT INTO predictions SELECT 'p-2', case_id, 'k-2', run_id, manifest, seconds,
               seq + 1000, recorded_at FROM predictions"""
        )
    readings.review(made.case_ids[1], "liver", "absent")

    assert list(reviews(made)) == [(0, "liver")]
    assert list(reviews(made, "k-2")) == [(1, "liver")]


def test_labels_drawn_for_the_audit_are_told_from_the_queues(made, readings):
    items = (
        BlindItem(made.case_ids[0], "stomach", "audit", 1),
        BlindItem(made.case_ids[1], "stomach", "ranked", 2),
    )
    assign_blind(made.store, BlindBatch(reader="anna", items=items, frame=6, seed=0))
    for case_id in made.case_ids:
        readings.review(case_id, "stomach", "accept")
        readings.review(case_id, "liver", "accept")

    assert {key for key, one in reviews(made).items() if one.audit} == {(0, "stomach")}


def test_a_label_drawn_to_be_read_unaided_is_the_audits_too(made, readings):
    case_id = made.case_ids[0]
    with made.store.transaction() as transaction:
        transaction.connection.execute(
            "INSERT INTO audit_draws VALUES ('d', ?, 'liver', ?, 'anna', true, 6, 1, 1, now())",
            [case_id, prediction(transaction.connection, case_id)],
        )
    readings.read(case_id, "liver", mask=readings.ball(case_id, centre=0.35, radius=0.2))
    readings.read(case_id, "stomach", mask=readings.ball(case_id, centre=-0.35, radius=0.2))
    readings.review(case_id, "liver", "accept", reader="bert")

    assert [one.audit for one in reviews(made).values()] == [False]
    assert {key: one.audit for key, one in unaided(made).items()} == {
        (0, "liver"): True,
        (0, "stomach"): False,
    }


def unanswered(made, *, unaided=False, days=0):
    with made.store.read() as connection:
        (now,) = connection.execute(
            "SELECT max(recorded_at) FROM (SELECT recorded_at FROM audit_draws "
            "UNION ALL SELECT recorded_at FROM blind_items)"
        ).fetchone()
        found = unanswered_audits(
            connection, made.committee_id, unaided=unaided, now=now + timedelta(days=days)
        )
    assert all(one.audit and one.read is None and one.counted_dsc is None for one in found)
    return {(made.case_ids.index(one.case_id), one.structure) for one in found}


def test_deferred_and_returned_answers_to_the_audit_and_late_ones_are_told(made, readings):
    first, second = made.case_ids
    readings.review(first, "spleen", "defer")
    items = [
        BlindItem(case_id, structure, "audit", slot)
        for slot, (case_id, structure) in enumerate(
            [(first, "liver"), (first, "stomach"), (first, "spleen"), (second, "liver")], 1
        )
    ]
    items.append(BlindItem(second, "stomach", "ranked", 9))
    assign_blind(made.store, BlindBatch(reader="anna", items=tuple(items), frame=6, seed=0))
    readings.review(first, "liver", "defer")
    returned = readings.review(first, "stomach", "accept")
    decision = Decision(
        verdict_id=returned.verdict_id,
        outcome="returned",
        by=Actor("bert", verified=False),
        comment="a piece is missing",
    )
    decide(made.store, decision, now=datetime(2026, 1, 5, 12, 0))
    readings.review(second, "stomach", "defer")

    assert unanswered(made) == {(0, "liver"), (0, "stomach")}
    assert unanswered(made, unaided=True) == set()
    # What was deferred before it was drawn waits as the others do.
    assert unanswered(made, days=15) == {
        (0, "liver"),
        (0, "stomach"),
        (0, "spleen"),
        (1, "liver"),
    }
    readings.review(first, "liver", "accept")
    assert unanswered(made) == {(0, "stomach")}


def test_a_deferred_reading_without_the_mask_is_told_until_somebody_reads_it(made, readings):
    first, _ = made.case_ids
    with made.store.transaction() as transaction:
        for case_id in made.case_ids:
            transaction.connection.execute(
                "INSERT INTO audit_draws "
                "VALUES ('d', ?, 'liver', ?, 'anna', true, 6, 1, 1, now()::TIMESTAMP)",
                [case_id, prediction(transaction.connection, case_id)],
            )
    readings.read(first, "liver", "defer")

    assert unanswered(made, unaided=True) == {(0, "liver")}
    assert unanswered(made) == set()
    assert unanswered(made, unaided=True, days=15) == {(0, "liver"), (1, "liver")}
    readings.read(first, "liver", "absent", reader="bert")
    assert unanswered(made, unaided=True) == set()


def prediction(connection, case_id):
    return connection.execute(
        "SELECT prediction_id FROM current_predictions WHERE case_id = ?", [case_id]
    ).fetchone()[0]


def test_the_newest_reading_of_who_had_not_seen_the_mask_counts(made, readings):
    case_id = made.case_ids[0]
    first, second, third = (
        readings.ball(case_id, centre=0.35, radius=radius) for radius in (0.2, 0.22, 0.24)
    )
    readings.read(case_id, "liver", mask=first)
    readings.read(case_id, "liver", mask=second, reader="bert")
    readings.review(case_id, "liver", "accept", reader="cleo")
    readings.read(case_id, "liver", mask=third, reader="cleo")
    readings.read(case_id, "spleen", "absent")

    found = unaided(made)

    assert {key: (one.read, one.is_there) for key, one in found.items()} == {
        (0, "liver"): (second, True),
        (0, "spleen"): (ABSENT, False),
    }
    assert all(one.unaided for one in found.values())


def trained(made):
    with made.store.read() as connection:
        return maybe_trained_on(connection, made.store.objects, made.committee_id)


def register_members(made):
    """Register the weights of the fixture's members, which are named by the hash of their name."""
    for name in "ab":
        register_model(made.store, name, name.encode(), {})


def set_roles(made, *roles):
    """Give the patients roles, as if their scans did not look alike."""
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM twins")
        rows = dict(
            transaction.connection.execute(
                "SELECT case_id, patient_id FROM current_patients"
            ).fetchall()
        )
    patients = [rows[case_id] for case_id in made.case_ids]
    freeze_roles(made.store, dict(zip(patients, roles, strict=True)))


def test_labels_that_were_there_before_the_weights_may_have_trained_them(made, readings):
    set_roles(made, "train", "gate")
    for case_id in made.case_ids:
        readings.review(case_id, "liver", "accept")

    register_members(made)

    assert trained(made) == {made.case_ids[0]}


def test_labels_that_came_after_the_weights_have_not_trained_them(made, readings):
    set_roles(made, "train", "gate")
    register_members(made)

    readings.review(made.case_ids[0], "liver", "accept")

    assert trained(made) == set()


def test_twins_of_a_case_that_trains_count_as_trained_on(made, readings):
    set_roles(made, "train", "gate")
    readings.import_label(made.case_ids[0], "liver", ABSENT)
    with made.store.transaction() as transaction:
        transaction.connection.execute("INSERT INTO twins VALUES (?, ?, 0.99, 1)", made.case_ids)

    register_members(made)

    assert trained(made) == set(made.case_ids)


def test_readings_without_the_mask_train_nothing(made, readings):
    set_roles(made, "train", "gate")
    mask = readings.ball(made.case_ids[0], centre=0.35, radius=0.2)
    assign_readings(made.store, reader="anna", case_ids=[made.case_ids[0]], structures=["stomach"])
    readings.read(made.case_ids[0], "liver", mask=mask)

    register_members(made)

    assert trained(made) == set()


def test_cases_of_a_dataset_that_a_card_names_may_have_been_trained_on(made):
    set_roles(made, "train", "report")
    with made.store.transaction() as transaction:
        for case_id in made.case_ids:
            transaction.connection.execute(
                "INSERT INTO dataset_cases VALUES (?, 'flare', ?, 'nc', [], [], 1, now())",
                [case_id, f"name of {case_id}"],
            )
    register_members(made)
    assert trained(made) == set()

    with made.store.transaction() as transaction:
        (weights,) = transaction.connection.execute(
            "SELECT weights FROM models WHERE name = 'a'"
        ).fetchone()
        card = {"datasets": [{"id": "flare"}, "odd"]}
        transaction.record("model.registered", {"name": "a", "weights": weights, "card": card})

    assert trained(made) == {made.case_ids[0]}
