"""What the journal lines about readers and about their approval do to the database."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb

from storage.journal import JournalLine
from storage.objects import ObjectStore

Connection = duckdb.DuckDBPyConnection


def _reader_registered(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    _insert_role(connection, line, line.data["role"])


def _reader_removed(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    _insert_role(connection, line, None)


def _insert_role(connection: Connection, line: JournalLine, role: str | None) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO reader_roles VALUES (?, ?, ?, ?, ?, ?)",
        [data["reader"], role, data["by"], data["verified"], line.seq, line.at],
    )


def _verdict_approved(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    _insert_decision(connection, line, "approved", comment="")


def _verdict_returned(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    comment = json.loads(objects.read(line.data["detail"]))["comment"]
    _insert_decision(connection, line, "returned", comment=comment)


def _insert_decision(
    connection: Connection, line: JournalLine, outcome: str, *, comment: str
) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            line.line_hash,
            data["verdict_id"],
            outcome,
            data["reviewer"],
            data["verified"],
            comment,
            data.get("kept_until"),
            line.seq,
            line.at,
        ],
    )


HANDLERS: dict[str, Callable[[Connection, JournalLine, ObjectStore], None]] = {
    "reader.registered": _reader_registered,
    "reader.removed": _reader_removed,
    "verdict.approved": _verdict_approved,
    "verdict.returned": _verdict_returned,
}
