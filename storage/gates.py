"""What the gate decided: one journal line, with the evidence and, on promotion, the champions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from configs.errors import ConflictError
from storage.canonical_json import JsonObject
from storage.model_registry import write_cards
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Challenge:
    """One member's retrained weights against those in force.

    Attributes:
        name: Of the committee member.
        weights: Name under which its weights are registered.
        champion: SHA-256 of the weights in force.
        challenger: SHA-256 of the retrained ones; the object is stored already.
        card: The challenger's card.
    """

    name: str
    weights: str
    champion: str
    challenger: str
    card: JsonObject

    def to_json(self) -> JsonObject:
        """Return the challenge as it stands in a journal line."""
        return {
            "name": self.name,
            "weights": self.weights,
            "champion": self.champion,
            "challenger": self.challenger,
            "card": self.card,
        }


def record_gate(
    store: Store,
    challenges: Sequence[Challenge],
    *,
    outcome: str,
    reason: str,
    evidence: JsonObject,
) -> str:
    """Commit a decision; ``promoted`` puts the challengers in force with the same line.

    Returns:
        The gate's id.

    Raises:
        ConflictError: A champion was replaced meanwhile; nothing is written.
    """
    digest = store.put_json(evidence)
    with store.transaction() as transaction:
        for challenge in challenges:
            row = transaction.connection.execute(
                "SELECT weights FROM current_models WHERE name = ?", [challenge.weights]
            ).fetchone()
            if row is None or row[0] != challenge.champion:
                raise ConflictError(
                    f"the weights of {challenge.name} were replaced while the challenger trained; "
                    "retrain from the new ones"
                )
        line = transaction.record(
            "gate.decided",
            {
                "outcome": outcome,
                "reason": reason,
                "evidence": digest,
                "members": [challenge.to_json() for challenge in challenges],
            },
        )
        write_cards(store, transaction.connection)
    return line.line_hash


def last_gate(connection: Connection) -> tuple[str, str, str] | None:
    """Return (gate id, outcome, reason) of the last decision; None before the first."""
    return connection.execute(
        "SELECT gate_id, outcome, reason FROM gates ORDER BY seq DESC LIMIT 1"
    ).fetchone()


def has_labels_since_gate(connection: Connection, *, approved_only: bool = False) -> bool:
    """Whether a label came that the last retraining which reached its gate did not know.

    What came while that one trained counts as new. Where reviews count once they are approved, it
    is their approval that counts as new.
    """
    row = connection.execute(
        """WITH came AS (
               SELECT seq FROM label_versions
               WHERE reading <> 'check' AND (NOT $approved_only OR reading <> 'review')
               UNION ALL
               SELECT seq FROM decisions WHERE $approved_only AND outcome = 'approved'
           )
           SELECT count(*) FROM came WHERE seq > coalesce(
               (SELECT max(r.seq) FROM runs r
                WHERE r.verb = 'retrain' AND r.seq < (SELECT max(g.seq) FROM gates g)), 0)""",
        {"approved_only": approved_only},
    ).fetchone()
    return row is not None and row[0] > 0
