"""Roles: which registered reader may do what; everything that is not listed is refused."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import duckdb

from configs.errors import AccessError

Connection = duckdb.DuckDBPyConnection


class Role(StrEnum):
    """What a registered reader is."""

    ANNOTATOR = "annotator"
    REVIEWER = "reviewer"
    ADMIN = "admin"


class Action(StrEnum):
    """What can be done to labels and by whom they are made; the value is it in words."""

    LOOK = "look at queue and cases"
    CLAIM = "open items to judge them"
    JUDGE = "give verdicts"
    READ = "read independently"
    APPROVE = "approve or return verdicts"
    ASSIGN = "assign readings"
    RELEASE = "freeze releases"
    MANAGE = "add or remove readers"


_ANNOTATE = frozenset({Action.LOOK, Action.CLAIM, Action.JUDGE, Action.READ})
_REVIEW = _ANNOTATE | {Action.APPROVE, Action.ASSIGN}

ALLOWED: Mapping[str, frozenset[Action]] = {
    Role.ANNOTATOR: _ANNOTATE,
    Role.REVIEWER: _REVIEW,
    Role.ADMIN: _REVIEW | {Action.RELEASE, Action.MANAGE},
}
"""Role -> what it may do; a role that is not here, as of a newer AtlasLoop, may do nothing."""


def check_allowed(connection: Connection, name: str | None, action: Action) -> None:
    """Raise AccessError unless somebody may do something; run under the guard of the write.

    While no reader is registered everybody may do everything: the workspace is open.

    Args:
        connection: An open index.
        name: Who acts; None where nobody is named.
        action: What is to be done.

    Raises:
        AccessError: Somebody is registered, and the name is not, or its role does not allow it.
    """
    roles = registered_roles(connection)
    if not roles:
        return
    if name is None:
        raise AccessError(
            f"this workspace has registered readers, so whoever wants to {action} says who it is, "
            "and nobody was named; give a name or set review.reader in atlasloop.toml"
        )
    if name not in roles:
        raise AccessError(
            f"only registered readers may {action}, and {name!r} is none; an admin adds readers "
            "with `atlasloop readers add`"
        )
    if action not in ALLOWED.get(roles[name], frozenset()):
        able = ", ".join(role for role, actions in ALLOWED.items() if action in actions)
        raise AccessError(
            f"to {action} takes the role {able}, and {name!r} has {roles[name]}; an admin changes "
            "roles with `atlasloop readers add`"
        )


def is_allowed(roles: Mapping[str, str], name: str, action: Action) -> bool:
    """Whether somebody may do something, by ``registered_roles``: what a page may offer."""
    return not roles or action in ALLOWED.get(roles.get(name, ""), frozenset())


def registered_roles(connection: Connection) -> dict[str, str]:
    """Return name -> role of the registered readers; empty while the workspace is open to all."""
    return dict(connection.execute("SELECT reader, role FROM current_readers").fetchall())
