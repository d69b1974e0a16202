"""Approval: a second reader approves a verdict or returns it, and what waits for that.

Nobody approves own work: a verdict that one gave, and another's verdict whose label, or a
neighbour's that changed along, is a mask that one had made before: drawn, accepted, or left over by
a correction that took voxels from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

import duckdb

from configs.errors import AccessError, ConflictError, UsageError
from storage.blind_items import OPEN_BLIND
from storage.open_readings import UNREAD
from storage.readers import Actor
from storage.roles import Action, check_allowed, registered_roles
from storage.store import Store, Transaction

Connection = duckdb.DuckDBPyConnection

Outcome = Literal["approved", "returned"]
ReviewState = Literal["submitted", "approved", "returned", "deferred"]

_LONGEST_COMMENT = 2000

# The table `own` of verdicts that are the work of $reader, of $case or of all cases when NULL.
_OWN = """
    own AS (
        SELECT verdict_id FROM verdicts
        WHERE reader = $reader AND ($case IS NULL OR case_id = $case)
        UNION
        SELECT w.verdict_id FROM label_versions w
        JOIN (
            SELECT case_id, structure, object, seq FROM label_versions
            WHERE reading = 'review' AND source = 'reader:' || $reader
              AND ($case IS NULL OR case_id = $case)
        ) m ON m.case_id = w.case_id AND m.structure = w.structure
        WHERE m.seq < w.seq AND m.object IS NOT DISTINCT FROM w.object
    )
"""
# Returned verdicts that no newer review has taken the place of; asked from the few decisions.
_RETURNED = """
    SELECT v.verdict_id, v.case_id, v.structure, v.reader, a.reviewer, a.comment, a.kept_until,
           a.recorded_at AS decided_at
    FROM current_decisions a JOIN verdicts v ON v.verdict_id = a.verdict_id
    ANTI JOIN verdicts n ON n.case_id = v.case_id AND n.structure = v.structure
                        AND n.reading = 'review' AND n.seq > v.seq
    WHERE a.outcome = 'returned'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a reviewer says of a verdict.

    Attributes:
        verdict_id: The last review of its structure.
        seen: The decision on it that stood when the reviewer looked; None where there was none.
        comment: What is to be done; a return needs one, an approval has none. It is stored as a
            private object, which the journal names by hash.
    """

    verdict_id: str
    outcome: Outcome
    by: Actor
    seen: str | None = None
    comment: str = ""

    def __post_init__(self) -> None:
        if self.outcome not in get_args(Outcome):
            raise UsageError(f"a decision is one of {get_args(Outcome)}, got {self.outcome!r}")
        if (self.outcome == "returned") != bool(self.comment.strip()):
            raise UsageError(
                f"a return, and only it, says what is to be done; got {self.outcome} with the "
                f"comment {self.comment!r}"
            )
        if len(self.comment) > _LONGEST_COMMENT:
            raise UsageError(
                f"a comment has at most {_LONGEST_COMMENT} characters, got {len(self.comment)}"
            )


@dataclass(frozen=True, slots=True)
class Submission:
    """A verdict that waits for a second reader.

    Attributes:
        voxels_changed: By a correction; 0 for other verdicts.
    """

    verdict_id: str
    case_id: str
    structure: str
    verdict: str
    reader: str
    tags: tuple[str, ...]
    voxels_changed: int
    given_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one reader's approval.

    Attributes:
        items: Some of it, oldest first.
        count: How much there is.
        offset: So many older ones stand before the items.
    """

    items: tuple[Submission, ...]
    count: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class ReturnedItem:
    """A verdict that its reader is to give again.

    Attributes:
        kept_until: Until then it is nobody else's.
    """

    case_id: str
    structure: str
    reviewer: str
    comment: str
    returned_at: datetime
    kept_until: datetime


@dataclass(frozen=True, slots=True)
class ReturnedVerdict:
    """A returned verdict that was not given again yet, whoever gave it."""

    verdict_id: str
    reader: str
    item: ReturnedItem


@dataclass(frozen=True, slots=True)
class ApprovalCounts:
    """How many verdicts, of all readers, wait: for a second reader, or to be given again."""

    to_approve: int
    returned: int


def decide(store: Store, decision: Decision, *, now: datetime) -> str:
    """Commit a reviewer's decision; it covers all versions that the verdict made.

    The same decision by the same reviewer counts once. Approved may be returned later, and the
    other way round, as long as the verdict is the last on its structure.

    Args:
        store: The workspace.
        decision: What is said.
        now: From when a returned verdict is kept for its reader, UTC without a zone.

    Returns:
        The decision's id.

    Raises:
        AccessError: The reviewer's role does not allow it, or it is the reviewer's own work.
        ConflictError: A newer verdict or another decision came in between. Nothing is written.
        UsageError: There is no such verdict, or it is one that leaves the structure open.
    """
    with store.transaction() as transaction:
        connection = transaction.connection
        check_allowed(connection, decision.by.name, Action.APPROVE)
        stands = _standing_decision(connection, decision)
        if stands is not None:
            return stands
        _check_not_own(connection, decision)
        return _recorded(transaction, decision, now + _keep(store))


def _standing_decision(connection: Connection, decision: Decision) -> str | None:
    """Return the id of the same decision if it stands already, after checking that none differs."""
    row = connection.execute(
        """SELECT state, decision_id, reviewer, comment FROM review_states WHERE verdict_id = ?""",
        [decision.verdict_id],
    ).fetchone()
    if row is None:
        _raise_outdated(connection, decision.verdict_id)
        raise UsageError(f"no review has the id {decision.verdict_id!r}; open the case again")
    state, standing, reviewer, comment = row
    if state == "deferred":
        raise UsageError("a deferred verdict leaves the structure open and needs no approval")
    if (state, reviewer, comment) == (decision.outcome, decision.by.name, decision.comment):
        return standing
    if standing != decision.seen:
        raise ConflictError(
            f"the verdict was {state} by {reviewer} meanwhile; look at it again before you decide"
        )
    return None


def _raise_outdated(connection: Connection, verdict_id: str) -> None:
    row = connection.execute(
        "SELECT structure, case_id FROM verdicts WHERE verdict_id = ? AND reading = 'review'",
        [verdict_id],
    ).fetchone()
    if row is not None:
        raise ConflictError(
            f"a newer verdict on {row[0]} of {row[1]} was given meanwhile; look at that one"
        )


def _check_not_own(connection: Connection, decision: Decision) -> None:
    row = connection.execute(
        f"WITH {_OWN} SELECT count(*) FROM own WHERE verdict_id = $verdict",  # noqa: S608 our literal
        {"verdict": decision.verdict_id, "reader": decision.by.name, "case": None},
    ).fetchone()
    if row and row[0]:
        raise AccessError(
            f"nobody approves or returns own work, and {decision.by.name} gave this verdict or "
            "made one of its masks; another reviewer decides"
        )


def _recorded(transaction: Transaction, decision: Decision, kept_until: datetime) -> str:
    facts = {
        "verdict_id": decision.verdict_id,
        "reviewer": decision.by.name,
        "verified": decision.by.verified,
    }
    if decision.outcome == "approved":
        return transaction.record("verdict.approved", facts).line_hash
    line = transaction.record_with_object(
        "verdict.returned",
        {**facts, "kept_until": kept_until.isoformat()},
        key="detail",
        content={"comment": decision.comment},
    )
    return line.line_hash


def _keep(store: Store) -> timedelta:
    return timedelta(hours=store.settings.review.returned_hours)


def waiting_for_approval(
    connection: Connection, *, reader: str, limit: int, offset: int = 0
) -> Waiting:
    """Return what a reader may approve or return, oldest first.

    Own work is left out, and what the reader is still to read without seeing the AI's mask, or to
    judge blind.

    Args:
        connection: An open index.
        reader: Who is to decide.
        limit: So many at most.
        offset: How many older ones to leave out; as if 0 where no more than these are left.
    """
    # Counted beside, since `count(*) OVER ()` under a LIMIT fails now and then (duckdb#22352).
    rows = connection.execute(
        f"""WITH {UNREAD}, {OPEN_BLIND}, {_OWN},
            waiting AS MATERIALIZED (
                SELECT v.verdict_id, v.case_id, v.structure, v.verdict, v.reader, v.tags,
                       v.voxels_changed, v.recorded_at, v.seq
                FROM current_verdicts v
                ANTI JOIN decisions d ON d.verdict_id = v.verdict_id
                ANTI JOIN own ON own.verdict_id = v.verdict_id
                ANTI JOIN unread u ON u.case_id = v.case_id AND u.structure = v.structure
                ANTI JOIN blind b ON b.case_id = v.case_id AND b.structure = v.structure
                WHERE v.verdict <> 'defer'
            )
            SELECT * EXCLUDE (seq), (SELECT count(*) FROM waiting) FROM waiting
            ORDER BY seq LIMIT $limit OFFSET $offset""",  # noqa: S608 literals of storage
        {"reader": reader, "limit": limit, "offset": offset, "case": None},
    ).fetchall()
    if offset and not rows:
        return waiting_for_approval(connection, reader=reader, limit=limit)
    items = tuple(
        Submission(verdict_id, case_id, structure, verdict, by, tuple(tags), changed, given_at)
        for verdict_id, case_id, structure, verdict, by, tags, changed, given_at, _ in rows
    )
    return Waiting(items, rows[0][8] if rows else 0, offset)


def returned_items(connection: Connection, *, reader: str) -> tuple[ReturnedItem, ...]:
    """Return what a reader is to judge again, the oldest return first."""
    rows = connection.execute(
        f"""SELECT case_id, structure, reviewer, comment, decided_at, kept_until
            FROM ({_RETURNED}) WHERE reader = ? ORDER BY decided_at, structure""",  # noqa: S608 our literal
        [reader],
    ).fetchall()
    return tuple(ReturnedItem(*row) for row in rows)


def returned_verdicts(
    connection: Connection, *, reader: str, limit: int
) -> tuple[ReturnedVerdict, ...]:
    """Return what waits to be judged again by anybody, the oldest return first.

    Args:
        connection: An open index.
        reader: Who looks: what this one is to read or judge blind is left out.
        limit: So many at most.
    """
    rows = connection.execute(
        f"""WITH {UNREAD}, {OPEN_BLIND}
            SELECT r.verdict_id, r.reader, r.case_id, r.structure, r.reviewer, r.comment,
                   r.decided_at, r.kept_until
            FROM ({_RETURNED}) r
            ANTI JOIN unread u ON u.case_id = r.case_id AND u.structure = r.structure
            ANTI JOIN blind b ON b.case_id = r.case_id AND b.structure = r.structure
            ORDER BY r.decided_at, r.structure LIMIT $limit""",  # noqa: S608 literals of storage
        {"reader": reader, "limit": limit},
    ).fetchall()
    return tuple(ReturnedVerdict(row[0], row[1], ReturnedItem(*row[2:])) for row in rows)


def approval_counts(connection: Connection) -> ApprovalCounts:
    """Return how much waits in the whole workspace, whether or not approval is asked for."""
    counts = dict(
        connection.execute("SELECT state, count(*) FROM review_states GROUP BY state").fetchall()
    )
    return ApprovalCounts(counts.get("submitted", 0), counts.get("returned", 0))


def reviews_starting_with(connection: Connection, start: str) -> dict[str, str | None]:
    """Return the reviews whose id starts so -> the decision that stands on each."""
    rows = connection.execute(
        """SELECT v.verdict_id, d.decision_id FROM verdicts v
           LEFT JOIN current_decisions d ON d.verdict_id = v.verdict_id
           WHERE v.reading = 'review' AND starts_with(v.verdict_id, ?)""",
        [start],
    ).fetchall()
    return dict(rows)


def kept_for_others(
    connection: Connection, case_id: str, *, reader: str, now: datetime
) -> dict[str, str]:
    """Return structure -> reader of what was returned to somebody else, who has it first."""
    rows = connection.execute(
        f"""SELECT structure, reader FROM ({_RETURNED})
            WHERE case_id = $case AND reader <> $reader AND kept_until > $now""",  # noqa: S608 our literal
        {"case": case_id, "reader": reader, "now": now},
    ).fetchall()
    roles = registered_roles(connection) if rows else {}
    return {structure: by for structure, by in rows if not roles or by in roles}


def own_verdicts(connection: Connection, case_id: str, *, reader: str) -> set[str]:
    """Return the verdicts of a case that are the reader's own work."""
    rows = connection.execute(
        f"WITH {_OWN} SELECT verdict_id FROM own",  # noqa: S608 our literal
        {"case": case_id, "reader": reader},
    ).fetchall()
    return {row[0] for row in rows}


def outcomes(connection: Connection) -> dict[str, str]:
    """Return verdict -> ``approved`` or ``returned`` for every verdict that was decided on."""
    return dict(connection.execute("SELECT verdict_id, outcome FROM current_decisions").fetchall())
