"""Every action under every role, through the doors that pages and commands use."""

import secrets
from datetime import datetime, timedelta

import pytest

from configs.errors import AccessError
from storage.approvals import Decision, decide
from storage.assignments import assign_readings
from storage.blind_items import BlindBatch, BlindItem, assign_blind
from storage.claims import claim_items
from storage.open_readings import open_readings
from storage.qualification import QualificationSet, define_set
from storage.reader_registry import register_reader, remove_reader
from storage.readers import Actor
from storage.releases import freeze_release
from storage.review_case import read_case
from storage.review_queue import QueueFilter, queue_page
from storage.roles import ALLOWED, Action, Role, is_allowed, registered_roles
from storage.verdicts import Verdict, give_verdict

NOW = datetime(2026, 1, 5, 12, 0)
LEASE = timedelta(minutes=10)
ADA = Actor("ada")

# Written by hand: who may do what, in the order of the columns.
COLUMNS = ("look", "claim", "judge", "read", "approve", "assign", "release", "manage")
MATRIX = {
    "annotator": "yyyynnnn",
    "reviewer": "yyyyyynn",
    "admin": "yyyyyyyy",
    "stranger": "nnnnnnnn",
    "while nobody is registered": "yyyyyyyy",
}


def look(made, who):
    read_case(made.store, made.case_ids[0], reader=who, now=NOW)


def look_at_queue(made, who):
    with made.store.read() as connection:
        queue_page(connection, QueueFilter(), reader=who, now=NOW, limit=5)


def claim(made, who):
    held = claim_items(made.store, made.case_ids[0], ["stomach"], reader=who, now=NOW, lease=LEASE)
    assert set(held) == {"stomach"}


def hold(made, who):
    """Lay a claim ready, so that nothing but the role stands in the way of a verdict."""
    with made.store.transaction() as transaction:
        values = [made.case_ids[0], "spleen", who, NOW, NOW + LEASE]
        transaction.connection.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?)", values)


def judge(made, who):
    give(made, who, structure="spleen", base_version=made.prediction_id(made.case_ids[0]))


def hand_out(made, who):
    facts = {"case_id": made.case_ids[0], "structures": ["stomach"], "reader": who}
    with made.store.transaction() as transaction:
        transaction.record("reading.assigned", facts)


def read(made, who):
    give(made, who, structure="stomach", base_version=None, reading="independent")


def look_at_readings(made, who):
    with made.store.read() as connection:
        open_readings(connection, reader=who)


def give(made, who, **changes):
    verdict = Verdict(
        case_id=made.case_ids[0],
        verdict="absent",
        reader=who,
        request_id=secrets.token_hex(8),
        opened_at=NOW,
        active_s=1.0,
        **changes,
    )
    give_verdict(made.store, verdict, now=NOW)


def approve(made, who):
    decided(made, who, "approved")


def return_it(made, who):
    decided(made, who, "returned", "too wide")


def decided(made, who, outcome, comment=""):
    with made.store.read() as connection:
        verdict_id, seen = connection.execute(
            "SELECT verdict_id, decision_id FROM review_states WHERE structure = 'liver'"
        ).fetchone()
    decision = Decision(
        verdict_id=verdict_id, outcome=outcome, by=Actor(who), seen=seen, comment=comment
    )
    decide(made.store, decision, now=NOW)


def assign(made, who):
    assign_readings(
        made.store,
        reader="ada",
        case_ids=made.case_ids,
        structures=["aorta"],
        by=Actor(who),
    )


def assign_blindly(made, who):
    item = BlindItem(made.case_ids[0], "spleen", "audit", 1)
    batch = BlindBatch(reader="ada", items=(item,), frame=1, seed=0)
    assign_blind(made.store, batch, by=Actor(who))


def define_a_set(made, who):
    wanted = QualificationSet(
        name="first",
        truth="dataset:x",
        items=((made.case_ids[0], "liver"),),
        least_dsc=0.8,
        least_share=0.8,
    )
    define_set(made.store, wanted, by=Actor(who))


def release(made, who):
    freeze_release(made.store, by=Actor(who))


def release_judged(made, who):
    freeze_release(made.store, reviewed_only=True, by=Actor(who))


def promote(made, who):
    register_reader(made.store, "who", Role.ADMIN, by=Actor(who))


def add(made, who):
    register_reader(made.store, "new", Role.ANNOTATOR, by=Actor(who))


def remove(made, who):
    remove_reader(made.store, "new", by=Actor(who))


DOORS = {
    "look": (look, look_at_queue),
    "claim": (claim,),
    "judge": (judge,),
    "read": (look_at_readings, read),
    "approve": (approve, return_it),
    "assign": (assign, assign_blindly, define_a_set),
    "release": (release, release_judged),
    "manage": (promote, add, remove),
}
BEFORE = {judge: hold, read: hand_out}


@pytest.fixture
def made(make_annotated, make_readings):
    """A workspace in which anna has judged the liver."""
    made = make_annotated(cases=1)
    make_readings(made).review(made.case_ids[0], "liver", "accept")
    return made


def as_registered(made, kind):
    """Make "who" be of a kind, and ada an admin."""
    if kind == "while nobody is registered":
        return
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    if kind in list(Role):
        register_reader(made.store, "who", Role(kind), by=ADA)


def opens(made, door, who):
    """Whether a door opens; one that does not leaves the journal as it was."""
    if door in BEFORE:
        BEFORE[door](made, who)
    before = made.store.journal.size()
    try:
        door(made, who)
    except AccessError:
        assert made.store.journal.size() == before
        return False
    return True


@pytest.mark.parametrize("kind", MATRIX)
def test_each_door_opens_to_those_whom_the_matrix_names(made, kind):
    as_registered(made, kind)
    with made.store.read() as connection:
        roles = registered_roles(connection)
    offered = {name: is_allowed(roles, "who", Action[name.upper()]) for name in COLUMNS}

    found = {name: {opens(made, door, "who") for door in DOORS[name]} for name in COLUMNS}

    expected = {name: cell == "y" for name, cell in zip(COLUMNS, MATRIX[kind], strict=True)}
    assert found == {name: {may} for name, may in expected.items()}
    assert offered == expected


def test_matrix_has_every_role_and_every_action():
    assert {action.name.lower() for action in Action} == set(COLUMNS) == set(DOORS)
    assert set(ALLOWED) == set(Role) == set(MATRIX) & {role.value for role in Role}
