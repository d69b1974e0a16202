from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from configs.errors import ConflictError, UsageError
from storage.assignments import assign_readings
from storage.blind_items import (
    RESERVED_DAYS,
    BlindBatch,
    BlindItem,
    answered_items,
    arm_counts,
    assign_blind,
    unjudged_queue,
)
from storage.claims import claim_items, renew_claim
from storage.gates import has_labels_since_gate
from storage.label_sources import labels_of, list_sources, parse_source, seen_with_ai
from storage.labels import ABSENT, bases_of, current_labels, training_labels
from storage.rebuild import rebuild
from storage.review_case import read_case
from storage.review_queue import QueueFilter, next_open_case, queue_page
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify

NOW = datetime(2026, 1, 5, 12, 0)
ALL = QueueFilter(statuses=("open", "mine", "held", "deferred", "done"))


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def assign(made, *items, reader="anna", **changes):
    batch = BlindBatch(reader=reader, items=items, frame=6, seed=0)
    return assign_blind(made.store, replace(batch, **changes))


def item(made, arm="audit", structure="stomach", slot=1, case=1, truth=None):
    return BlindItem(made.case_ids[case], structure, arm, slot, truth)


def shown(made, wanted=ALL, reader="anna", now=NOW):
    with made.store.read() as connection:
        page = queue_page(connection, wanted, reader=reader, now=now, limit=50)
    return {(one.case_id, one.structure): one for one in page.items}


def case(made, reader="anna"):
    return read_case(made.store, made.case_ids[1], reader=reader, now=NOW)


def answers(made, arm):
    with made.store.read() as connection:
        return [(one.structure, one.verdict) for one in answered_items(connection, arm)]


def test_a_blind_item_tells_its_place_and_nothing_else(made):
    assign(made, item(made))

    found = shown(made)[made.case_ids[1], "stomach"]

    assert found.is_blind
    assert (found.risk, found.reason, found.verdict, found.position) == (None, "", None, 1)
    assert len(shown(made)) == 6


def test_rows_of_all_arms_are_alike(made, readings):
    readings.import_label(made.case_ids[1], "liver", ABSENT)
    readings.review(made.case_ids[1], "liver", "accept", reader="bert")
    arms = {
        "liver": item(made, "known_truth", "liver", 1, truth="dataset:flare"),
        "stomach": item(made, "audit", "stomach", 2),
        "spleen": item(made, "ranked", "spleen", 3),
    }
    assign(made, *arms.values())

    found = [shown(made)[made.case_ids[1], name] for name in arms]

    alike = {replace(one, structure="", position=0) for one in found}
    assert len(alike) == 1
    page = case(made)
    assert {*page.maps, *page.verdicts} == set()
    assert page.versions == ()
    assert {one.member for masks in page.masks.values() for one in masks} <= {"A", "B"}


@pytest.mark.parametrize(
    "wanted",
    [
        replace(ALL, kind="present"),
        replace(ALL, reason="members"),
        replace(ALL, least_risk=0.0),
        replace(ALL, dataset="flare"),
    ],
)
def test_no_filter_asks_a_blind_item_for_what_it_hides(made, wanted):
    with made.store.transaction() as transaction:
        transaction.connection.execute(
            "INSERT INTO dataset_cases VALUES (?, 'flare', 'n', 'nc', [], [], 1, ?)",
            [made.case_ids[1], NOW],
        )
    assert (made.case_ids[1], "stomach") in shown(made, wanted)
    assign(made, item(made))

    assert (made.case_ids[1], "stomach") not in shown(made, wanted)
    if wanted.dataset:
        assert shown(made, wanted) == {}


def test_members_letters_follow_no_member(made):
    """The letters go by the masks' hashes, which say nothing of who drew them."""
    before = {one.member: one.object for one in case(made).masks["stomach"]}
    assign(made, item(made))

    masks = case(made).masks["stomach"]

    assert sorted(before[name] for name in "ab") == [one.object for one in masks]
    assert [one.member for one in masks] == ["A", "B"]


def test_a_blind_item_is_kept_for_its_reader_for_a_while(made):
    assign(made, item(made))
    key = (made.case_ids[1], "stomach")
    with made.store.read() as connection:
        assigned_at = connection.execute("SELECT max(recorded_at) FROM blind_items").fetchone()[0]
    later = assigned_at + timedelta(days=RESERVED_DAYS, seconds=1)

    held = shown(made, reader="bert", now=assigned_at)[key]
    assert (held.status, held.holder, held.is_blind) == ("held", "anna", False)
    assert held.reason == "members disagree"
    assert shown(made, reader="bert", now=later)[key].status == "open"


def test_the_next_case_follows_the_slots(made):
    assign(made, item(made, "ranked", "liver", 1, case=0), item(made, slot=2, structure="liver"))

    with made.store.read() as connection:
        assert next_open_case(connection, reader="anna", now=NOW) == made.case_ids[0]


@pytest.mark.parametrize("arm", ["audit", "ranked"])
def test_an_audited_label_is_reviewed_like_any_other(made, readings, arm):
    assign(made, item(made, arm))
    readings.review(made.case_ids[1], "stomach", "defer")
    assert answers(made, arm) == []
    assert shown(made)[made.case_ids[1], "stomach"].status == "deferred"

    readings.review(made.case_ids[1], "stomach", "accept")

    assert answers(made, arm) == [("stomach", "accept")]
    with made.store.read() as connection:
        assert (made.case_ids[1], "stomach") in training_labels(connection)
    found = shown(made)[made.case_ids[1], "stomach"]
    assert (found.status, found.reason, found.verdict) == ("done", "members disagree", "accept")


def test_a_check_against_a_known_truth_trains_and_counts_nowhere_else(made, readings):
    case_id = made.case_ids[1]
    readings.import_label(case_id, "stomach", ABSENT)
    assign(made, item(made, "known_truth", truth="dataset:flare"))
    with made.store.read() as connection:
        before = bases_of(connection, case_id, ["stomach"])
        lines = made.store.journal.path.read_text()
    mask = readings.ball(case_id, centre=-0.35, radius=0.2)

    readings.review(case_id, "stomach", "correct", mask=mask)

    assert '"reading":"check"' in made.store.journal.path.read_text()[len(lines) :]
    assert answers(made, "known_truth") == [("stomach", "correct")]
    with made.store.read() as connection:
        assert bases_of(connection, case_id, ["stomach"]) == before
        assert current_labels(connection) == training_labels(connection) == {}
        assert (case_id, "stomach") in seen_with_ai(connection, "anna")
        assert [str(one.source) for one in list_sources(connection)][-1] == "dataset:flare"
        with pytest.raises(UsageError, match="holds no label"):
            labels_of(connection, parse_source("reader:anna"))
    found = shown(made)[case_id, "stomach"]
    assert (found.status, found.verdict, found.verdict_by) == ("done", "correct", "anna")
    assert shown(made, reader="bert")[case_id, "stomach"].status == "open"


def test_a_check_alone_gives_nothing_to_retrain_on(made, readings):
    assign(made, item(made, "known_truth", truth="dataset:flare"))
    readings.review(made.case_ids[1], "stomach", "accept")

    with made.store.read() as connection:
        assert not has_labels_since_gate(connection)


def test_a_second_review_after_a_check_is_a_review(made, readings):
    assign(made, item(made, "known_truth", truth="dataset:flare"))
    readings.review(made.case_ids[1], "stomach", "accept")
    readings.review(made.case_ids[1], "stomach", "absent")

    with made.store.read() as connection:
        given = connection.execute("SELECT reading FROM verdicts ORDER BY seq").fetchall()
    assert given == [("check",), ("review",)]


def test_an_item_outside_the_queue_is_shown_as_well(made):
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM queue_items WHERE structure = 'stomach'")
    assign(made, item(made, "known_truth", truth="dataset:flare"))

    assert shown(made)[made.case_ids[1], "stomach"].is_blind
    assert "stomach" in {one.structure for one in case(made).items}


def test_what_waits_for_a_reader_already_is_refused(made):
    assign(made, item(made))
    assign_readings(made.store, reader="anna", case_ids=[made.case_ids[0]], structures=["liver"])
    before = made.store.journal.path.read_text()

    for one in (item(made, slot=2), item(made, structure="liver", case=0)):
        with pytest.raises(UsageError, match="waits for that reader already"):
            assign(made, one)
    with pytest.raises(UsageError, match="has no prediction"):
        assign(made, BlindItem("c-none", "liver", "audit", 1))
    with pytest.raises(UsageError, match="each once"):
        assign(made, item(made, case=0), item(made, case=0, slot=2))

    assert made.store.journal.path.read_text() == before


def test_the_frame_is_what_nobody_judged(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")

    with made.store.read() as connection:
        assert unjudged_queue(connection, ["liver", "spleen"]) == [
            (made.case_ids[1], "liver"),
            *((case_id, "spleen") for case_id in made.case_ids),
        ]


def test_rebuild_brings_batches_and_answers_back(made, readings):
    assign(made, item(made), item(made, "ranked", "liver", 2))
    readings.review(made.case_ids[1], "stomach", "reject")
    with made.store.read() as connection:
        before = arm_counts(connection)

    rebuild(made.store)

    with made.store.read() as connection:
        assert arm_counts(connection) == before
    assert [(one.arm, one.assigned, one.answered) for one in before] == [
        ("audit", 1, 1),
        ("ranked", 1, 0),
    ]
    assert verify(made.store).findings == ()


def test_a_claim_on_a_blind_item_is_the_reader_s(made):
    assign(made, item(made))
    claim_items(
        made.store,
        made.case_ids[1],
        ["stomach"],
        reader="anna",
        now=NOW,
        lease=timedelta(minutes=5),
    )

    assert shown(made)[made.case_ids[1], "stomach"].status == "mine"


def take(made, reader, now=NOW, structure="stomach"):
    return claim_items(
        made.store,
        made.case_ids[1],
        [structure],
        reader=reader,
        now=now,
        lease=timedelta(minutes=5),
    )


def judge(made, reader, now=NOW, structure="stomach"):
    verdict = Verdict(
        case_id=made.case_ids[1],
        structure=structure,
        verdict="accept",
        reader=reader,
        base_version=made.prediction_id(made.case_ids[1]),
        request_id=f"{reader}-{structure}",
        opened_at=now,
        active_s=1.0,
    )
    return give_verdict(made.store, verdict, now=now)


def test_a_verdict_on_what_another_reader_is_to_judge_blind_is_refused(made):
    """Whoever had it open before it was assigned is told so, and nothing is written."""
    take(made, "bert")
    assign(made, item(made))
    before = made.store.journal.path.read_bytes()

    with pytest.raises(ConflictError, match=r"assigned to anna .* kept .* until .* draft .* stays"):
        judge(made, "bert")

    assert made.store.journal.path.read_bytes() == before
    assert answers(made, "audit") == []
    take(made, "bert", structure="liver")
    assert not judge(made, "bert", structure="liver").repeated


@pytest.mark.parametrize("reader", ["anna", "bert"])
def test_a_correction_takes_nothing_from_what_somebody_is_to_judge_blind(made, readings, reader):
    case_id = made.case_ids[1]
    drawn, rest = (readings.ball(case_id, centre=at, radius=0.2) for at in (-0.4, 0.4))
    assign(made, item(made))
    before = made.store.journal.path.read_bytes()

    with pytest.raises(ConflictError, match=r"stomach .* save again without taking voxels from it"):
        readings.review(
            case_id, "liver", "correct", reader=reader, mask=drawn, linked={"stomach": rest}
        )

    assert made.store.journal.path.read_bytes() == before
    readings.review(case_id, "liver", "correct", reader=reader, mask=drawn)
    assert len(answers(made, "audit")) == 0


def test_a_claim_does_not_outlast_the_blind_assignment_to_another(made):
    take(made, "bert")
    assign(made, item(made))

    assert take(made, "bert") == {}
    assert not renew_claim(
        made.store,
        made.case_ids[1],
        "stomach",
        reader="bert",
        now=NOW,
        lease=timedelta(minutes=5),
    )


def test_others_may_judge_a_blind_item_when_its_days_are_over(made):
    assign(made, item(made))
    with made.store.read() as connection:
        assigned_at = connection.execute("SELECT max(recorded_at) FROM blind_items").fetchone()[0]
    later = assigned_at + timedelta(days=RESERVED_DAYS, seconds=1)
    take(made, "bert", later)

    assert judge(made, "bert", later).verdict_id


def test_an_item_that_several_read_blind_is_judged_by_each(made):
    for reader in ("anna", "bert"):
        assign(made, item(made, "known_truth", truth="dataset:flare"), reader=reader)

    for reader in ("anna", "bert"):
        take(made, reader)
        judge(made, reader)

    assert answers(made, "known_truth") == [("stomach", "accept"), ("stomach", "accept")]
