"""The rows of a queue's snapshot as an object: a Parquet file, since there may be a million."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from configs.errors import StorageError
from storage.journal import JournalLine
from storage.objects import ObjectStore

Connection = duckdb.DuckDBPyConnection
QueueColumns = Mapping[str, npt.NDArray[Any]]

TYPES: Mapping[str, tuple[Any, str]] = {
    "position": (np.int32, "INTEGER"),
    "kind": (object, "VARCHAR"),
    "case_id": (object, "VARCHAR"),
    "structure": (object, "VARCHAR"),
    "risk": (np.float64, "DOUBLE"),
    "reason": (object, "VARCHAR"),
    "predicted_dsc": (np.float64, "DOUBLE"),
    "dsc_low": (np.float64, "DOUBLE"),
    "dsc_high": (np.float64, "DOUBLE"),
    "presence": (np.float64, "DOUBLE"),
    "minutes": (np.float64, "DOUBLE"),
    "gain": (np.float64, "DOUBLE"),
}
"""Column -> its type in numpy and in the index."""

# Snapshots were JSON before they had estimates.
_OLD_ROWS = """[{"position":"INTEGER","kind":"VARCHAR","case_id":"VARCHAR",
"structure":"VARCHAR","risk":"DOUBLE","reason":"VARCHAR"}]"""

_PLACE = "min(item.position) OVER (PARTITION BY item.case_id) AS case_place"


def packed_queue(columns: QueueColumns) -> bytes:
    """Return the rows as a Parquet file, in the order of their positions; NaN becomes NULL.

    Raises:
        ValueError: A column is missing or has another length.
        StorageError: The folder for temporary files is full.
    """
    lengths = {len(columns[name]) for name in TYPES if name in columns}
    if set(columns) != set(TYPES) or len(lengths) != 1:
        raise ValueError(
            f"a queue has the columns {tuple(TYPES)}, equally long; got {tuple(columns)} of "
            f"{sorted(lengths)} rows"
        )
    rows = {name: np.asarray(columns[name], TYPES[name][0]) for name in TYPES}
    selected = ", ".join(
        f"CAST({_value(name)} AS {sql}) AS {name}" for name, (_, sql) in TYPES.items()
    )
    with tempfile.TemporaryDirectory(prefix="atlasloop-queue-") as folder, duckdb.connect() as own:
        path = Path(folder) / "queue.parquet"
        quoted = str(path).replace("'", "''")
        own.register("queue", rows)
        try:
            own.execute(
                f"COPY (SELECT {selected} FROM queue ORDER BY position, kind) "  # noqa: S608 ours
                f"TO '{quoted}' (FORMAT parquet, COMPRESSION zstd)"
            )
        except duckdb.IOException as error:
            raise StorageError(
                "the queue could not be written to the folder for temporary files; free some disk, "
                "or name another folder in TMPDIR"
            ) from error
        return path.read_bytes()


def insert_queue(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    """Put the rows of a snapshot that a journal line names, with the predictions they mean.

    They take the place of the rows before: nobody asks for those, and nightly ranks of ten thousand
    CTs would fill the index with them. Journal and objects keep every snapshot.

    Raises:
        StorageError: The object is missing or altered.
    """
    joined = """JOIN closed_cases c ON c.case_id = item.case_id AND c.committee_id = $committee"""
    named = {"snapshot": line.line_hash, "committee": line.data["committee_id"]}
    connection.execute("DELETE FROM queue_items")
    if "table" in line.data:
        digest = line.data["table"]
        if not objects.is_intact(digest):
            raise StorageError(f"object {digest} is missing or altered; see `atlasloop verify`")
        connection.execute(
            f"""INSERT INTO queue_items BY NAME
                SELECT $snapshot AS snapshot_id, item.*, c.prediction_id, {_PLACE}
                FROM read_parquet($path) item {joined}
                ORDER BY case_place, position""",  # noqa: S608 literals of this module
            {**named, "path": _literal(objects.path(digest))},
        )
        return
    items = json.loads(objects.read(line.data["items"]))["items"]
    connection.execute(
        f"""INSERT INTO queue_items BY NAME
            SELECT $snapshot AS snapshot_id, item.position, item.kind, item.case_id,
                   item.structure, item.risk, item.reason, c.prediction_id, {_PLACE}
            FROM (SELECT unnest(from_json($items::JSON, $columns)) AS item) {joined}""",  # noqa: S608
        {**named, "items": json.dumps(items), "columns": _OLD_ROWS},
    )


def _value(name: str) -> str:
    return f"nullif({name}, 'NaN'::DOUBLE)" if TYPES[name][1] == "DOUBLE" else name


def _literal(path: Path) -> str:
    """Return a path in which nothing stands for other characters."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in str(path))
