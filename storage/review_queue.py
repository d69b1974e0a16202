"""What the queue page shows: the current queue with the state of each item, one page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import duckdb

from storage.open_readings import UNREAD

Connection = duckdb.DuckDBPyConnection

Status = Literal["open", "mine", "held", "deferred", "done"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFilter:
    """Which items of the queue are shown.

    Attributes:
        structures: Only these; None for all.
        statuses: Only items in one of these states.
        kind: ``present`` or ``possibly_missed``; None for both.
        reason: Only items whose reason holds this text, in any case.
    """

    structures: tuple[str, ...] | None = None
    statuses: tuple[Status, ...] = ("open", "mine", "deferred")
    kind: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One queued structure of one case, as a reader sees it.

    Attributes:
        position: Rank in its kind, 1 is worst.
        status: ``done``: judged. ``held``: another reader has it open. ``mine``: this reader has.
            ``deferred``: this reader could not decide; for everybody else it stays ``open``.
        holder: Who has it open, whatever the status.
        verdict: The last verdict of the reviews, if there is one.
        verdict_by: Who gave it.
    """

    position: int
    kind: str
    case_id: str
    structure: str
    risk: float
    reason: str
    prediction_id: str
    status: Status
    holder: str | None
    verdict: str | None
    verdict_by: str | None


@dataclass(frozen=True, slots=True)
class QueuePage:
    """One page of the queue.

    Attributes:
        items: The page's items.
        matching: How many items pass the filter, on all pages.
        counts: Items by status in the whole queue, filter or not.
        ranked_at: When the queue was ranked, UTC; None before the first triage.
        readings: Independent readings that wait for this reader.
    """

    items: tuple[ReviewItem, ...]
    matching: int
    counts: dict[Status, int]
    ranked_at: datetime | None
    readings: int


# Positions beyond the page's end that are looked through before the whole queue is: 2,048 rows are
# what DuckDB reads at once, and of 160,000 items they cost a third.
_LOOK_AHEAD = 2048
_EVERY_POSITION = 2**31 - 1

# A rejected mask is done until a newer prediction brings another one. What this reader is to read
# without seeing the AI's mask is left out: a look at it here would spoil that reading.
_ITEMS = f"""
    WITH {UNREAD},
    live AS (SELECT case_id, structure, reader FROM claims WHERE expires_at > $now),
    undecided AS (
        SELECT DISTINCT case_id, structure FROM verdicts
        WHERE reading = 'review' AND verdict = 'defer' AND reader = $reader
    ),
    items AS (
        SELECT q.position, q.kind, q.case_id, q.structure, q.risk, q.reason, q.prediction_id,
               CASE
                   WHEN d.verdict IN ('accept', 'correct', 'absent') THEN 'done'
                   WHEN d.verdict = 'reject'
                        AND (d.base_version LIKE 'v-%' OR d.base_version = q.prediction_id)
                        THEN 'done'
                   WHEN l.reader <> $reader THEN 'held'
                   WHEN l.reader = $reader THEN 'mine'
                   WHEN d.verdict = 'defer' AND o.case_id IS NOT NULL THEN 'deferred'
                   ELSE 'open'
               END AS status,
               l.reader AS holder, d.verdict, d.reader AS verdict_by, q.ranked_at
        FROM current_queue q
        LEFT JOIN live l ON l.case_id = q.case_id AND l.structure = q.structure
        LEFT JOIN current_verdicts d ON d.case_id = q.case_id AND d.structure = q.structure
        LEFT JOIN undecided o ON o.case_id = q.case_id AND o.structure = q.structure
        ANTI JOIN unread u ON u.case_id = q.case_id AND u.structure = q.structure
    )
"""  # noqa: S608 literals of storage

_MATCHES = """
    list_contains($statuses, status)
    AND ($structures IS NULL OR list_contains($structures, structure))
    AND ($kind IS NULL OR kind = $kind)
    AND ($reason = '' OR contains(lower(reason), lower($reason)))
"""

_COLUMNS = (
    "position, kind, case_id, structure, risk, reason, prediction_id, status, holder, verdict, "
    "verdict_by"
)


def queue_page(
    connection: Connection,
    wanted: QueueFilter,
    *,
    reader: str,
    now: datetime,
    limit: int,
    offset: int = 0,
) -> QueuePage:
    """Return one page of the queue: what is present first, then what was possibly missed.

    Args:
        connection: An open index.
        wanted: The filter.
        reader: Who looks; states are seen with this reader's eyes.
        now: The time, UTC without a zone; claims that expired by then hold nothing.
        limit: Items on the page.
        offset: Matching items on the pages before.
    """
    filters = {
        "reader": reader,
        "now": now,
        "statuses": list(wanted.statuses),
        "structures": None if wanted.structures is None else list(wanted.structures),
        "kind": wanted.kind,
        "reason": wanted.reason.strip(),
    }
    # Asked twice rather than kept in a temporary table, which took twice as long to fill.
    items = _page_items(connection, filters, limit=limit, offset=offset)
    counted = connection.execute(
        f"""{_ITEMS} SELECT status, count(*), max(ranked_at), count(*) FILTER (WHERE {_MATCHES})
            FROM items GROUP BY status""",  # noqa: S608 literals of storage
        filters,
    ).fetchall()
    by_status = {row[0]: row[1] for row in counted}
    readings = connection.execute(
        f"WITH {UNREAD} SELECT count(*) FROM unread",  # noqa: S608 literals of storage
        {"reader": reader},
    ).fetchone()
    return QueuePage(
        items=items,
        matching=sum(row[3] for row in counted),
        counts={status: by_status.get(status, 0) for status in STATUSES},
        ranked_at=max((row[2] for row in counted), default=None),
        readings=readings[0] if readings else 0,
    )


def _page_items(
    connection: Connection, filters: Mapping[str, object], *, limit: int, offset: int
) -> tuple[ReviewItem, ...]:
    """Return the page's items, looked for among the first positions where those suffice.

    They suffice when they fill the page with what is present: the rest comes later.
    """
    items: tuple[ReviewItem, ...] = ()
    for last in (offset + limit + _LOOK_AHEAD, _EVERY_POSITION):
        rows = connection.execute(
            f"""{_ITEMS} SELECT {_COLUMNS} FROM items WHERE {_MATCHES} AND position <= $last
                ORDER BY kind = 'possibly_missed', position, case_id
                LIMIT $limit OFFSET $offset""",  # noqa: S608 literals of storage
            {**filters, "limit": limit, "offset": offset, "last": last},
        ).fetchall()
        items = tuple(ReviewItem(*row) for row in rows)
        if items and len(items) == limit and items[-1].kind == "present":
            break
    return items


def items_of_case(
    connection: Connection, case_id: str, *, reader: str, now: datetime
) -> list[ReviewItem]:
    """Return the queued items of one case, worst first; see ``queue_page``."""
    rows = connection.execute(
        f"""{_ITEMS} SELECT {_COLUMNS} FROM items WHERE case_id = $case
            ORDER BY kind = 'possibly_missed', position""",  # noqa: S608 literals of storage
        {"reader": reader, "now": now, "case": case_id},
    ).fetchall()
    return [ReviewItem(*row) for row in rows]


def next_open_case(
    connection: Connection, *, reader: str, now: datetime, after: str | None = None
) -> str | None:
    """Return the case of the worst item that is open to this reader, other than ``after``."""
    row = connection.execute(
        f"""{_ITEMS} SELECT case_id FROM items
            WHERE status IN ('open', 'mine') AND ($after IS NULL OR case_id <> $after)
            ORDER BY kind = 'possibly_missed', position LIMIT 1""",  # noqa: S608 literals of storage
        {"reader": reader, "now": now, "after": after},
    ).fetchone()
    return row[0] if row else None
