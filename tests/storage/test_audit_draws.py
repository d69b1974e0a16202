import hashlib
from datetime import datetime, timedelta

import pytest

from storage.audit_answers import framed_labels
from storage.audit_draws import (
    AuditItem,
    UnitSearch,
    audit_seed,
    audit_work,
    frame_units,
    next_units,
    open_audit,
    record_draw,
)
from storage.rebuild import rebuild
from storage.verify import verify

NOW = datetime(2026, 1, 5, 12, 0)


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=3)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def opened(made, seed=5):
    with made.store.transaction() as transaction:
        return open_audit(transaction, seed)


def units(made, *, unaided=False, count=99, blocked=(), structures=(), now=NOW, readers=("anna",)):
    search = UnitSearch(
        committee_id=made.committee_id,
        unaided=unaided,
        readers=readers,
        structures=structures,
        now=now,
    )
    with made.store.read() as connection:
        return next_units(connection, search, count=count, blocked=blocked)


def patients(made):
    with made.store.read() as connection:
        return dict(
            connection.execute("SELECT case_id, patient_id FROM current_patients").fetchall()
        )


def framed(made):
    predictions = [made.prediction_id(case_id) for case_id in made.case_ids]
    with made.store.read() as connection:
        return framed_labels(connection, predictions)


def draw(made, unit, *, arm="audit", reader="anna", place=1):
    items = [
        AuditItem(
            case_id=case_id,
            structure=unit.structure,
            prediction_id=prediction_id,
            arm=arm,
            slot=None if arm == "unaided" else 1,
            place=place,
        )
        for case_id, prediction_id in unit.labels
    ]
    with made.store.transaction() as transaction:
        record_draw(transaction, items, reader=reader, frame=9)


@pytest.mark.parametrize("way", ["aided", "unaided"])
def test_units_come_in_the_order_of_the_hash_of_seed_and_names(made, way):
    opened(made)
    owners = patients(made).values()

    expected = sorted(
        ((patient, structure) for patient in owners for structure in made.structures),
        key=lambda unit: hashlib.sha256(
            "/".join(["5", way, made.committee_id, *unit]).encode()
        ).hexdigest(),
    )

    found = [(one.patient_id, one.structure) for one in units(made, unaided=way == "unaided")]
    assert found == expected
    labels = framed(made)
    tickets = {label.unit[1:]: getattr(label, f"{way}_ticket") for label in labels}
    assert sorted(tickets, key=tickets.get) == expected


def test_the_first_seed_holds(made):
    assert opened(made) == 5
    assert opened(made, seed=6) == 5
    with made.store.read() as connection:
        assert audit_seed(connection) == 5


def test_what_was_judged_has_left_the_frame_and_what_was_deferred_has_not(made, readings):
    opened(made)
    first, second, _ = made.case_ids
    readings.review(first, "liver", "accept")
    readings.review(second, "liver", "defer")

    with made.store.read() as connection:
        assert frame_units(connection, made.committee_id) == 8
        assert frame_units(connection, made.committee_id, ["liver"]) == 2
    found = {unit.labels[0][0] for unit in units(made, structures=("liver",))}
    assert found == {second, made.case_ids[2]}


def test_a_drawn_unit_is_not_drawn_again_until_its_reader_is_gone_or_late(made):
    opened(made)
    first = units(made)[0]
    draw(made, first)

    with made.store.read() as connection:
        drawn_at = connection.execute("SELECT recorded_at FROM audit_draws").fetchone()[0]

    assert first not in units(made, now=drawn_at)
    assert first in units(made, now=drawn_at, unaided=True)
    assert units(made, now=drawn_at, readers=("bert",))[0] == first
    assert units(made, now=drawn_at + timedelta(days=15))[0] == first


def test_a_reading_that_was_made_stays_drawn(made, readings):
    opened(made)
    first = units(made, unaided=True)[0]
    draw(made, first, arm="unaided")
    readings.read(first.labels[0][0], first.structure, "absent")

    assert first not in units(made, unaided=True, readers=("bert",))


def test_a_blocked_unit_waits_for_its_turn(made):
    opened(made)
    first, second, *_ = units(made)

    *others, last = units(made)
    assert units(made, count=1, blocked=first.keys) == [second]
    assert units(made, count=1, blocked=set().union(*(one.keys for one in others))) == [last]
    assert units(made, count=0) == []


def test_a_patients_labels_are_one_unit(made):
    owners = patients(made)
    with made.store.transaction() as transaction:
        for case_id in made.case_ids[:2]:
            transaction.record(
                "patient.assigned",
                {"case_id": case_id, "patient_id": "p-one", "assigned_by": "csv"},
            )
    opened(made)

    found = units(made, structures=("liver",))

    assert {unit.patient_id for unit in found} == {"p-one", owners[made.case_ids[2]]}
    assert sorted(len(unit.labels) for unit in found) == [1, 2]


def test_work_is_counted_from_the_audits_beginning(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    opened(made)
    draw(made, units(made)[0])
    readings.review(made.case_ids[1], "liver", "accept")
    readings.review(made.case_ids[2], "liver", "defer")

    with made.store.read() as connection:
        work = audit_work(connection, "anna")
    assert (work.done, work.aided, work.unaided) == (1, 1, 0)


def test_a_rebuilt_index_holds_the_same_draws(made):
    opened(made)
    draw(made, units(made)[0])
    draw(made, units(made, unaided=True)[0], arm="unaided")
    tables = ("audit_seeds", "audit_draws", "blind_items", "assignments")

    def rows():
        with made.store.read() as connection:
            return [connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables]

    before = rows()
    rebuild(made.store)

    assert rows() == before
    assert [len(found) for found in before] == [1, 2, 1, 1]
    verify(made.store).raise_for_findings()


def test_the_frame_is_what_nobody_had_judged_when_the_audit_began(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    opened(made)
    readings.review(made.case_ids[1], "liver", "accept")

    labels = framed(made)

    keys = {label.key for label in labels}
    assert len(keys) == 8
    assert (made.case_ids[0], "liver") not in keys
