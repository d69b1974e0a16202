"""The ranked queue: one snapshot a triage run, written whole, read by page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import duckdb

from storage.predictions import CONSENSUS
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One structure of one case that waits for a look.

    Attributes:
        position: 1 is looked at first; counts anew for each kind.
        kind: ``present`` or ``possibly_missed``.
        risk: What the policy ranks by, higher is worse.
        reason: Why, in words.
    """

    position: int
    kind: str
    case_id: str
    structure: str
    risk: float
    reason: str


@dataclass(frozen=True, slots=True)
class QueuedPrediction:
    """A queue entry with the prediction whose masks and maps it is about."""

    entry: QueueEntry
    prediction_id: str


@dataclass(frozen=True, slots=True)
class ScoreRecord:
    """The stored scores of one structure of one case by one member (or ``committee``)."""

    prediction_id: str
    case_id: str
    member: str
    structure: str
    volume_ml: float | None
    entropy_mean: float | None
    entropy_border: float | None
    self_consistency: float | None
    pairwise_dice: float | None
    inconsistency: float | None
    overlap_exclusive: float | None
    max_probability: float | None
    removed_ml: float | None


def write_queue(
    store: Store, entries: Sequence[QueueEntry], *, committee_id: str, policy: str
) -> None:
    """Commit a snapshot of the queue in one transaction; it replaces the one before."""
    items = store.put_json({"items": [asdict(entry) for entry in entries]})
    with store.transaction() as transaction:
        transaction.record(
            "queue.ranked", {"committee_id": committee_id, "policy": policy, "items": items}
        )


def read_queue(
    connection: Connection, *, kind: str, limit: int, structure: str | None = None
) -> list[QueuedPrediction]:
    """Return the first entries of the current snapshot."""
    rows = connection.execute(
        """SELECT position, kind, case_id, structure, risk, reason, prediction_id
           FROM current_queue WHERE kind = $kind AND ($structure IS NULL OR structure = $structure)
           ORDER BY position LIMIT $limit""",
        {"kind": kind, "structure": structure, "limit": limit},
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


def scores_of(connection: Connection, committee_id: str) -> list[ScoreRecord]:
    """Return the scores of every case that a committee closed, its own row first per structure."""
    rows = connection.execute(
        """SELECT s.prediction_id, c.case_id, s.member, s.structure, s.volume_ml, s.entropy_mean,
                  s.entropy_border, s.self_consistency, s.pairwise_dice, s.inconsistency,
                  s.overlap_exclusive, s.max_probability, s.removed_ml
           FROM closed_cases c JOIN scores s ON s.prediction_id = c.prediction_id
           WHERE c.committee_id = ?
           ORDER BY c.seq, s.structure, s.member <> ?, s.member""",
        [committee_id, CONSENSUS],
    ).fetchall()
    return [ScoreRecord(*row) for row in rows]
