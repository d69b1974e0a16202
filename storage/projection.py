"""What each kind of journal line does to the database; replaying all of them makes it anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import duckdb

from configs.errors import StorageError
from storage import (
    audit_projection,
    blind_projection,
    findings_projection,
    label_projection,
    reader_projection,
)
from storage.journal import JournalLine
from storage.objects import ObjectStore
from storage.queue_table import insert_queue

Connection = duckdb.DuckDBPyConnection

# Column lists of rows that arrive as JSON; one statement inserts all rows of a case.
_MASK_ROWS = """[{"member":"VARCHAR","structure":"VARCHAR","object":"VARCHAR","box":["INTEGER"],
"voxels":"BIGINT"}]"""
_MAP_ROWS = """[{"kind":"VARCHAR","structure":"VARCHAR","object":"VARCHAR","box":["INTEGER"]}]"""
_SCORE_ROWS = """[{"member":"VARCHAR","structure":"VARCHAR","volume_ml":"DOUBLE",
"entropy_mean":"DOUBLE","entropy_border":"DOUBLE","self_consistency":"DOUBLE",
"pairwise_dice":"DOUBLE","inconsistency":"DOUBLE","overlap_exclusive":"DOUBLE",
"max_probability":"DOUBLE","removed_ml":"DOUBLE","pairwise_dice_least":"DOUBLE",
"entropy_worst":"DOUBLE","tta_dice":"DOUBLE","attention_voxels":"BIGINT",
"attention_heat":"DOUBLE","attention_mm3":"DOUBLE"}]"""
_CANDIDATE_ROWS = """[{"structure":"VARCHAR","peak":"DOUBLE","volume_ml":"DOUBLE",
"centre":["INTEGER"],"host_share":"DOUBLE","in_mask":"BOOLEAN"}]"""


def apply_line(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    """Bring the database up to one journal line, inside the caller's transaction.

    Raises:
        StorageError: The line's kind is unknown, or an object that it names is missing or altered.
    """
    handler = _HANDLERS.get(line.kind)
    if handler is None:
        raise StorageError(
            f"journal line {line.seq} is a {line.kind!r}, which this AtlasLoop does not know; use "
            "the newer AtlasLoop that wrote it"
        )
    handler(connection, line, objects)
    connection.execute(
        "UPDATE journal_position SET seq = ?, line_hash = ?, end_offset = ?",
        [line.position.seq, line.position.line_hash, line.position.offset],
    )


def _nothing(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    """A line that only marks time, such as the workspace's first."""


def _case_registered(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            data["case_id"],
            data["content_id"],
            data["shape"],
            data["spacing_mm"],
            data["orientation"],
            data["affine"],
            data["hu_percentiles"],
            objects.read(data["fingerprint"]),
            line.seq,
            line.at,
        ],
    )


def _file_found(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    source = _json_object(objects, line.data["source"])
    connection.execute(
        "INSERT INTO case_files VALUES (?, ?, ?, ?, ?, ?)",
        [
            line.data["case_id"],
            source["path"],
            source["file_sha256"],
            source["file_bytes"],
            line.seq,
            line.at,
        ],
    )


def _file_quarantined(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    source = _json_object(objects, line.data["source"])
    connection.execute(
        "INSERT INTO quarantined_files VALUES (?, ?, ?, ?, ?, ?)",
        [
            line.data["file_id"],
            source["path"],
            line.data["reason"],
            source["message"],
            line.seq,
            line.at,
        ],
    )


def _patient_assigned(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO patients VALUES (?, ?, ?, ?, ?)",
        [data["case_id"], data["patient_id"], data["assigned_by"], line.seq, line.at],
    )


def _twins_found(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO twins VALUES (?, ?, ?, ?)",
        [data["case_a"], data["case_b"], data["similarity"], line.seq],
    )


def _model_registered(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO models VALUES (?, ?, ?, ?, ?)",
        [data["name"], data["weights"], json.dumps(data["card"]), line.seq, line.at],
    )


def _encoding_stored(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO encodings VALUES (?, ?, ?, ?, ?)",
        [data["name"], data["vectors"], json.dumps(data["card"]), line.seq, line.at],
    )


def _run_started(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?)",
        [data["run_id"], data["verb"], json.dumps(data["facts"]), line.seq, line.at],
    )


def _case_annotated(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    manifest = _json_object(objects, data["manifest"])
    connection.execute(
        "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            line.line_hash,
            data["case_id"],
            data["committee_id"],
            data["run_id"],
            data["manifest"],
            data["seconds"],
            line.seq,
            line.at,
        ],
    )
    _insert_rows(connection, "masks", line.line_hash, manifest["masks"], _MASK_ROWS)
    _insert_rows(connection, "maps", line.line_hash, manifest["maps"], _MAP_ROWS)
    _insert_rows(connection, "scores", line.line_hash, manifest["scores"], _SCORE_ROWS)
    # Manifests from before there were rules have none.
    candidates = manifest.get("candidates", [])
    _insert_rows(connection, "lesion_candidates", line.line_hash, candidates, _CANDIDATE_ROWS)


def _case_failed(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    detail = _json_object(objects, data["detail"])
    connection.execute(
        "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            data["case_id"],
            data["committee_id"],
            data["run_id"],
            data["reason"],
            detail["message"],
            line.seq,
            line.at,
        ],
    )


def _queue_ranked(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    # Lines from before there were estimates say nothing of how they were ranked.
    facts = json.dumps(data["facts"]) if "facts" in data else None
    connection.execute(
        "INSERT INTO queue_snapshots VALUES (?, ?, ?, ?, ?, ?)",
        [line.line_hash, data["committee_id"], data["policy"], line.seq, line.at, facts],
    )
    insert_queue(connection, line, objects)


_HANDLERS: dict[str, Callable[[Connection, JournalLine, ObjectStore], None]] = {
    "workspace.created": _nothing,
    "case.registered": _case_registered,
    "file.found": _file_found,
    "file.quarantined": _file_quarantined,
    "patient.assigned": _patient_assigned,
    "twins.found": _twins_found,
    "model.registered": _model_registered,
    "encoding.stored": _encoding_stored,
    "run.started": _run_started,
    "case.annotated": _case_annotated,
    "case.failed": _case_failed,
    "queue.ranked": _queue_ranked,
    **findings_projection.HANDLERS,
    **label_projection.HANDLERS,
    **reader_projection.HANDLERS,
    **blind_projection.HANDLERS,
    **audit_projection.HANDLERS,
}


def _json_object(objects: ObjectStore, digest: str) -> dict[str, Any]:
    try:
        return json.loads(objects.read(digest))
    except ValueError as error:
        raise StorageError(f"object {digest} is no JSON document") from error


def _insert_rows(
    connection: Connection, table: str, owner: str, rows: list[dict[str, Any]], columns: str
) -> None:
    """Insert JSON rows behind their owner's id; the table's columns stand in the same order."""
    if not rows:
        return
    connection.execute(
        f"INSERT INTO {table} "  # noqa: S608 the table name is a literal of this module
        "SELECT ?, row.* FROM (SELECT unnest(from_json(?::JSON, ?)) AS row)",
        [owner, json.dumps(rows), columns],
    )
