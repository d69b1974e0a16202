"""Labels that can stand beside blind items, alike in what a reader sees before the verdict."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import duckdb

from storage.blind_items import OPEN_BLIND, Key
from storage.predictions import CONSENSUS

Connection = duckdb.DuckDBPyConnection

Look = Literal["present", "possibly_missed", "unqueued"]
"""With a mask; without one, but in the queue; without one, and not in the queue either."""

_HIDDEN = "(SELECT unnest($cases) AS case_id, unnest($hidden) AS structure)"
_JUDGED = """(
    SELECT case_id, structure FROM verdicts WHERE reading = 'review' AND verdict <> 'defer'
)"""
_QUEUED = f"""
    SELECT q.case_id, q.structure FROM current_queue q
    SEMI JOIN current_predictions p ON p.case_id = q.case_id
    ANTI JOIN {_JUDGED} v ON v.case_id = q.case_id AND v.structure = q.structure
    ANTI JOIN {_HIDDEN} h ON h.case_id = q.case_id AND h.structure = q.structure
    WHERE q.kind = $look AND (len($structures) = 0 OR list_contains($structures, q.structure))
    ORDER BY q.position, q.case_id LIMIT $limit
"""  # noqa: S608 literals of storage
_UNQUEUED = f"""
    SELECT p.case_id, s.structure FROM current_predictions p
    JOIN scores s ON s.prediction_id = p.prediction_id AND s.member = '{CONSENSUS}'
    ANTI JOIN masks m ON m.prediction_id = p.prediction_id AND m.structure = s.structure
                     AND m.member = '{CONSENSUS}'
    ANTI JOIN current_queue q ON q.case_id = p.case_id AND q.structure = s.structure
    ANTI JOIN {_JUDGED} v ON v.case_id = p.case_id AND v.structure = s.structure
    ANTI JOIN {_HIDDEN} h ON h.case_id = p.case_id AND h.structure = s.structure
    WHERE len($structures) = 0 OR list_contains($structures, s.structure)
    ORDER BY md5(concat_ws('/', CAST($seed AS VARCHAR), p.case_id, s.structure)) LIMIT $limit
"""  # noqa: S608 literals of storage


def looks_of(connection: Connection, keys: Collection[Key]) -> dict[Key, Look]:
    """Return how each label looks before it is judged, by the newest prediction."""
    rows = connection.execute(
        f"""SELECT k.case_id, k.structure, CASE WHEN m.object IS NOT NULL THEN 'present'
                   WHEN q.case_id IS NOT NULL THEN 'possibly_missed' ELSE 'unqueued' END
            FROM (SELECT unnest($cases) AS case_id, unnest($structures) AS structure) k
            LEFT JOIN current_predictions p ON p.case_id = k.case_id
            LEFT JOIN masks m ON m.prediction_id = p.prediction_id AND m.structure = k.structure
                             AND m.member = '{CONSENSUS}'
            LEFT JOIN current_queue q ON q.case_id = k.case_id AND q.structure = k.structure""",  # noqa: S608 literals of storage
        {"cases": [key[0] for key in keys], "structures": [key[1] for key in keys]},
    ).fetchall()
    return {(case_id, structure): look for case_id, structure, look in rows}


def unjudged_alike(
    connection: Connection,
    look: Look,
    structures: Sequence[str],
    *,
    hidden: Collection[Key],
    limit: int,
    seed: int,
) -> list[Key]:
    """Return labels of one look that nobody judged; deferred ones are not judged, as in an audit.

    Args:
        connection: An open index.
        look: Those of the queue come in its order, the others in a random one.
        structures: Only these; all when empty.
        hidden: What is left out.
        limit: How many at most.
        seed: Of the random order.
    """
    given = {
        "structures": list(structures),
        "cases": [key[0] for key in hidden],
        "hidden": [key[1] for key in hidden],
        "limit": limit,
    }
    if look == "unqueued":
        rows = connection.execute(_UNQUEUED, {**given, "seed": seed}).fetchall()
    else:
        rows = connection.execute(_QUEUED, {**given, "look": look}).fetchall()
    return [(case_id, structure) for case_id, structure in rows]


def decoy_cases(connection: Connection, reader: str) -> set[str]:
    """Return the cases in which a decoy waits for a reader already."""
    rows = connection.execute(
        f"""WITH {OPEN_BLIND} SELECT DISTINCT case_id FROM open_blind
            WHERE reader = $reader AND arm = 'ranked'""",  # noqa: S608 literals of storage
        {"reader": reader},
    ).fetchall()
    return {case_id for (case_id,) in rows}
