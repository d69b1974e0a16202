"""Which cases a committee may have been trained on, whose scores say nothing of new ones."""

from __future__ import annotations

import json
from collections.abc import Collection

import duckdb

from storage.objects import ObjectStore
from storage.splits import effective_roles, patient_groups

Connection = duckdb.DuckDBPyConnection


def maybe_trained_on(connection: Connection, objects: ObjectStore, committee_id: str) -> set[str]:
    """Return the cases that a member of a committee may have learned from.

    These are the cases of patients who train, as are those whose scan may be the same, whose label
    was there before the newest of the members' weights were registered; and those of a public
    dataset that a member's card names, unless their patient judges or is reported. What imported
    weights were trained on their file does not say, so it cannot be known here.

    Args:
        connection: An open index.
        objects: Where the manifests lie.
        committee_id: One version of the committee; without predictions nothing is returned.

    Raises:
        StorageError: A manifest is missing or altered.
    """
    weights = _weights(connection, objects, committee_id)
    if not weights:
        return set()
    exposed = _labelled_before(connection, _registered_at(connection, weights))
    for group in patient_groups(connection):
        if exposed.intersection(group):
            exposed.update(group)
    rows = connection.execute("SELECT case_id, patient_id FROM current_patients").fetchall()
    trained = {case_id for case_id, patient_id in rows if patient_id in exposed}
    held_out = {patient for patient, role in effective_roles(connection).items() if role != "train"}
    kept = {case_id for case_id, patient_id in rows if patient_id in held_out}
    return trained | (_of_datasets(connection, weights) - kept)


def _weights(connection: Connection, objects: ObjectStore, committee_id: str) -> list[str]:
    row = connection.execute(
        "SELECT manifest FROM closed_cases WHERE committee_id = ? LIMIT 1", [committee_id]
    ).fetchone()
    if row is None:
        return []
    members = json.loads(objects.read(row[0]))["members"]
    return [str(member["weights"]) for member in members]


def _registered_at(connection: Connection, weights: Collection[str]) -> int:
    """Return the journal line at which the newest of some weights came; the last for unknown."""
    first = dict(
        connection.execute(
            "SELECT weights, min(seq) FROM models WHERE list_contains(?, weights) GROUP BY weights",
            [list(weights)],
        ).fetchall()
    )
    row = connection.execute("SELECT seq + 1 FROM journal_position").fetchone()
    last = int(row[0]) if row else 0
    return max(int(first.get(name, last)) for name in weights)


def _labelled_before(connection: Connection, seq: int) -> set[str]:
    rows = connection.execute(
        """SELECT DISTINCT p.patient_id FROM label_versions v
           JOIN current_patients p ON p.case_id = v.case_id
           JOIN current_splits s ON s.patient_id = p.patient_id
           WHERE s.role = 'train' AND v.reading IN ('review', 'dataset') AND v.seq < ?""",
        [seq],
    ).fetchall()
    return {row[0] for row in rows}


def _of_datasets(connection: Connection, weights: Collection[str]) -> set[str]:
    cards = connection.execute(
        "SELECT card FROM models WHERE list_contains(?, weights)", [list(weights)]
    ).fetchall()
    named = {
        str(dataset["id"])
        for (card,) in cards
        for dataset in json.loads(card).get("datasets", ())
        if isinstance(dataset, dict) and "id" in dataset
    }
    rows = connection.execute(
        "SELECT DISTINCT case_id FROM current_dataset_cases WHERE list_contains(?, dataset)",
        [sorted(named)],
    ).fetchall()
    return {row[0] for row in rows}
