from datetime import datetime, timedelta

import pytest

from configs.errors import Reason
from storage.leases import (
    Lease,
    Offer,
    at_work,
    drop_lease,
    end_leases,
    lease_case,
    lease_next,
    run_of,
    running,
    worker_id,
)
from storage.predictions import record_failure
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


def take_next(store, holder, case_ids=("c-1", "c-2", "c-3"), *, now=NOON):
    return lease_next(store, case_ids, COMMITTEE, run_id=holder, now=now, lease=MINUTE)


def fail(store, case_id, run_id):
    failure = (Reason.UNREADABLE, "it cannot be read")
    record_failure(store, case_id, COMMITTEE, run_id=run_id, failure=failure)


def test_the_first_free_case_is_leased_and_those_met_on_the_way_are_named(store):
    with at_work(store, "r-a"), at_work(store, "r-b"):
        assert take_next(store, "r-a") == Offer("c-1")

        assert take_next(store, "r-b") == Offer("c-2", held=("c-1",))
        assert take_next(store, "r-a") == Offer("c-1", held=())
        assert leases(store) == [
            ("c-1", COMMITTEE, "r-a", NOON + MINUTE),
            ("c-2", COMMITTEE, "r-b", NOON + MINUTE),
        ]


def test_nothing_is_offered_when_all_is_held_or_closed(store):
    with at_work(store, "r-a"), at_work(store, "r-b"):
        take(store, "r-a", "c-2")

        assert take_next(store, "r-b", ["c-2"]) == Offer(None, held=("c-2",))
        assert take_next(store, "r-b", []) == Offer(None)


def test_leases_that_expired_or_whose_worker_is_dead_are_free(store):
    with at_work(store, "r-a"), at_work(store, "r-b"):
        take(store, "r-a", "c-1")
        take(store, "r-dead", "c-2")

        assert take_next(store, "r-b", ["c-2"]).case_id == "c-2"
        assert take_next(store, "r-b", ["c-1"], now=NOON + MINUTE).case_id == "c-1"


def test_what_failed_under_one_worker_is_not_tried_by_the_next_of_the_same_run(store):
    fail(store, "c-1", worker_id("r-a", 1))

    with at_work(store, worker_id("r-a", 2)), at_work(store, "r-b"):
        assert take_next(store, worker_id("r-a", 2)) == Offer("c-2", failed=("c-1",))
        end_leases(store, worker_id("r-a", 2))
        # A run of its own tries what it was told to.
        assert take_next(store, "r-b").case_id == "c-1"


def test_who_computes_what_is_told_by_run(store):
    one, two = worker_id("r-a", 1), worker_id("r-a", 2)
    with at_work(store, one), at_work(store, two):
        take(store, one, "c-1")
        take(store, two, "c-2")
        take(store, "r-dead", "c-3")

        assert running(store) == {"r-a": ["c-1", "c-2"]}
        assert end_leases(store, "r-dead") == ["c-3"]
        assert end_leases(store, "r-dead") == []
    assert run_of(one) == run_of("r-a") == "r-a"
