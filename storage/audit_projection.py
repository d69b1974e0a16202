"""What the journal lines of the audit and of bounds do to the database."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb

from storage.canonical_json import JsonObject
from storage.journal import JournalLine
from storage.objects import ObjectStore

Connection = duckdb.DuckDBPyConnection


def _audit_opened(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    connection.execute(
        "INSERT INTO audit_seeds VALUES (?, ?, ?)", [line.data["seed"], line.seq, line.at]
    )


def _audit_drawn(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    """Put items where their reader finds them: on the queue page blind, or among the readings."""
    for item in json.loads(objects.read(line.data["items"]))["items"]:
        if item["arm"] != "ranked":
            _insert_draw(connection, line, item)
        if item["arm"] == "unaided":
            connection.execute(
                "INSERT INTO assignments VALUES (?, ?, ?, ?, ?, ?)",
                [
                    line.line_hash,
                    item["case_id"],
                    item["structure"],
                    line.data["reader"],
                    line.seq,
                    line.at,
                ],
            )
        else:
            _insert_blind(connection, line, item)


def _insert_draw(connection: Connection, line: JournalLine, item: JsonObject) -> None:
    connection.execute(
        "INSERT INTO audit_draws VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            line.line_hash,
            item["case_id"],
            item["structure"],
            item["prediction_id"],
            line.data["reader"],
            item["arm"] == "unaided",
            line.data["frame"],
            item["place"],
            line.seq,
            line.at,
        ],
    )


def _insert_blind(connection: Connection, line: JournalLine, item: JsonObject) -> None:
    connection.execute(
        "INSERT INTO blind_items VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, ?, ?)",
        [
            line.line_hash,
            item["case_id"],
            item["structure"],
            line.data["reader"],
            item["arm"],
            item["slot"],
            item["prediction_id"],
            line.data["frame"],
            line.seq,
            line.at,
        ],
    )


def _release_bounded(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO release_bounds VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            line.line_hash,
            data["release_id"],
            data["dsc"],
            data["confidence"],
            data["answers"],
            data["evidence"],
            line.seq,
            line.at,
        ],
    )


HANDLERS: dict[str, Callable[[Connection, JournalLine, ObjectStore], None]] = {
    "audit.opened": _audit_opened,
    "audit.drawn": _audit_drawn,
    "release.bounded": _release_bounded,
}
