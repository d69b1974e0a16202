"""Claims: who has an item open, and until when; in the database only, gone after a rebuild."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import duckdb

from configs.errors import ConflictError
from storage.approvals import kept_for_others
from storage.blind_items import reserved_items
from storage.roles import Action, check_allowed
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


def claim_items(
    store: Store,
    case_id: str,
    structures: Sequence[str],
    *,
    reader: str,
    now: datetime,
    lease: timedelta,
) -> dict[str, datetime]:
    """Take the structures of a case that nobody else holds, and prolong those already held.

    Args:
        store: The workspace.
        case_id: The case.
        structures: What the reader wants to judge.
        reader: Who asks.
        now: The time, UTC without a zone; a parameter, since clocks differ.
        lease: How long the claim holds without being prolonged.

    Returns:
        Structure -> expiry of what the reader holds now; a structure that somebody else holds, or
        that is kept for somebody else (returned to that reader, or assigned to be judged blind), is
        not in it.

    Raises:
        AccessError: The reader may not judge.
    """
    with store.transaction() as transaction:
        connection = transaction.connection
        check_allowed(connection, reader, Action.CLAIM)
        returned = kept_for_others(connection, case_id, reader=reader, now=now)
        blind = reserved_items(connection, case_id, reader=reader, now=now)
        held = {
            **returned,
            **_live(connection, case_id, now),
            **{name: kept.reader for name, kept in blind.items()},
        }
        mine = [name for name in structures if held.get(name, reader) == reader]
        _drop(connection, case_id, mine)
        for name in mine:
            connection.execute(
                "INSERT INTO claims VALUES (?, ?, ?, ?, ?)",
                [case_id, name, reader, now, now + lease],
            )
    return dict.fromkeys(mine, now + lease)


def renew_claim(
    store: Store, case_id: str, structure: str, *, reader: str, now: datetime, lease: timedelta
) -> bool:
    """Prolong a reader's claim; an expired one too, as long as nothing came in between.

    Whoever takes an item, and whoever judges it, removes the claim that stood there: one that is
    still there, however old, is on an item that nobody else has touched since. Not prolonged is one
    on an item that was meanwhile assigned to another reader, to be judged blind.

    Returns:
        Whether the reader holds the item.
    """
    with store.transaction() as transaction:
        connection = transaction.connection
        if structure in reserved_items(connection, case_id, reader=reader, now=now):
            return False
        found = connection.execute(
            """UPDATE claims SET expires_at = ? WHERE case_id = ? AND structure = ? AND reader = ?
               RETURNING structure""",
            [now + lease, case_id, structure, reader],
        ).fetchone()
    return found is not None


def release_claims(
    store: Store, case_id: str, *, reader: str, structures: Sequence[str] | None = None
) -> None:
    """Give back what a reader holds of a case: some structures, or all when None."""
    with store.transaction() as transaction:
        transaction.connection.execute(
            """DELETE FROM claims WHERE case_id = $case AND reader = $reader
               AND ($all OR list_contains($structures, structure))""",
            {
                "case": case_id,
                "reader": reader,
                "all": structures is None,
                "structures": list(structures or ()),
            },
        )


def check_claim(
    connection: Connection, case_id: str, structure: str, *, reader: str, now: datetime
) -> None:
    """Raise ConflictError unless the reader holds the item; run under the guard of the write."""
    row = connection.execute(
        "SELECT reader, expires_at FROM claims WHERE case_id = ? AND structure = ?",
        [case_id, structure],
    ).fetchone()
    if row is None:
        raise ConflictError(
            f"a verdict needs a claim, {reader} holds none on {structure} of {case_id}; open the "
            "case again"
        )
    holder, expires_at = row
    if holder != reader:
        raise ConflictError(
            f"{structure} of {case_id} is held by another reader; open it again once it is free, "
            "drafts are kept"
        )
    if expires_at <= now:
        raise ConflictError(
            f"the claim on {structure} of {case_id} expired at {expires_at:%H:%M:%S} UTC; open the "
            "case again"
        )


def drop_claim(connection: Connection, case_id: str, structure: str) -> None:
    """Remove the claim on an item, inside the transaction of the verdict that ends it."""
    _drop(connection, case_id, [structure])


def _live(connection: Connection, case_id: str, now: datetime) -> dict[str, str]:
    rows = connection.execute(
        "SELECT structure, reader FROM claims WHERE case_id = ? AND expires_at > ?", [case_id, now]
    ).fetchall()
    return dict(rows)


def _drop(connection: Connection, case_id: str, structures: Sequence[str]) -> None:
    connection.execute(
        "DELETE FROM claims WHERE case_id = ? AND list_contains(?, structure)",
        [case_id, list(structures)],
    )
