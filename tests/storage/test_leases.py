from datetime import datetime, timedelta

import pytest

from storage.leases import Lease, at_work, drop_lease, lease_case
from storage.rebuild import rebuild
from storage.store import Store
from storage.verify import verify
from storage.workspace import create_workspace

NOON = datetime(2026, 1, 1, 12)
MINUTE = timedelta(minutes=1)
COMMITTEE = "k-1"


@pytest.fixture
def store(tmp_path):
    create_workspace(tmp_path / "w")
    return Store.open(tmp_path / "w")


def take(store, run_id, case_id="c-1", *, now=NOON, committee_id=COMMITTEE):
    return lease_case(store, case_id, committee_id, run_id=run_id, now=now, lease=MINUTE)


def leases(store):
    with store.read() as connection:
        return connection.execute("SELECT * FROM case_leases ORDER BY ALL").fetchall()


def test_case_of_a_living_run_is_held(store):
    with at_work(store, "r-a"), at_work(store, "r-b"):
        assert take(store, "r-a") is Lease.TAKEN

        assert take(store, "r-b") is Lease.HELD
        assert take(store, "r-b", "c-2") is Lease.TAKEN
        assert take(store, "r-b", committee_id="k-2") is Lease.TAKEN


def test_run_prolongs_its_own_lease(store):
    with at_work(store, "r-a"):
        take(store, "r-a")

        assert take(store, "r-a", now=NOON + MINUTE / 2) is Lease.TAKEN
        assert leases(store) == [("c-1", COMMITTEE, "r-a", NOON + MINUTE * 1.5)]


def test_lease_expires_though_its_run_lives(store):
    with at_work(store, "r-a"), at_work(store, "r-b"):
        take(store, "r-a")

        assert take(store, "r-b", now=NOON + MINUTE) is Lease.TAKEN
        assert take(store, "r-a", now=NOON + MINUTE) is Lease.HELD


def test_lease_of_a_dead_run_is_free_at_once(store):
    take(store, "r-dead")
    mark = store.workspace.runs_path / "r-dead.lock"
    mark.touch()

    with at_work(store, "r-b"):
        assert take(store, "r-b") is Lease.TAKEN
    assert not mark.exists()


def test_end_of_a_run_gives_its_leases_back_and_no_others(store):
    with at_work(store, "r-a"):
        take(store, "r-a")
        with at_work(store, "r-b"):
            take(store, "r-b", "c-2")

        assert [row[0] for row in leases(store)] == ["c-1"]


def test_drop_ends_ones_own_lease_alone(store):
    with at_work(store, "r-a"):
        take(store, "r-a")
        with store.transaction() as transaction:
            drop_lease(transaction.connection, "c-1", COMMITTEE, "r-b")
        assert len(leases(store)) == 1

        with store.transaction() as transaction:
            drop_lease(transaction.connection, "c-1", COMMITTEE, "r-a")
        assert leases(store) == []


def test_closed_case_is_not_leased(make_annotated):
    annotated = make_annotated(cases=1)
    (case_id,) = annotated.case_ids

    outcome = take(annotated.store, "r-a", case_id, committee_id=annotated.committee_id)

    assert outcome is Lease.CLOSED
    assert leases(annotated.store) == []


def test_leases_are_no_part_of_the_truth(store):
    with at_work(store, "r-a"):
        take(store, "r-a")

        assert verify(store).findings == ()
        rebuild(store)
        assert leases(store) == []
        assert take(store, "r-a") is Lease.TAKEN
