"""What the journal lines of plausibility checks do to the database."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb

from storage.journal import JournalLine
from storage.objects import ObjectStore

Connection = duckdb.DuckDBPyConnection

_ROWS = """[{"structure":"VARCHAR","rule":"VARCHAR","severity":"VARCHAR","other":"VARCHAR",
"value":"DOUBLE","place":["INTEGER"],"explanation":"VARCHAR","mentions":["VARCHAR"]}]"""


def _case_checked(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO checked_predictions VALUES (?, ?, ?, ?)",
        [data["prediction_id"], data["rules"], line.seq, line.at],
    )
    found = json.loads(objects.read(data["findings"]))["findings"]
    if found:
        connection.execute(
            "INSERT INTO findings "
            "SELECT ?, ?, row.* FROM (SELECT unnest(from_json(?::JSON, ?)) AS row)",
            [data["prediction_id"], line.seq, json.dumps(found), _ROWS],
        )


HANDLERS: dict[str, Callable[[Connection, JournalLine, ObjectStore], None]] = {
    "case.checked": _case_checked,
}
