"""What the journal lines of review, retraining and release do to the database."""

from __future__ import annotations

import json
from collections.abc import Callable

import duckdb

from storage.canonical_json import sha256_hex
from storage.journal import JournalLine
from storage.objects import ObjectStore

Connection = duckdb.DuckDBPyConnection


def version_id(line_hash: str, structure: str) -> str:
    """Return the id of the label version that a journal line made for a structure."""
    return "v-" + sha256_hex(f"{line_hash}/{structure}".encode())[:16]


def _verdict_given(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            line.line_hash,
            data["case_id"],
            data["structure"],
            data["reading"],
            data["verdict"],
            data["reader"],
            data["tags"],
            data["base_version"],
            data["request_id"],
            data["opened_at"],
            data["active_s"],
            data["voxels_changed"],
            line.seq,
            line.at,
            # Lines from before there were roles say neither.
            data.get("verified"),
            data.get("restores"),
        ],
    )
    _insert_versions(connection, line, source=f"reader:{data['reader']}", reading=data["reading"])
    # Lines from before there were protocols name none.
    if data.get("protocol") is not None:
        connection.execute(
            "INSERT INTO verdict_protocols VALUES (?, ?)", [line.line_hash, data["protocol"]]
        )


def _labels_imported(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    _insert_versions(connection, line, source=f"dataset:{line.data['dataset']}", reading="dataset")
    for structure in line.data.get("weak", ()):
        connection.execute(
            "INSERT INTO weak_labels VALUES (?)", [version_id(line.line_hash, structure)]
        )


def _dataset_case(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO dataset_cases VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            data["case_id"],
            data["dataset"],
            json.loads(objects.read(data["source"]))["name"],
            data["license"],
            data["annotated"],
            data["weak"],
            line.seq,
            line.at,
        ],
    )


def _insert_versions(
    connection: Connection, line: JournalLine, *, source: str, reading: str
) -> None:
    verdict_id = line.line_hash if "verdict" in line.data else None
    for version in line.data["versions"]:
        connection.execute(
            "INSERT INTO label_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                version_id(line.line_hash, version["structure"]),
                verdict_id,
                line.data["case_id"],
                version["structure"],
                source,
                reading,
                version["linked"],
                version["object"],
                version["box"],
                version["voxels"],
                version["parent"],
                line.seq,
                line.at,
            ],
        )


def _reading_assigned(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    for structure in data["structures"]:
        connection.execute(
            "INSERT INTO assignments VALUES (?, ?, ?, ?, ?, ?)",
            [line.line_hash, data["case_id"], structure, data["reader"], line.seq, line.at],
        )


def _split_frozen(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    for patient_id, role in line.data["roles"].items():
        connection.execute(
            "INSERT INTO splits VALUES (?, ?, ?, ?)", [patient_id, role, line.seq, line.at]
        )


def _gate_decided(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO gates VALUES (?, ?, ?, ?, ?, ?)",
        [line.line_hash, data["outcome"], data["reason"], data["evidence"], line.seq, line.at],
    )
    for member in data["members"]:
        connection.execute(
            "INSERT INTO gate_members VALUES (?, ?, ?, ?)",
            [line.line_hash, member["name"], member["champion"], member["challenger"]],
        )
        if data["outcome"] == "promoted":
            connection.execute(
                "INSERT INTO models VALUES (?, ?, ?, ?, ?)",
                [
                    member["weights"],
                    member["challenger"],
                    json.dumps(member["card"]),
                    line.seq,
                    line.at,
                ],
            )


def _release_frozen(connection: Connection, line: JournalLine, objects: ObjectStore) -> None:
    data = line.data
    connection.execute(
        "INSERT INTO releases VALUES (?, ?, ?, ?, ?, ?)",
        [data["release_id"], data["name"], data["items"], data["head_hash"], line.seq, line.at],
    )


HANDLERS: dict[str, Callable[[Connection, JournalLine, ObjectStore], None]] = {
    "verdict.given": _verdict_given,
    "labels.imported": _labels_imported,
    "dataset.case": _dataset_case,
    "reading.assigned": _reading_assigned,
    "split.frozen": _split_frozen,
    "gate.decided": _gate_decided,
    "release.frozen": _release_frozen,
}
