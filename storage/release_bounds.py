"""Bounds that were said of releases: once said, a statement stands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import duckdb

from storage.canonical_json import JsonObject
from storage.objects import ObjectStore
from storage.readers import Actor
from storage.roles import Action, check_allowed
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class ReleaseBound:
    """One statement.

    Attributes:
        answers: Hash of what it was said from.
        evidence: The statement as an object.
    """

    bound_id: str
    release_id: str
    dsc: float
    confidence: float
    answers: str
    evidence: str
    said_at: datetime

    def statement(self, objects: ObjectStore) -> JsonObject:
        """Return the statement as it was said."""
        return json.loads(objects.read(self.evidence))


def bounds_of(connection: Connection, release_id: str | None = None) -> list[ReleaseBound]:
    """Return what was said of a release, or of all, oldest first."""
    rows = connection.execute(
        """SELECT bound_id, release_id, dsc, confidence, answers, evidence, recorded_at
           FROM release_bounds WHERE $release IS NULL OR release_id = $release ORDER BY seq""",
        {"release": release_id},
    ).fetchall()
    return [ReleaseBound(*row) for row in rows]


def record_bound(
    store: Store,
    statement: JsonObject,
    *,
    answers: str,
    known: int,
    by: Actor | None = None,
) -> bool:
    """Commit a statement, which names ``release_id``, ``dsc`` and ``confidence``.

    Args:
        store: The workspace.
        statement: What is said.
        answers: Hash of what it is said from.
        known: How many statements of all releases it was made in knowledge of.
        by: Who says it: an admin, once somebody is registered.

    Returns:
        False where another statement came between, of whichever release; nothing is written then.

    Raises:
        AccessError: Who says it is no admin.
    """
    with store.transaction() as transaction:
        check_allowed(transaction.connection, by and by.name, Action.RELEASE)
        if len(bounds_of(transaction.connection)) != known:
            return False
        transaction.record_with_object(
            "release.bounded",
            {
                "release_id": statement["release_id"],
                "dsc": statement["dsc"],
                "confidence": statement["confidence"],
                "answers": answers,
                "by": by and by.name,
            },
            key="evidence",
            content=statement,
        )
    return True
