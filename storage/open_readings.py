"""What a reader is to read without seeing the AI's mask, and has not read yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from storage.cases import CaseRow, case_row
from storage.roles import Action, check_allowed

Connection = duckdb.DuckDBPyConnection

UNREAD = """
    unread AS (
        SELECT a.case_id, a.structure, a.assigned_at, coalesce(v.given, 0) AS given FROM (
            SELECT case_id, structure, count(*) AS assigned, min(recorded_at) AS assigned_at
            FROM assignments WHERE reader = $reader GROUP BY case_id, structure
        ) a
        LEFT JOIN (
            SELECT case_id, structure, count(*) AS given FROM verdicts
            WHERE reader = $reader AND reading = 'independent' AND verdict <> 'defer'
            GROUP BY case_id, structure
        ) v ON v.case_id = a.case_id AND v.structure = a.structure
        WHERE a.assigned > coalesce(v.given, 0)
    )
"""
"""The table ``unread`` of ``$reader``, for a WITH clause."""


@dataclass(frozen=True, slots=True)
class OpenReading:
    """One structure of one case that waits to be read; it holds nothing that a model said.

    Attributes:
        number: Readings of it that this reader gave before, so that a second one starts anew.
    """

    case_id: str
    structure: str
    assigned_at: datetime
    number: int = 0


@dataclass(frozen=True, slots=True)
class ReadingList:
    """A reader's open readings, with the CT of the chosen one.

    Attributes:
        case: The CT of the wanted reading, else of the first; None when nothing is to be read.
    """

    readings: tuple[OpenReading, ...]
    case: CaseRow | None


def open_readings(
    connection: Connection, *, reader: str, case_id: str | None = None
) -> ReadingList:
    """Return what a reader has to read, in an order that says nothing of why it was chosen.

    Args:
        connection: An open index.
        reader: Who reads.
        case_id: The case whose CT is wanted; another when no open reading is about it.

    Raises:
        AccessError: The reader is not registered where others are.
    """
    check_allowed(connection, reader, Action.READ)
    rows = connection.execute(
        f"WITH {UNREAD} SELECT case_id, structure, assigned_at, given FROM unread "  # noqa: S608 literals of storage
        "ORDER BY md5(concat_ws('/', $reader, case_id, structure))",
        {"reader": reader},
    ).fetchall()
    readings = tuple(OpenReading(*row) for row in rows)
    cases = [one.case_id for one in readings]
    wanted = case_id if case_id in cases else next(iter(cases), None)
    return ReadingList(readings, None if wanted is None else case_row(connection, wanted))
