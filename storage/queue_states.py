"""Where each queued item stands, with the eyes of one reader."""

from __future__ import annotations

from datetime import datetime

import duckdb

from storage.blind_items import OPEN_BLIND, RESERVED
from storage.open_readings import UNREAD
from storage.roles import registered_roles

Connection = duckdb.DuckDBPyConnection

# A returned verdict is given again by its reader, as long as it is kept for that reader who is
# still here, then by anybody.
_KEPT_FOR = """
    CASE WHEN r.kept_until > $now AND (len($registered) = 0 OR list_contains($registered, d.reader))
         THEN d.reader END
"""

_EMPTY = """
    CREATE OR REPLACE TEMP TABLE item_facts (
        case_id VARCHAR, structure VARCHAR, claimed_by VARCHAR, expires_at TIMESTAMP,
        kept_for VARCHAR, returned_by VARCHAR, checked VARCHAR, verdict VARCHAR,
        verdict_by VARCHAR, base_version VARCHAR, is_undecided BOOLEAN, slot INTEGER,
        prediction_id VARCHAR, is_unread BOOLEAN
    )
"""
# What this reader is to read without seeing the AI's mask is left out of the queue: a look at it
# here would spoil that reading. A blind item of another reader is kept for that one. What this
# reader was checked on is done, as a review would be.
_FACTS = f"""
    WITH {UNREAD}, {OPEN_BLIND},
    live AS (SELECT case_id, structure, reader, expires_at FROM claims WHERE expires_at > $now),
    undecided AS (
        SELECT DISTINCT case_id, structure FROM verdicts
        WHERE reading IN ('review', 'check') AND verdict = 'defer' AND reader = $reader
    ),
    {RESERVED},
    checked AS (
        SELECT case_id, structure, last(verdict ORDER BY seq) AS verdict FROM verdicts
        WHERE reading = 'check' AND verdict <> 'defer' AND reader = $reader
        GROUP BY case_id, structure
    ),
    judged AS MATERIALIZED (
        SELECT case_id, structure, verdict, reader, base_version, verdict_id FROM current_verdicts
    ),
    touched AS (
        SELECT case_id, structure FROM live UNION SELECT case_id, structure FROM judged
        UNION SELECT case_id, structure FROM reserved UNION SELECT case_id, structure FROM checked
        UNION SELECT case_id, structure FROM blind UNION SELECT case_id, structure FROM unread
    ),
    returned AS (
        SELECT verdict_id, reviewer, kept_until FROM current_decisions WHERE outcome = 'returned'
    )
    SELECT t.case_id, t.structure, l.reader AS claimed_by, l.expires_at,
           coalesce(k.reader, {_KEPT_FOR}) AS kept_for, r.reviewer AS returned_by,
           c.verdict AS checked, d.verdict, d.reader AS verdict_by, d.base_version,
           o.case_id IS NOT NULL AS is_undecided, b.slot, b.prediction_id,
           u.case_id IS NOT NULL AS is_unread
    FROM touched t
    LEFT JOIN live l ON l.case_id = t.case_id AND l.structure = t.structure
    LEFT JOIN judged d ON d.case_id = t.case_id AND d.structure = t.structure
    LEFT JOIN undecided o ON o.case_id = t.case_id AND o.structure = t.structure
    LEFT JOIN returned r ON r.verdict_id = d.verdict_id
    LEFT JOIN reserved k ON k.case_id = t.case_id AND k.structure = t.structure
    LEFT JOIN checked c ON c.case_id = t.case_id AND c.structure = t.structure
    LEFT JOIN blind b ON b.case_id = t.case_id AND b.structure = t.structure
    LEFT JOIN unread u ON u.case_id = t.case_id AND u.structure = t.structure
"""  # noqa: S608 literals of storage


def gather_facts(connection: Connection, *, reader: str, now: datetime) -> None:
    """Put what is known of items into the temporary table ``item_facts``, for ``queued_items``.

    It is small, since few items were touched, and takes a dozen joins: so it is made once, and the
    whole queue is joined with it alone.

    Args:
        connection: An open index.
        reader: Whose claims, verdicts, readings and blind items are "mine".
        now: UTC without a zone; claims that expired by then hold nothing.
    """
    connection.execute(_EMPTY)
    connection.execute(
        f"INSERT INTO item_facts {_FACTS}",
        {"reader": reader, "now": now, "registered": list(registered_roles(connection))},
    )


# A rejected mask is done until a newer prediction brings another one. A blind item of this reader
# says nothing but its place, and looks the same in every arm.
def queued_items(among: str = "true", *, queue: str = "current_queue") -> str:
    """Return the start of a query: the table ``items`` of ``$reader``, after ``gather_facts``.

    Args:
        among: A condition in SQL on the rows of the queue.
        queue: The queue, or a table with a part of its rows.
    """
    return f"""
    WITH items AS (
        SELECT q.position, q.kind, q.case_id, q.structure, q.risk, q.reason, q.prediction_id,
               CASE
                   WHEN f.case_id IS NULL THEN 'open'
                   WHEN f.checked IS NOT NULL THEN 'done'
                   WHEN f.returned_by IS NULL AND f.verdict IN ('accept', 'correct', 'absent')
                        THEN 'done'
                   WHEN f.returned_by IS NULL AND f.verdict = 'reject'
                        AND (f.base_version LIKE 'v-%' OR f.base_version = q.prediction_id)
                        THEN 'done'
                   WHEN coalesce(f.claimed_by, f.kept_for) <> $reader THEN 'held'
                   WHEN f.claimed_by = $reader THEN 'mine'
                   WHEN f.verdict = 'defer' AND f.is_undecided THEN 'deferred'
                   ELSE 'open'
               END AS status,
               coalesce(f.claimed_by, f.kept_for) AS holder,
               coalesce(f.checked, f.verdict) AS verdict,
               CASE WHEN f.checked IS NULL THEN f.verdict_by ELSE $reader END AS verdict_by,
               CASE WHEN f.checked IS NULL THEN f.returned_by END AS returned_by,
               f.expires_at AS held_until, q.predicted_dsc, q.dsc_low, q.dsc_high, q.presence,
               q.minutes, q.case_place
        FROM (SELECT * FROM {queue} WHERE {among}) q
        LEFT JOIN item_facts f ON f.case_id = q.case_id AND f.structure = q.structure
        WHERE f.slot IS NULL AND NOT coalesce(f.is_unread, false)
        UNION ALL
        SELECT f.slot, 'blind', f.case_id, f.structure, NULL, '', f.prediction_id,
               CASE
                   WHEN f.claimed_by <> $reader THEN 'held'
                   WHEN f.claimed_by = $reader THEN 'mine'
                   WHEN f.is_undecided THEN 'deferred'
                   ELSE 'open'
               END,
               f.claimed_by, NULL, NULL, NULL, f.expires_at, NULL, NULL, NULL, NULL, NULL, NULL
        FROM item_facts f WHERE f.slot IS NOT NULL AND NOT f.is_unread
    )
"""  # noqa: S608 literals of storage
