"""What the journal lines of blind items and qualification sets do to the database."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb

from storage.journal import JournalLine
from storage.objects import ObjectStore

Connection = duckdb.DuckDBPyConnection


def _blind_assigned(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    for item in json.loads(objects.read(data["items"]))["items"]:
        connection.execute(
            "INSERT INTO blind_items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                line.line_hash,
                item["case_id"],
                item["structure"],
                data["reader"],
                item["arm"],
                item["slot"],
                item["prediction_id"],
                item["truth"],
                data["set"],
                data["frame"],
                line.seq,
                line.at,
            ],
        )


def _set_defined(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO qualification_sets VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            data["name"],
            data["truth"],
            data["items"],
            data["least_dsc"],
            data["least_share"],
            line.seq,
            line.at,
        ],
    )


HANDLERS: dict[str, Callable[[Connection, JournalLine, ObjectStore], None]] = {
    "blind.assigned": _blind_assigned,
    "qualification.defined": _set_defined,
}
