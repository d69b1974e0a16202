"""The ranked queue: one snapshot a triage run, written whole, read by page."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from storage.canonical_json import JsonObject
from storage.queue_table import TYPES, QueueColumns, packed_queue
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One structure of one case that waits for a look.

    Attributes:
        position: 1 is looked at first, whatever the kind.
        kind: ``present`` or ``possibly_missed``.
        risk: What the policy ranks by, higher is worse, in [0, 1].
        reason: Why, in words.
        predicted_dsc, dsc_low, dsc_high: With what a reader would draw, if the structure is there,
            and its interval; None where nothing is known.
        presence: Probability that the structure is there.
        minutes: Predicted for this label, the opening of its CT left out.
        gain: Expected gain in DSC.
    """

    position: int
    kind: str
    case_id: str
    structure: str
    risk: float
    reason: str
    predicted_dsc: float | None = None
    dsc_low: float | None = None
    dsc_high: float | None = None
    presence: float | None = None
    minutes: float | None = None
    gain: float | None = None


@dataclass(frozen=True, slots=True)
class QueuedPrediction:
    """A queue entry with the prediction whose masks and maps it is about."""

    entry: QueueEntry
    prediction_id: str


def write_queue(
    store: Store, entries: Sequence[QueueEntry], *, committee_id: str, policy: str
) -> None:
    """Commit a few entries as a snapshot of the queue; it replaces the one before."""
    columns = {
        name: np.array([getattr(entry, name) for entry in entries], TYPES[name][0])
        for name in TYPES
    }
    write_snapshot(store, columns, committee_id=committee_id, facts={"policy": policy})


def write_snapshot(
    store: Store, columns: QueueColumns, *, committee_id: str, facts: JsonObject
) -> None:
    """Commit a snapshot of the queue in one transaction; it replaces the one before.

    Args:
        store: The workspace.
        columns: A field of ``QueueEntry`` -> its values, shape (N,); NaN is no number.
        committee_id: Whose predictions were ranked.
        facts: How they were ranked; ``policy`` is its name.
    """
    table = store.objects.put(packed_queue(columns))
    with store.transaction() as transaction:
        transaction.record(
            "queue.ranked",
            {
                "committee_id": committee_id,
                "policy": facts["policy"],
                "table": table,
                "facts": facts,
            },
        )


def read_queue(
    connection: Connection,
    *,
    kind: str,
    limit: int,
    structure: str | None = None,
    hidden: Collection[tuple[str, str]] = (),
) -> list[QueuedPrediction]:
    """Return the first entries of the current snapshot.

    Args:
        connection: An open index.
        kind: ``present`` or ``possibly_missed``.
        limit: How many at most.
        structure: Only this one.
        hidden: Case and structure of what is left out; the others are counted without a gap, since
            a gap would tell where it stands.
    """
    rows = connection.execute(
        """WITH shown AS (
               SELECT * FROM current_queue q ANTI JOIN (
                   SELECT unnest($cases) AS case_id, unnest($structures) AS structure
               ) h ON h.case_id = q.case_id AND h.structure = q.structure
           ), counted AS (
               SELECT * REPLACE (CASE WHEN len($cases) = 0 THEN position ELSE
                      row_number() OVER (ORDER BY position, kind) END AS position) FROM shown
           )
           SELECT position, kind, case_id, structure, risk, reason, predicted_dsc, dsc_low,
                  dsc_high, presence, minutes, gain, prediction_id
           FROM counted WHERE kind = $kind AND ($structure IS NULL OR structure = $structure)
           ORDER BY position LIMIT $limit""",
        {
            "kind": kind,
            "structure": structure,
            "limit": limit,
            "cases": [case_id for case_id, _ in hidden],
            "structures": [name for _, name in hidden],
        },
    ).fetchall()
    return [QueuedPrediction(QueueEntry(*row[:-1]), row[-1]) for row in rows]


def queue_size(connection: Connection) -> dict[str, int]:
    """Return how many entries of each kind the current snapshot has."""
    rows = connection.execute("SELECT kind, count(*) FROM current_queue GROUP BY kind").fetchall()
    return dict(sorted(rows))


def is_queue_stale(connection: Connection, committee_id: str) -> bool:
    """Whether a committee closed a case after its queue was ranked last."""
    row = connection.execute(
        """SELECT (SELECT coalesce(max(seq), 0) FROM closed_cases WHERE committee_id = $committee)
                > (SELECT coalesce(max(seq), 0) FROM queue_snapshots
                   WHERE committee_id = $committee)""",
        {"committee": committee_id},
    ).fetchone()
    return bool(row and row[0])


def ranked_at(connection: Connection) -> datetime | None:
    """Return when the current snapshot was made, UTC; ``None`` before the first triage."""
    row = connection.execute("SELECT max(recorded_at) FROM queue_snapshots").fetchone()
    return row[0] if row else None


def unjudged_columns(connection: Connection) -> dict[str, npt.NDArray[Any]]:
    """Return case, minutes and gain of what nobody judged, in order, shape (N,); NaN for NULL."""
    found: dict[str, Any] = connection.execute(
        """SELECT q.case_id, q.minutes, q.gain FROM current_queue q
           ANTI JOIN current_verdicts v ON v.case_id = q.case_id AND v.structure = q.structure
           ORDER BY q.position, q.kind"""
    ).fetchnumpy()
    numbers = {
        name: np.ma.filled(found[name].astype(float), np.nan) for name in ("minutes", "gain")
    }
    return {"case_id": np.asarray(found["case_id"], str), **numbers}


def ranked_how(connection: Connection) -> JsonObject:
    """Return how the current snapshot was ranked; empty before the first, and of older ones."""
    row = connection.execute(
        "SELECT facts FROM queue_snapshots ORDER BY seq DESC LIMIT 1"
    ).fetchone()
    return json.loads(row[0]) if row and row[0] else {}
