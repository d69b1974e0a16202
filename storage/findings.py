"""What the plausibility rules say of predictions: one journal line a check."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from storage.predictions import CONSENSUS
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFinding:
    """One finding; see ``model.plausibility.finding`` for what its fields say.

    Attributes:
        place: Voxel of the file's grid to jump to; None where there is none.
        mentions: All structures but ``structure`` that the explanation speaks of.
    """

    structure: str
    rule: str
    severity: str
    other: str | None
    value: float
    place: tuple[int, int, int] | None
    explanation: str
    mentions: tuple[str, ...]

    @property
    def structures(self) -> frozenset[str]:
        """Every structure that it tells something of."""
        return frozenset((self.structure, *self.mentions))


@dataclass(frozen=True, slots=True)
class UncheckedPrediction:
    """A prediction to check, and which structures its committee looked for."""

    case_id: str
    prediction_id: str
    covered: tuple[str, ...]


def record_check(
    store: Store, prediction_id: str, rules: str, findings: Sequence[StoredFinding]
) -> bool:
    """Commit what was found in a prediction; returns False when another process did it before.

    Args:
        store: The workspace.
        prediction_id: What was checked.
        rules: Name of the rules' object, which lies in the store.
        findings: All of them; may be none.
    """
    found = store.put_json({"findings": [asdict(one) for one in findings]})
    with store.transaction() as transaction:
        if _is_checked(transaction.connection, prediction_id, rules):
            return False
        transaction.record(
            "case.checked", {"prediction_id": prediction_id, "rules": rules, "findings": found}
        )
    return True


def unchecked_predictions(
    connection: Connection,
    committee_id: str,
    rules: str,
    *,
    case_ids: Collection[str] | None = None,
) -> list[UncheckedPrediction]:
    """Return what a committee closed and what was not checked last by these rules, oldest first.

    Args:
        connection: Of a read.
        committee_id: Whose predictions.
        rules: Name of the rules' object.
        case_ids: Of these cases alone; all when None.
    """
    rows = connection.execute(
        """WITH waiting AS MATERIALIZED (
               SELECT case_id, prediction_id, seq FROM closed_cases c
               WHERE committee_id = $committee
                 AND ($cases IS NULL OR list_contains($cases, case_id))
                 AND NOT EXISTS (
                     SELECT 1 FROM last_checks l
                     WHERE l.prediction_id = c.prediction_id AND l.rules = $rules))
           SELECT w.case_id, w.prediction_id,
                  list(s.structure ORDER BY s.structure) FILTER (s.structure IS NOT NULL)
           FROM waiting w
           LEFT JOIN scores s ON s.prediction_id = w.prediction_id AND s.member = $consensus
           GROUP BY w.case_id, w.prediction_id, w.seq ORDER BY w.seq""",
        {
            "committee": committee_id,
            "rules": rules,
            "consensus": CONSENSUS,
            "cases": None if case_ids is None else list(case_ids),
        },
    ).fetchall()
    return [UncheckedPrediction(row[0], row[1], tuple(row[2] or ())) for row in rows]


def findings_of(connection: Connection, prediction_id: str) -> dict[str, list[StoredFinding]]:
    """Return structure -> what its last check found in a prediction, faults first."""
    rows = connection.execute(
        """SELECT structure, rule, severity, other, value, place, explanation, mentions
           FROM current_findings WHERE prediction_id = ?
           ORDER BY structure, severity, rule, explanation""",
        [prediction_id],
    ).fetchall()
    found: dict[str, list[StoredFinding]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(_finding(row))
    return found


def without_mention_of(
    findings: Mapping[str, Sequence[StoredFinding]], untold: Collection[str]
) -> dict[str, tuple[StoredFinding, ...]]:
    """Return the findings that speak of none of some structures."""
    kept = {
        name: tuple(one for one in found if not one.structures & set(untold))
        for name, found in findings.items()
    }
    return {name: found for name, found in kept.items() if found}


def _is_checked(connection: Connection, prediction_id: str, rules: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM last_checks WHERE prediction_id = ? AND rules = ?", [prediction_id, rules]
    ).fetchone()
    return row is not None


def _finding(row: tuple[Any, ...]) -> StoredFinding:
    structure, rule, severity, other, value, place, explanation, mentions = row
    return StoredFinding(
        structure=structure,
        rule=rule,
        severity=severity,
        other=other,
        value=value,
        place=None if place is None else (place[0], place[1], place[2]),
        explanation=explanation,
        mentions=tuple(mentions),
    )
