"""Registering readers: who has which role since when; a removed one keeps a name in history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from configs.errors import UsageError
from storage.readers import Actor, check_reader
from storage.roles import Action, Role, check_allowed, registered_roles
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class RegisteredReader:
    """A reader with a role.

    Attributes:
        given_by: Who gave the role; None where nobody was named.
        verified: Whether a login vouched for that name.
        since: When, UTC.
    """

    name: str
    role: str
    given_by: str | None
    verified: bool
    since: datetime


def registered_readers(connection: Connection) -> list[RegisteredReader]:
    """Return the registered readers by name; empty while the workspace is open to all."""
    rows = connection.execute(
        "SELECT reader, role, given_by, verified, recorded_at FROM current_readers ORDER BY reader"
    ).fetchall()
    return [RegisteredReader(*row) for row in rows]


def register_reader(store: Store, name: str, role: Role, *, by: Actor | None) -> None:
    """Commit a reader's role; given again, it is changed.

    Args:
        store: The workspace.
        name: The reader, without a colon, slash or outer space.
        role: What the reader is from now on.
        by: Who says so: an admin, once somebody is registered.

    Raises:
        AccessError: Who says so is no admin.
        UsageError: The name is none, or no admin would be left.
    """
    check_reader(name)
    with store.transaction() as transaction:
        connection = transaction.connection
        check_allowed(connection, by and by.name, Action.MANAGE)
        roles = registered_roles(connection)
        if roles.get(name) == role:
            return
        _check_admin_left({**roles, name: role})
        transaction.record("reader.registered", {"reader": name, "role": role, **_signed(by)})


def remove_reader(store: Store, name: str, *, by: Actor | None) -> None:
    """Take a reader's role away and free what the reader holds; verdicts and versions stay.

    Raises:
        AccessError: Who says so is no admin.
        UsageError: Nobody of that name is registered, or no admin would be left.
    """
    with store.transaction() as transaction:
        connection = transaction.connection
        check_allowed(connection, by and by.name, Action.MANAGE)
        roles = registered_roles(connection)
        if name not in roles:
            known = ", ".join(sorted(roles)) or "none"
            raise UsageError(f"{name!r} is no registered reader; registered are: {known}")
        del roles[name]
        _check_admin_left(roles)
        transaction.record("reader.removed", {"reader": name, **_signed(by)})
        connection.execute("DELETE FROM claims WHERE reader = ?", [name])


def _check_admin_left(roles: dict[str, str]) -> None:
    if roles and Role.ADMIN not in roles.values():
        raise UsageError(
            "registered readers need an admin among them, or nobody could change their roles; "
            f"of {', '.join(sorted(roles))} none would be one: register an admin first"
        )


def _signed(by: Actor | None) -> dict[str, object]:
    return {"by": by and by.name, "verified": by is not None and by.verified}
