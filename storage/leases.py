"""Case leases: which run computes a case, and until when; in the database only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker gets when it asks for its next case.

    Attributes:
        case_id: Leased to it now; None when no case is free.
        closed: Cases met on the way that the committee has closed.
        held: Cases met on the way that another living worker computes.
        failed: Cases met on the way that failed in this run, under another of its workers.
    """

    case_id: str | None
    closed: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


def worker_id(run_id: str, number: int) -> str:
    """Return the name under which one of a run's workers holds leases."""
    return f"{run_id}.w{number}"


def run_of(holder: str) -> str:
    """Return the run that a holder of leases works for: itself, or that of the worker."""
    return holder.partition(".w")[0]


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
            end_leases(store, run_id)


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
        _give(connection, case_id, committee_id, run_id, now + lease)
    return Lease.TAKEN


def lease_next(
    store: Store,
    case_ids: Sequence[str],
    committee_id: str,
    *,
    run_id: str,
    now: datetime,
    lease: timedelta,
) -> Offer:
    """Take the first of some cases that is free, in one transaction however many there are.

    Free is what no living worker computes, the committee has not closed and has not failed in this
    run under another worker.

    Args:
        store: The workspace.
        case_ids: The cases in the order of preference.
        committee_id: The committee that is to annotate them.
        run_id: The run or worker that asks; it is ``at_work``.
        now: The time, UTC without a zone.
        lease: How long the lease holds without being prolonged.
    """
    met: dict[str, list[str]] = {"closed": [], "held": [], "failed": []}
    with store.transaction() as transaction:
        connection = transaction.connection
        states = _states(connection, committee_id, run_id, now)
        living: dict[str, bool] = {}
        for case_id in case_ids:
            state, holder = states.get(case_id, ("free", ""))
            if state == "held":
                if holder not in living:
                    living[holder] = is_held(_mark(store, holder))
                state = "held" if living[holder] else "free"
            if state == "free":
                _give(connection, case_id, committee_id, run_id, now + lease)
                break
            met[state].append(case_id)
        else:
            case_id = None
    found = {name: tuple(cases) for name, cases in met.items()}
    return Offer(case_id, **found)


def running(store: Store) -> dict[str, list[str]]:
    """Return the cases that living workers compute now, by the run that they work for."""
    with store.read() as connection:
        return running_cases(store, connection)


def running_cases(store: Store, connection: Connection) -> dict[str, list[str]]:
    """Return what ``running`` does, on an open index."""
    rows = connection.execute(
        "SELECT run_id, case_id FROM case_leases ORDER BY run_id, case_id"
    ).fetchall()
    living: dict[str, bool] = {}
    found: dict[str, list[str]] = {}
    for holder, case_id in rows:
        if holder not in living:
            living[holder] = is_held(_mark(store, holder))
        if living[holder]:
            found.setdefault(run_of(holder), []).append(case_id)
    return found


def end_leases(store: Store, holder: str) -> list[str]:
    """End all leases of a run or worker, and return the cases that it held."""
    with store.transaction() as transaction:
        rows = transaction.connection.execute(
            "DELETE FROM case_leases WHERE run_id = ? RETURNING case_id", [holder]
        ).fetchall()
    return sorted(row[0] for row in rows)


def drop_lease(connection: Connection, case_id: str, committee_id: str, run_id: str) -> None:
    """End a run's lease on a case, in the transaction that closes the case or records a failure."""
    connection.execute(
        "DELETE FROM case_leases WHERE case_id = ? AND committee_id = ? AND run_id = ?",
        [case_id, committee_id, run_id],
    )


def _give(
    connection: Connection, case_id: str, committee_id: str, run_id: str, expires_at: datetime
) -> None:
    connection.execute(
        "DELETE FROM case_leases WHERE case_id = ? AND committee_id = ?", [case_id, committee_id]
    )
    connection.execute(
        "INSERT INTO case_leases VALUES (?, ?, ?, ?)", [case_id, committee_id, run_id, expires_at]
    )


def _states(
    connection: Connection, committee_id: str, run_id: str, now: datetime
) -> dict[str, tuple[str, str]]:
    """Return case -> (why it is not free, who holds it), closed before held before failed."""
    rows = connection.execute(
        """SELECT case_id, 'failed', '' FROM failures
           WHERE committee_id = $committee AND run_id = $run AND $worker <> $run
           UNION ALL
           SELECT case_id, 'held', run_id FROM case_leases
           WHERE committee_id = $committee AND run_id <> $worker AND expires_at > $now
           UNION ALL
           SELECT case_id, 'closed', '' FROM predictions WHERE committee_id = $committee""",
        {"committee": committee_id, "run": run_of(run_id), "worker": run_id, "now": now},
    ).fetchall()
    order = {"failed": 0, "held": 1, "closed": 2}
    rows.sort(key=lambda row: order[row[1]])
    return {case_id: (state, holder) for case_id, state, holder in rows}


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
