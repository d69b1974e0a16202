"""Case leases: which run computes a case, and until when; in the database only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import duckdb

from storage.cases import is_closed
from storage.process_lock import is_held, process_lock
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


class Lease(StrEnum):
    """What became of the wish to compute a case."""

    TAKEN = "taken"
    HELD = "held"
    CLOSED = "closed"


@contextmanager
def at_work(store: Store, run_id: str) -> Iterator[None]:
    """Mark a run as alive, so that nobody takes its leases; give them back at the end.

    The mark is a lock file, ``runs/<run id>.lock``, which says the process id and which the
    operating system frees when the process dies: a killed run's leases can be taken at once.
    """
    with process_lock(_mark(store, run_id), str(os.getpid())):
        try:
            yield
        finally:
            with store.transaction() as transaction:
                transaction.connection.execute("DELETE FROM case_leases WHERE run_id = ?", [run_id])


def lease_case(
    store: Store,
    case_id: str,
    committee_id: str,
    *,
    run_id: str,
    now: datetime,
    lease: timedelta,
) -> Lease:
    """Take a case that no living run computes and nobody closed, or prolong a run's own lease.

    A lease ends when it expires (its process may be stopped), or when its process is dead.

    Args:
        store: The workspace.
        case_id: The case.
        committee_id: The committee that is to annotate it; another committee does not mind.
        run_id: The run that asks; it is ``at_work``.
        now: The time, UTC without a zone.
        lease: How long the lease holds without being prolonged.
    """
    with store.transaction() as transaction:
        connection = transaction.connection
        if is_closed(connection, case_id, committee_id):
            return Lease.CLOSED
        for holder in _other_holders(connection, case_id, committee_id, run_id, now):
            if is_held(_mark(store, holder)):
                return Lease.HELD
            _mark(store, holder).unlink(missing_ok=True)
        connection.execute(
            "DELETE FROM case_leases WHERE case_id = ? AND committee_id = ?",
            [case_id, committee_id],
        )
        connection.execute(
            "INSERT INTO case_leases VALUES (?, ?, ?, ?)",
            [case_id, committee_id, run_id, now + lease],
        )
    return Lease.TAKEN


def drop_lease(connection: Connection, case_id: str, committee_id: str, run_id: str) -> None:
    """End a run's lease on a case, in the transaction that closes the case or records a failure."""
    connection.execute(
        "DELETE FROM case_leases WHERE case_id = ? AND committee_id = ? AND run_id = ?",
        [case_id, committee_id, run_id],
    )


def _other_holders(
    connection: Connection, case_id: str, committee_id: str, run_id: str, now: datetime
) -> list[str]:
    rows = connection.execute(
        """SELECT run_id FROM case_leases
           WHERE case_id = ? AND committee_id = ? AND run_id <> ? AND expires_at > ?""",
        [case_id, committee_id, run_id, now],
    ).fetchall()
    return [row[0] for row in rows]


def _mark(store: Store, run_id: str) -> Path:
    return store.workspace.runs_path / f"{run_id}.lock"
