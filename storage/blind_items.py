"""Blind items: what one reader judges without being told why it was chosen, or by whom it is known.

A batch mixes arms: labels drawn at random from the queue (``audit``), the queue's head
(``ranked``), and labels whose truth is known (``known_truth``). Pages learn that an item is blind,
and never in which arm it is; its slot among the queue's positions is drawn, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import duckdb

from configs.errors import ConflictError, UsageError
from configs.taxonomy import load_taxonomy
from storage.open_readings import UNREAD
from storage.readers import Actor, check_reader
from storage.roles import Action, check_allowed
from storage.store import Store

Connection = duckdb.DuckDBPyConnection

Arm = Literal["audit", "ranked", "known_truth"]
Key = tuple[str, str]
"""Case id and structure."""

RESERVED_DAYS = 14
"""How long a blind item is kept for its reader before others may judge it."""

OPEN_BLIND = """
    open_blind AS MATERIALIZED (
        SELECT b.* FROM blind_items b
        ANTI JOIN answered_blind_items a
          ON a.batch_id = b.batch_id AND a.case_id = b.case_id AND a.structure = b.structure
    ),
    blind AS MATERIALIZED (
        SELECT case_id, structure, min(slot) AS slot, min(prediction_id) AS prediction_id
        FROM open_blind WHERE reader = $reader GROUP BY case_id, structure
    )
"""
"""The tables ``open_blind`` of everybody and ``blind`` of ``$reader``, for a WITH clause."""

RESERVED = f"""
    reserved AS (
        SELECT case_id, structure, min(reader) AS reader,
               max(recorded_at) + INTERVAL {RESERVED_DAYS} DAY AS until
        FROM open_blind
        WHERE reader <> $reader AND recorded_at > $now - INTERVAL {RESERVED_DAYS} DAY
        GROUP BY case_id, structure
    )
"""  # noqa: S608 literals of storage
"""After ``OPEN_BLIND``: the table of what is kept for others than ``$reader`` at ``$now``."""


@dataclass(frozen=True, slots=True)
class BlindItem:
    """One item of a batch as it is assigned.

    Attributes:
        slot: Where it stands among the positions of the queue, from 1.
        truth: For a known one, the label source that holds the truth.
    """

    case_id: str
    structure: str
    arm: Arm
    slot: int
    truth: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindBatch:
    """What a reader is to judge blind.

    Attributes:
        items: Each case and structure once.
        frame: How many items the random ones were drawn from.
        seed: Of the drawing and of the slots.
        set_name: The qualification set that the known ones are; None for none.
    """

    reader: str
    items: tuple[BlindItem, ...]
    frame: int
    seed: int
    set_name: str | None = None


@dataclass(frozen=True, slots=True)
class AnsweredItem:
    """A blind item with the verdict that its reader gave, and what that verdict was about."""

    batch_id: str
    case_id: str
    structure: str
    reader: str
    arm: Arm
    truth: str | None
    set_name: str | None
    frame: int
    prediction_id: str
    verdict_id: str
    verdict: str
    active_s: float
    base_version: str | None


@dataclass(frozen=True, slots=True)
class Reserved:
    """A blind item of another reader, which that one is to judge before anybody else does.

    Attributes:
        until: From then on others may judge it, UTC without a zone.
    """

    reader: str
    until: datetime


@dataclass(frozen=True, slots=True)
class ArmCount:
    """How far a reader is in one arm; it names no item."""

    reader: str
    arm: Arm
    assigned: int
    answered: int


def assign_blind(store: Store, batch: BlindBatch, *, by: Actor | None = None) -> str:
    """Commit a batch in one journal line, and return its id.

    Args:
        store: The workspace.
        batch: What is assigned.
        by: Who assigns: a reviewer or admin, once somebody is registered.

    Raises:
        AccessError: Who assigns may not, or the reader may not judge.
        UsageError: A name is unknown, an item has no prediction, or it is open to this reader
            already, blind or as an independent reading. Nothing is written.
    """
    check_reader(batch.reader)
    taxonomy = load_taxonomy()
    keys = [(item.case_id, taxonomy[item.structure].name) for item in batch.items]
    if not keys or len(set(keys)) < len(keys):
        raise UsageError(f"a blind batch names items, each once; got {len(keys)}")
    with store.transaction() as transaction:
        connection = transaction.connection
        check_allowed(connection, by and by.name, Action.ASSIGN)
        check_allowed(connection, batch.reader, Action.JUDGE)
        predictions = _predictions(connection)
        taken = open_keys(connection, batch.reader)
        for key in keys:
            if key[0] not in predictions or key in taken:
                why = "waits for that reader already" if key in taken else "has no prediction"
                raise UsageError(
                    f"a blind item is annotated and new to its reader; {key[1]} of {key[0]} {why}"
                )
        items = [
            {
                "case_id": item.case_id,
                "structure": item.structure,
                "arm": item.arm,
                "slot": item.slot,
                "prediction_id": predictions[item.case_id],
                "truth": item.truth,
            }
            for item in batch.items
        ]
        line = transaction.record_with_object(
            "blind.assigned",
            {
                "reader": batch.reader,
                "frame": batch.frame,
                "seed": batch.seed,
                "set": batch.set_name,
                "by": by and by.name,
            },
            key="items",
            content={"items": items},
        )
    return line.line_hash


def open_keys(connection: Connection, reader: str) -> set[Key]:
    """Return what waits for a reader blind or as an independent reading."""
    rows = connection.execute(
        f"""WITH {UNREAD}, {OPEN_BLIND} SELECT case_id, structure FROM unread
            UNION SELECT case_id, structure FROM blind""",  # noqa: S608 literals of storage
        {"reader": reader},
    ).fetchall()
    return {(case_id, structure) for case_id, structure in rows}


def open_keys_of_all(connection: Connection) -> set[Key]:
    """Return what waits for anybody blind or as an independent reading."""
    rows = connection.execute(
        "SELECT reader FROM assignments UNION SELECT reader FROM blind_items"
    ).fetchall()
    return {key for (reader,) in rows for key in open_keys(connection, reader)}


def unjudged_queue(connection: Connection, structures: Sequence[str]) -> list[Key]:
    """Return the queue's items that nobody judged, in its order, all structures when empty."""
    rows = connection.execute(
        """SELECT q.case_id, q.structure FROM current_queue q
           ANTI JOIN current_verdicts v ON v.case_id = q.case_id AND v.structure = q.structure
           WHERE len($structures) = 0 OR list_contains($structures, q.structure)
           ORDER BY q.position, q.kind, q.case_id""",
        {"structures": list(structures)},
    ).fetchall()
    return [(case_id, structure) for case_id, structure in rows]


def unjudged_count(connection: Connection, structures: Sequence[str]) -> int:
    """Return how many items of the queue nobody judged, of all structures when empty."""
    row = connection.execute(
        """SELECT count(*) FROM current_queue q
           ANTI JOIN current_verdicts v ON v.case_id = q.case_id AND v.structure = q.structure
           WHERE len($structures) = 0 OR list_contains($structures, q.structure)""",
        {"structures": list(structures)},
    ).fetchone()
    return row[0] if row else 0


def known_check(connection: Connection, case_id: str, structure: str, *, reader: str) -> bool:
    """Whether a reader's next review of an item is a check against a known truth."""
    row = connection.execute(
        f"""WITH {OPEN_BLIND} SELECT count(*) FROM open_blind
            WHERE case_id = $case AND structure = $structure AND reader = $reader
              AND arm = 'known_truth'""",  # noqa: S608 literals of storage
        {"case": case_id, "structure": structure, "reader": reader},
    ).fetchone()
    return bool(row and row[0])


def reserved_items(
    connection: Connection, case_id: str, *, reader: str, now: datetime
) -> dict[str, Reserved]:
    """Return what of a case is kept for other readers; what is the reader's own as well is not."""
    rows = connection.execute(
        f"""WITH {OPEN_BLIND}, {RESERVED}
            SELECT r.structure, r.reader, r.until FROM reserved r
            ANTI JOIN blind b ON b.case_id = r.case_id AND b.structure = r.structure
            WHERE r.case_id = $case""",  # noqa: S608 literals of storage
        {"case": case_id, "reader": reader, "now": now},
    ).fetchall()
    return {structure: Reserved(by, until) for structure, by, until in rows}


def check_not_reserved(
    connection: Connection, case_id: str, structure: str, *, reader: str, now: datetime
) -> None:
    """Raise ConflictError if an item is kept for others; run under the guard of the write."""
    kept = reserved_items(connection, case_id, reader=reader, now=now).get(structure)
    if kept is not None:
        raise ConflictError(
            f"{structure} of {case_id} was assigned to {kept.reader} meanwhile and is kept for "
            f"that reader until {kept.until:%Y-%m-%d %H:%M} UTC; judge it after that, a draft of "
            "yours stays"
        )


def answered_items(
    connection: Connection, arm: Arm, *, reader: str | None = None
) -> list[AnsweredItem]:
    """Return the items of an arm that were judged, in the order of the verdicts."""
    rows = connection.execute(
        """SELECT a.batch_id, a.case_id, a.structure, a.reader, a.arm, a.truth, a.set_name, a.frame,
                  a.prediction_id, a.verdict_id, a.verdict, a.active_s, v.base_version
           FROM answered_blind_items a JOIN verdicts v ON v.verdict_id = a.verdict_id
           WHERE a.arm = $arm AND ($reader IS NULL OR a.reader = $reader)
           ORDER BY a.answered_seq""",
        {"arm": arm, "reader": reader},
    ).fetchall()
    return [AnsweredItem(*row) for row in rows]


def arm_counts(connection: Connection, *, reader: str | None = None) -> list[ArmCount]:
    """Return how far each reader is in each arm."""
    rows = connection.execute(
        """SELECT b.reader, b.arm, count(*), count(a.verdict_id)
           FROM blind_items b LEFT JOIN answered_blind_items a
             ON a.batch_id = b.batch_id AND a.case_id = b.case_id AND a.structure = b.structure
           WHERE $reader IS NULL OR b.reader = $reader
           GROUP BY b.reader, b.arm ORDER BY b.reader, b.arm""",
        {"reader": reader},
    ).fetchall()
    return [ArmCount(*row) for row in rows]


def _predictions(connection: Connection) -> dict[str, str]:
    return dict(
        connection.execute("SELECT case_id, prediction_id FROM current_predictions").fetchall()
    )
