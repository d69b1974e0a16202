"""The audit: labels in a random order, drawn for readers before anybody looks.

A unit is a structure of a patient under one committee, with all its labels that nobody judged. Each
unit has a ticket a way of reading, the SHA-256 of the seed and its names, so the order of the
tickets is random, known before any reading, and stays as it is when patients come or go: among the
units that there are at any time, those with the lowest tickets are a random sample.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import duckdb

from storage.blind_items import OPEN_BLIND, RESERVED_DAYS, Key
from storage.predictions import CONSENSUS
from storage.store import Transaction

Connection = duckdb.DuckDBPyConnection

DrawArm = Literal["audit", "unaided", "ranked"]

_UNJUDGED = f"""
    unjudged AS (
        SELECT p.case_id, s.structure, p.prediction_id,
               coalesce(o.patient_id, p.case_id) AS patient_id
        FROM current_predictions p
        JOIN scores s ON s.prediction_id = p.prediction_id AND s.member = '{CONSENSUS}'
        LEFT JOIN current_patients o ON o.case_id = p.case_id
        ANTI JOIN (
            SELECT case_id, structure FROM verdicts
            WHERE reading = 'review' AND verdict <> 'defer'
        ) v ON v.case_id = p.case_id AND v.structure = s.structure
        WHERE p.committee_id = $committee
          AND (len($structures) = 0 OR list_contains($structures, s.structure))
    )
"""  # noqa: S608 the only value put in is a literal of this package
# What waits for somebody: a reader who left, or did not come to it for long, keeps nothing.
_DRAWN = f"""
    drawn AS (
        SELECT d.prediction_id, d.structure FROM audit_draws d
        WHERE d.unaided = $unaided AND (
            (list_contains($readers, d.reader)
             AND d.recorded_at > $now - INTERVAL {RESERVED_DAYS} DAY)
            OR EXISTS (
                SELECT 1 FROM verdicts v
                WHERE v.reading = 'independent' AND v.reader = d.reader AND v.seq > d.seq
                  AND v.case_id = d.case_id AND v.structure = d.structure AND v.verdict <> 'defer'
            )
        )
    )
"""  # noqa: S608 the only value put in is a literal of this package

# Where patients have more, fewer units than asked for may be found at a time.
_LABELS_A_UNIT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditItem:
    """One label that goes to a reader.

    Attributes:
        arm: ``audit`` and ``unaided`` were drawn, ``ranked`` hides them.
        slot: Its place among the positions of the queue; None of an unaided reading.
        place: Of its unit among all that were drawn this way; None where it was not.
    """

    case_id: str
    structure: str
    prediction_id: str
    arm: DrawArm
    slot: int | None = None
    place: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditUnit:
    """A structure of a patient whose labels are drawn together.

    Attributes:
        labels: Case and prediction of each label.
    """

    patient_id: str
    structure: str
    labels: tuple[tuple[str, str], ...]

    @property
    def keys(self) -> set[Key]:
        """Case and structure of each label."""
        return {(case_id, self.structure) for case_id, _ in self.labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSearch:
    """Which units are wanted.

    Attributes:
        readers: Who may judge; what others were given and did not read is drawn again.
        structures: Only these; all when empty.
        now: UTC without a zone.
    """

    committee_id: str
    unaided: bool
    readers: tuple[str, ...]
    structures: tuple[str, ...]
    now: datetime


@dataclass(frozen=True, slots=True)
class AuditWork:
    """What one reader did and was given since the audit began.

    Attributes:
        done: Verdicts of any kind that are no deferral.
        aided: Labels drawn for this reader, to be judged with the AI's mask.
        unaided: The same, to be read without it.
    """

    done: int
    aided: int
    unaided: int


def audit_seed(connection: Connection) -> int | None:
    """Return the seed of the orders; None before the audit began."""
    row = connection.execute("SELECT seed FROM audit_seeds ORDER BY seq LIMIT 1").fetchone()
    return row[0] if row else None


def open_audit(transaction: Transaction, seed: int) -> int:
    """Commit the seed unless there is one; returns the one that holds."""
    known = audit_seed(transaction.connection)
    if known is None:
        transaction.record("audit.opened", {"seed": seed})
        return seed
    return known


def audit_work(connection: Connection, reader: str) -> AuditWork:
    """Return what a reader did and was given since the audit began."""
    row = connection.execute(
        """SELECT (SELECT count(*) FROM verdicts WHERE reader = $reader AND verdict <> 'defer'
                     AND seq > (SELECT min(seq) FROM audit_seeds)),
                  (SELECT count(*) FROM audit_draws WHERE reader = $reader AND NOT unaided),
                  (SELECT count(*) FROM audit_draws WHERE reader = $reader AND unaided)""",
        {"reader": reader},
    ).fetchone()
    return AuditWork(*row) if row else AuditWork(0, 0, 0)


def active_readers(connection: Connection, *, now: datetime) -> set[str]:
    """Return who gave a verdict lately."""
    rows = connection.execute(
        f"""SELECT DISTINCT reader FROM verdicts
            WHERE recorded_at > $now - INTERVAL {RESERVED_DAYS} DAY""",  # noqa: S608 our literal
        {"now": now},
    ).fetchall()
    return {reader for (reader,) in rows}


def frame_units(connection: Connection, committee_id: str, structures: Sequence[str] = ()) -> int:
    """Return how many units of a committee's newest predictions hold a label nobody judged."""
    row = connection.execute(
        f"""WITH {_UNJUDGED} SELECT count(*) FROM (
                SELECT DISTINCT patient_id, structure FROM unjudged)""",  # noqa: S608 literals of storage
        {"committee": committee_id, "structures": list(structures)},
    ).fetchone()
    return row[0] if row else 0


def next_units(
    connection: Connection, search: UnitSearch, *, count: int, blocked: Collection[Key]
) -> list[AuditUnit]:
    """Return the undrawn units with the lowest tickets, lowest first.

    Args:
        connection: An open index, in which the audit was opened.
        search: Which.
        count: How many at most.
        blocked: What cannot be given now; a unit that holds such a label waits.
    """
    if count <= 0:
        return []
    ticket = ticket_sql("$way", "$committee", "patient_id", "structure")
    # The labels with the lowest tickets first, their units afterwards: making all units of a
    # million labels took far longer.
    rows = connection.execute(
        f"""WITH {_UNJUDGED}, {_DRAWN},
            waiting AS MATERIALIZED (
                SELECT u.* FROM unjudged u ANTI JOIN drawn d
                  ON d.prediction_id = u.prediction_id AND d.structure = u.structure
            ),
            held AS (
                SELECT DISTINCT w.patient_id, w.structure FROM waiting w
                SEMI JOIN (SELECT unnest($cases) AS case_id, unnest($blocked) AS structure) b
                  ON b.case_id = w.case_id AND b.structure = w.structure
            ),
            lowest AS (
                SELECT DISTINCT ticket, patient_id, structure FROM (
                    SELECT {ticket} AS ticket, patient_id, structure FROM waiting w
                    ANTI JOIN held h
                      ON h.patient_id = w.patient_id AND h.structure = w.structure
                    ORDER BY ticket LIMIT $limit
                )
            )
            SELECT w.patient_id, w.structure, list(w.case_id ORDER BY w.case_id),
                   list(w.prediction_id ORDER BY w.case_id)
            FROM lowest l JOIN waiting w
              ON w.patient_id = l.patient_id AND w.structure = l.structure
            GROUP BY l.ticket, w.patient_id, w.structure ORDER BY l.ticket LIMIT $count""",  # noqa: S608 literals of storage
        {
            "seed": audit_seed(connection),
            "way": way_of(unaided=search.unaided),
            "committee": search.committee_id,
            "structures": list(search.structures),
            "unaided": search.unaided,
            "readers": list(search.readers),
            "now": search.now,
            "count": count,
            "cases": [case_id for case_id, _ in blocked],
            "blocked": [structure for _, structure in blocked],
            "limit": _LABELS_A_UNIT * count,
        },
    ).fetchall()
    return [
        AuditUnit(
            patient_id=patient_id,
            structure=structure,
            labels=tuple(zip(case_ids, prediction_ids, strict=True)),
        )
        for patient_id, structure, case_ids, prediction_ids in rows
    ]


def record_draw(
    transaction: Transaction, items: Sequence[AuditItem], *, reader: str, frame: int
) -> str:
    """Commit what a reader is given, by one journal line; returns its hash.

    The line is the draw and the assignment in one, so nobody can read what was not drawn before.
    No role is asked for: chance chooses, and nobody else.
    """
    line = transaction.record_with_object(
        "audit.drawn",
        {"reader": reader, "frame": frame},
        key="items",
        content={"items": [asdict(item) for item in items]},
    )
    return line.line_hash


def drawn_units(connection: Connection, *, unaided: bool) -> int:
    """Return the highest place that was given out so far."""
    row = connection.execute(
        "SELECT coalesce(max(place), 0) FROM audit_draws WHERE unaided = ?", [unaided]
    ).fetchone()
    return row[0] if row else 0


def ticket_sql(way: str, committee: str, patient: str, structure: str) -> str:
    """Return the SQL of a unit's ticket, from the SQL of its parts; ``$seed`` is the seed.

    A committee's units have tickets of their own: a new model begins from nothing.
    """
    return (
        f"sha256(concat_ws('/', CAST($seed AS VARCHAR), {way}, {committee}, {patient}, "
        f"{structure}))"
    )


def newest_predictions(connection: Connection) -> dict[str, str]:
    """Return case -> its newest prediction."""
    return dict(
        connection.execute("SELECT case_id, prediction_id FROM current_predictions").fetchall()
    )


def blind_for_others(connection: Connection, reader: str, *, now: datetime) -> set[Key]:
    """Return what is kept for other readers, who are to judge it blind."""
    rows = connection.execute(
        f"""WITH {OPEN_BLIND} SELECT DISTINCT case_id, structure FROM open_blind
            WHERE reader <> $reader
              AND recorded_at > $now - INTERVAL {RESERVED_DAYS} DAY""",  # noqa: S608 literals of storage
        {"reader": reader, "now": now},
    ).fetchall()
    return {(case_id, structure) for case_id, structure in rows}


def taken_slots(connection: Connection, reader: str) -> set[int]:
    """Return the places among the queue's positions at which blind items wait for a reader."""
    rows = connection.execute(
        f"WITH {OPEN_BLIND} SELECT slot FROM blind",  # noqa: S608 literals of storage
        {"reader": reader},
    ).fetchall()
    return {slot for (slot,) in rows}


def way_of(*, unaided: bool) -> str:
    """Return what stands for a way of reading in a ticket."""
    return "unaided" if unaided else "aided"
