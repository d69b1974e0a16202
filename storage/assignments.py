"""Assignments: who is to read what without seeing the AI's mask, and what of it is still open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from storage.label_sources import seen_with_ai
from storage.readers import Actor, check_reader
from storage.roles import Action, check_allowed
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Assignment:
    """One structure of one case that a reader is to draw from nothing.

    Attributes:
        reading: 1 for the reader's first reading of it, 2 for the second, and so on.
        saw_ai: The reader has judged it with the AI's mask in sight, so that this reading will not
            count as independent.
    """

    reader: str
    case_id: str
    structure: str
    reading: int
    saw_ai: bool


def assign_readings(
    store: Store,
    *,
    reader: str,
    case_ids: Sequence[str],
    structures: Sequence[str],
    allow_seen: bool = False,
    by: Actor | None = None,
) -> list[Assignment]:
    """Commit what a reader is to read without the AI's mask; once more is one more reading.

    Args:
        store: The workspace.
        reader: Name of the reader, without a colon, slash or outer space.
        case_ids: Cases of the workspace; a repeated one counts once.
        structures: Names in the taxonomy.
        allow_seen: Assign what the reader has seen with the AI's mask, too.
        by: Who assigns: a reviewer or admin, once somebody is registered.

    Raises:
        AccessError: Who assigns may not, or the reader may not read.
        UsageError: Reader, case or structure is unknown, nothing is asked for, or the reader has
            reviewed one of them with the AI's mask in sight. Nothing is written.
    """
    check_reader(reader)
    wanted = load_taxonomy().select(structures)
    cases = list(dict.fromkeys(case_ids))
    if not wanted or not cases:
        raise UsageError("an assignment needs a structure and a case, got none")
    with store.transaction() as transaction:
        connection = transaction.connection
        check_allowed(connection, by and by.name, Action.ASSIGN)
        check_allowed(connection, reader, Action.READ)
        _check_cases(connection, cases)
        keys = [(case_id, name) for case_id in cases for name in wanted]
        seen = seen_with_ai(connection, reader).keys() & set(keys)
        if seen and not allow_seen:
            raise UsageError(_seen_words(reader, sorted(seen)))
        before = _assigned(connection, reader)
        for case_id in cases:
            transaction.record(
                "reading.assigned",
                {
                    "case_id": case_id,
                    "structures": list(wanted),
                    "reader": reader,
                    "by": by and by.name,
                },
            )
    return [Assignment(reader, *key, before.get(key, 0) + 1, key in seen) for key in keys]


def unseen_cases(connection: Connection, *, reader: str, structures: Sequence[str]) -> list[str]:
    """Return the cases of which a reader was assigned or reviewed none of the structures.

    Args:
        connection: An open index.
        reader: Name of the reader.
        structures: Names in the taxonomy.

    Returns:
        Case ids in the order of registration.
    """
    known = connection.execute("SELECT case_id FROM cases ORDER BY seq").fetchall()
    touched = seen_with_ai(connection, reader).keys() | _assigned(connection, reader).keys()
    taken = {case_id for case_id, structure in touched if structure in structures}
    return [case_id for (case_id,) in known if case_id not in taken]


def open_readings(connection: Connection, *, reader: str | None = None) -> list[Assignment]:
    """Return what was assigned and not read yet, in the order of assignment.

    Args:
        connection: An open index.
        reader: Only this reader's; everybody's when None. What was deferred is still open.
    """
    rows = connection.execute(
        """SELECT a.reader, a.case_id, a.structure,
                  row_number() OVER (PARTITION BY a.reader, a.case_id, a.structure ORDER BY a.seq)
                      AS reading,
                  (SELECT count(*) FROM verdicts v
                   WHERE v.reader = a.reader AND v.case_id = a.case_id AND v.structure = a.structure
                     AND v.reading = 'independent' AND v.verdict <> 'defer') AS done
           FROM assignments a WHERE $reader IS NULL OR a.reader = $reader
           QUALIFY reading > done ORDER BY a.seq, a.structure""",
        {"reader": reader},
    ).fetchall()
    seen = {name: seen_with_ai(connection, name) for name in {row[0] for row in rows}}
    return [
        Assignment(name, case_id, structure, reading, (case_id, structure) in seen[name])
        for name, case_id, structure, reading, _ in rows
    ]


def _check_cases(connection: Connection, case_ids: Sequence[str]) -> None:
    known = {row[0] for row in connection.execute("SELECT case_id FROM cases").fetchall()}
    unknown = [case_id for case_id in case_ids if case_id not in known]
    if unknown:
        raise UsageError(
            f"an assignment needs cases of this workspace, got {', '.join(unknown[:5])}; "
            "`atlasloop queue` shows case ids"
        )


def _assigned(connection: Connection, reader: str) -> dict[tuple[str, str], int]:
    rows = connection.execute(
        """SELECT case_id, structure, count(*) FROM assignments WHERE reader = ?
           GROUP BY case_id, structure""",
        [reader],
    ).fetchall()
    return {(case_id, structure): count for case_id, structure, count in rows}


def _seen_words(reader: str, seen: Sequence[tuple[str, str]]) -> str:
    listed = ", ".join(f"{structure} of {case_id}" for case_id, structure in seen[:5])
    more = f" and {len(seen) - 5} more" if len(seen) > 5 else ""
    return (
        f"an independent reading must not follow a look at the AI's mask, but {reader} reviewed "
        f"{listed}{more}; choose other cases or another reader, or give --allow-seen: such "
        "readings count as edits, never as independent"
    )
