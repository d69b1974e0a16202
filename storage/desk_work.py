"""What waits for one reader beside the queue: returned verdicts, and verdicts to approve."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from storage.approvals import ReturnedItem, Waiting, returned_items, waiting_for_approval
from storage.roles import Action, is_allowed, registered_roles


@dataclass(frozen=True, slots=True)
class DeskWork:
    """What waits, and in which role.

    Attributes:
        role: The reader's; None while nobody is registered and everybody may do everything.
        waiting: Verdicts of others to approve or return; None where that is not this reader's to
            do, or no second reader is asked for.
    """

    role: str | None
    returned: tuple[ReturnedItem, ...]
    waiting: Waiting | None


def desk_work(
    connection: duckdb.DuckDBPyConnection,
    *,
    reader: str,
    four_eyes: bool,
    limit: int,
    offset: int = 0,
) -> DeskWork:
    """Return what waits for a reader.

    Args:
        connection: An open index.
        reader: Who looks.
        four_eyes: Whether verdicts are to be approved in this workspace.
        limit: So many of the verdicts to approve at most.
        offset: How many older ones of these to leave out.
    """
    roles = registered_roles(connection)
    approves = four_eyes and is_allowed(roles, reader, Action.APPROVE)
    waiting = None
    if approves:
        waiting = waiting_for_approval(connection, reader=reader, limit=limit, offset=offset)
    return DeskWork(roles.get(reader), returned_items(connection, reader=reader), waiting)
