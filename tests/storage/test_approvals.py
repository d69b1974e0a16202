from datetime import datetime, timedelta

import pytest

from configs.errors import AccessError, ConflictError, UsageError
from configs.settings import load_settings
from storage.approvals import Decision, decide, waiting_for_approval
from storage.claims import claim_items
from storage.desk_work import desk_work
from storage.gates import has_labels_since_gate
from storage.labels import training_labels
from storage.reader_registry import register_reader, remove_reader
from storage.readers import Actor
from storage.rebuild import rebuild
from storage.releases import freeze_release, read_release
from storage.review_case import read_case
from storage.review_queue import QueueFilter, next_open_case, queue_page
from storage.roles import Role
from storage.store import Store
from storage.verify import verify

NOW = datetime(2026, 1, 5, 12, 0)
LEASE = timedelta(minutes=10)
KEPT = timedelta(hours=48)
ALL = QueueFilter(statuses=("open", "mine", "held", "deferred", "done"))
BEN = Actor("ben")


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def verdict_id(made, structure="liver"):
    with made.store.read() as connection:
        row = connection.execute(
            "SELECT verdict_id FROM current_verdicts WHERE structure = ?", [structure]
        ).fetchone()
    return row[0]


def approve(made, structure="liver", by=BEN, seen=None):
    wanted = Decision(verdict_id=verdict_id(made, structure), outcome="approved", by=by, seen=seen)
    return decide(made.store, wanted, now=NOW)


def give_back(made, structure="liver", by=BEN, seen=None, comment="the dome is cut off"):
    wanted = Decision(
        verdict_id=verdict_id(made, structure),
        outcome="returned",
        by=by,
        seen=seen,
        comment=comment,
    )
    return decide(made.store, wanted, now=NOW)


def trained(made, *, approved_only):
    with made.store.read() as connection:
        labels = training_labels(connection, approved_only=approved_only)
    return {structure for _, structure in labels}


def waiting(made, reader):
    with made.store.read() as connection:
        found = waiting_for_approval(connection, reader=reader, limit=10)
    return [item.structure for item in found.items]


def state(made, reader="anna", structure="liver", now=NOW):
    with made.store.read() as connection:
        page = queue_page(connection, ALL, reader=reader, now=now, limit=50)
    wanted = (made.case_ids[0], structure)
    (item,) = (one for one in page.items if (one.case_id, one.structure) == wanted)
    return item.status, item.holder, item.returned_by


def test_verdict_is_submitted_until_another_reader_approves_it(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    assert waiting(made, "ben") == ["liver"]
    assert trained(made, approved_only=True) == set()

    approve(made)

    assert waiting(made, "ben") == []
    assert trained(made, approved_only=True) == trained(made, approved_only=False) == {"liver"}
    judged = read_case(made.store, made.case_ids[0], reader="anna", now=NOW).verdicts["liver"]
    assert (judged.state, judged.decided_by) == ("approved", "ben")


def test_nobody_approves_a_verdict_of_their_own(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")

    with pytest.raises(AccessError, match="own work"):
        approve(made, by=Actor("anna"))

    assert waiting(made, "anna") == []


@pytest.mark.parametrize("kind", ["accept", "correct"])
def test_nobody_approves_their_mask_under_the_verdict_of_another(made, readings, kind):
    """Ben's correction leaves anna's mask to be his own work; his acceptance of it stays hers."""
    case_id = made.case_ids[0]
    drawn = readings.ball(case_id, centre=0.35, radius=0.2)
    readings.review(case_id, "liver", "correct", mask=drawn)
    other = readings.ball(case_id, centre=0.35, radius=0.25) if kind == "correct" else None
    readings.review(case_id, "liver", kind, reader="ben", mask=other)
    mine = read_case(made.store, case_id, reader="anna", now=NOW).verdicts["liver"].is_own

    assert mine is (kind == "accept")
    assert waiting(made, "anna") == ([] if mine else ["liver"])
    if mine:
        with pytest.raises(AccessError, match="own work"):
            approve(made, by=Actor("anna"))
    else:
        approve(made, by=Actor("anna"))


def test_nobody_approves_what_their_linked_correction_left_of_a_neighbour(made, readings):
    case_id = made.case_ids[0]
    rest = readings.ball(case_id, centre=-0.35, radius=0.2)
    drawn = readings.ball(case_id, centre=0.35, radius=0.35)
    readings.review(case_id, "liver", "correct", mask=drawn, linked={"stomach": rest})
    readings.review(case_id, "stomach", "accept", reader="ben")

    with pytest.raises(AccessError, match="own work"):
        approve(made, "stomach", by=Actor("anna"))

    assert waiting(made, "anna") == []
    assert waiting(made, "cleo") == ["liver", "stomach"]


def test_label_changed_along_trains_once_that_correction_is_approved_too(made, readings):
    case_id = made.case_ids[0]
    readings.review(case_id, "stomach", "accept")
    approve(made, "stomach")
    rest = readings.ball(case_id, centre=-0.35, radius=0.2)
    drawn = readings.ball(case_id, centre=0.35, radius=0.35)
    readings.review(case_id, "liver", "correct", mask=drawn, linked={"stomach": rest})
    assert trained(made, approved_only=True) == set()

    approve(made)

    assert trained(made, approved_only=True) == {"liver", "stomach"}


def test_returned_verdict_trains_nothing_and_is_open_for_its_reader_first(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")

    give_back(made)

    assert trained(made, approved_only=False) == set()
    assert state(made) == ("open", "anna", "ben")
    assert state(made, "cleo") == ("held", "anna", "ben")
    assert state(made, "cleo", now=NOW + KEPT) == ("open", None, "ben")
    with made.store.read() as connection:
        assert next_open_case(connection, reader="anna", now=NOW) == made.case_ids[0]
        (item,) = desk_work(connection, reader="anna", four_eyes=True, limit=9).returned
    assert (item.structure, item.reviewer, item.comment) == ("liver", "ben", "the dome is cut off")


def test_returned_verdict_is_claimed_by_others_only_when_its_time_is_over(made, readings):
    case_id = made.case_ids[0]
    readings.review(case_id, "liver", "accept")
    give_back(made)

    def claim(now):
        return claim_items(made.store, case_id, ["liver"], reader="cleo", now=now, lease=LEASE)

    assert claim(NOW) == {}
    assert set(claim(NOW + KEPT)) == {"liver"}


def test_a_read_case_is_good_until_a_returned_verdict_is_kept_no_more(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    give_back(made)

    case = read_case(made.store, made.case_ids[0], reader="carl", now=NOW)
    (liver,) = (item for item in case.items if item.structure == "liver")
    after = read_case(made.store, made.case_ids[0], reader="carl", now=NOW + KEPT)

    assert (liver.status, liver.holder) == ("held", "anna")
    assert case.good_until == NOW + KEPT
    assert after.good_until is None
    assert [item.status for item in after.items if item.structure == "liver"] == ["open"]


def test_what_was_returned_to_a_removed_reader_is_open_to_all(made, readings):
    ada = Actor("ada")
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    for name in ("anna", "cleo"):
        register_reader(made.store, name, Role.ANNOTATOR, by=ada)
    readings.review(made.case_ids[0], "liver", "accept")
    give_back(made, by=ada)
    assert state(made, "cleo")[0] == "held"

    remove_reader(made.store, "anna", by=ada)

    assert state(made, "cleo")[0] == "open"


def test_given_again_a_returned_verdict_is_submitted_again(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    old = verdict_id(made)
    give_back(made)
    drawn = readings.ball(made.case_ids[0], centre=0.35, radius=0.2)
    readings.review(made.case_ids[0], "liver", "correct", mask=drawn)

    assert state(made) == ("done", None, None)
    assert waiting(made, "ben") == ["liver"]
    with pytest.raises(ConflictError, match="newer verdict"):
        decide(made.store, Decision(verdict_id=old, outcome="approved", by=BEN), now=NOW)


def test_second_decision_needs_to_have_seen_the_first(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    first = approve(made)
    before = len(list(made.store.journal.lines()))

    assert approve(made) == first
    with pytest.raises(ConflictError, match="approved by ben meanwhile"):
        give_back(made, by=Actor("cleo"))
    assert len(list(made.store.journal.lines())) == before

    give_back(made, by=Actor("cleo"), seen=first)
    assert trained(made, approved_only=False) == set()


def test_what_is_unsure_is_not_submitted(made, readings):
    readings.review(made.case_ids[0], "liver", "defer")

    assert waiting(made, "ben") == []
    with pytest.raises(UsageError, match="needs no approval"):
        approve(made)


def test_unknown_verdict_is_refused(made):
    with pytest.raises(UsageError, match="no review has the id"):
        decide(made.store, Decision(verdict_id="x", outcome="approved", by=BEN), now=NOW)


@pytest.mark.parametrize(
    ("outcome", "comment"),
    [("returned", " "), ("approved", "well done"), ("maybe", ""), ("returned", "x" * 2001)],
)
def test_decision_checks_itself(outcome, comment):
    with pytest.raises(UsageError):
        Decision(verdict_id="v", outcome=outcome, by=BEN, comment=comment)


def test_reviewer_is_not_shown_what_he_has_yet_to_read_independently(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    facts = {"case_id": made.case_ids[0], "structures": ["liver"], "reader": "ben"}
    with made.store.transaction() as transaction:
        transaction.record("reading.assigned", facts)

    assert waiting(made, "ben") == []


def test_comment_is_in_no_journal_line_and_survives_a_rebuild(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    give_back(made, comment="like Mrs. Smith's")
    assert b"Smith" not in made.store.workspace.journal_path.read_bytes()

    rebuild(made.store)

    judged = read_case(made.store, made.case_ids[0], reader="anna", now=NOW).verdicts["liver"]
    assert judged.comment == "like Mrs. Smith's"
    verify(made.store).raise_for_findings()


def test_release_that_requires_approval_leaves_out_and_lists_the_rest(made, readings):
    case_id = made.case_ids[0]
    readings.review(case_id, "liver", "accept")
    readings.review(case_id, "stomach", "accept")
    readings.review(case_id, "spleen", "reject")
    approve(made)

    release = freeze_release(made.store, "safe", require_approval=True)

    (case,) = read_release(made.store, "safe").cases
    assert [(label.structure, label.approved_by) for label in case.labels] == [("liver", "ben")]
    assert [left.structure for left in case.left_out] == ["spleen", "stomach"]
    assert release.cases == (case,)


def test_release_without_any_approval_is_refused_where_it_is_required(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")

    with pytest.raises(UsageError, match="no case was approved"):
        freeze_release(made.store, require_approval=True)


def test_returned_label_is_released_as_returned_and_not_as_reviewed(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    readings.review(made.case_ids[0], "stomach", "accept")
    give_back(made)

    labels = {
        x.structure: x.review for x in freeze_release(made.store).case(made.case_ids[0]).labels
    }
    judged = freeze_release(made.store, reviewed_only=True).case(made.case_ids[0]).labels

    assert (labels["liver"], labels["stomach"]) == ("returned", "reviewed")
    assert [label.structure for label in judged] == ["stomach"]


def test_release_nobody_approved_of_has_the_content_it_had_before_there_was_approval(
    made, readings
):
    readings.review(made.case_ids[0], "liver", "accept")
    release = freeze_release(made.store, "first")

    with made.store.read() as connection:
        row = connection.execute("SELECT items FROM releases").fetchone()
    assert b"approved_by" not in made.store.objects.read(row[0])
    assert release.cases[0].labels[0].approved_by is None


def test_under_four_eyes_it_is_the_approval_that_gives_something_to_learn(made, readings):
    def new(*, approved_only):
        with made.store.read() as connection:
            return has_labels_since_gate(connection, approved_only=approved_only)

    readings.review(made.case_ids[0], "liver", "accept")
    assert (new(approved_only=False), new(approved_only=True)) == (True, False)

    approve(made)

    assert new(approved_only=True)


def test_desk_shows_what_to_approve_only_under_four_eyes_and_to_those_who_may(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")

    def count(reader, *, four_eyes=True):
        with made.store.read() as connection:
            work = desk_work(connection, reader=reader, four_eyes=four_eyes, limit=5)
        return None if work.waiting is None else work.waiting.count

    assert (count("ben"), count("anna"), count("ben", four_eyes=False)) == (1, 0, None)
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.ANNOTATOR, by=Actor("ada"))
    assert (count("ben"), count("ada")) == (None, 1)


def test_hours_that_a_returned_verdict_is_kept_are_a_setting(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    settings = load_settings(None, {"review": {"returned_hours": 1}}).settings
    store = Store.open(made.store.workspace.root, settings)
    wanted = Decision(verdict_id=verdict_id(made), outcome="returned", by=BEN, comment="leak")
    decide(store, wanted, now=NOW)

    assert state(made, "cleo", now=NOW + timedelta(minutes=59))[0] == "held"
    assert state(made, "cleo", now=NOW + timedelta(minutes=60))[0] == "open"
