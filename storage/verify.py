"""Checking that journal, objects and database still say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from configs.errors import StorageError
from storage.canonical_json import JsonObject
from storage.database import connect
from storage.journal import JournalLine
from storage.predictions import RAW
from storage.rebuild import replay_into
from storage.store import Store, catch_up

# Which facts of a line name an object, and which of those objects name further ones.
_NAMED_BY_LINE = (
    "fingerprint",
    "source",
    "weights",
    "vectors",
    "manifest",
    "detail",
    "items",
    "table",
    "evidence",
    "protocol",
    "rules",
    "findings",
)
_NAMED_BY_MANIFEST = ("masks", "maps")
# Tables that the journal knows nothing of.
_EPHEMERAL = ("claims", "case_leases", "watched_files", "mask_overlaps")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be.

    Attributes:
        place: Where: a journal line, an object, a table.
        fault: What is wrong there.
    """

    place: str
    fault: str

    def __str__(self) -> str:
        return f"{self.place}: {self.fault}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked.

    Attributes:
        lines: Journal lines whose chain holds.
        objects: Objects named by the journal whose bytes have their hash.
        unnamed: Objects that no line names: left by killed runs, or their lines were cut off.
        findings: Faults; empty when all is well.
    """

    lines: int
    objects: int
    unnamed: int
    findings: tuple[Finding, ...]

    def raise_for_findings(self) -> None:
        """Raise StorageError when something is not as it must be."""
        if self.findings:
            raise StorageError(f"{len(self.findings)} faults found, the first: {self.findings[0]}")


def verify(store: Store) -> Verification:
    """Check the chain, every object and the database, all under the lock."""
    findings: list[Finding] = []
    named: set[str] = set()
    lines = 0
    with store.locked():
        torn = store.journal.set_torn_line_aside()
        if torn is not None:
            findings.append(Finding("journal end", f"an incomplete line was moved to {torn.name}"))
        try:
            for line in store.journal.lines():
                lines = line.seq
                for digest in _objects_of(store, line):
                    if digest not in named and not store.objects.is_intact(digest):
                        place = f"object {digest} (journal line {line.seq})"
                        findings.append(Finding(place, "missing or altered"))
                    named.add(digest)
        except StorageError as error:
            findings.append(Finding("journal", str(error)))
        if not findings:
            findings.extend(_database_findings(store))
    unnamed = sum(1 for digest in store.objects.digests() if digest not in named)
    return Verification(lines, len(named), unnamed, tuple(findings))


def _objects_of(store: Store, line: JournalLine) -> Iterator[str]:
    for key in _NAMED_BY_LINE:
        digest = line.data.get(key)
        if isinstance(digest, str):
            yield digest
            if key == "manifest" and store.objects.is_intact(digest):
                yield from _objects_of_manifest(json.loads(store.objects.read(digest)))
    for member in line.data.get("members", ()) if line.kind == "gate.decided" else ():
        yield member["challenger"]
    for version in line.data.get("versions", ()):
        if version["object"] is not None:
            yield version["object"]


def _objects_of_manifest(manifest: JsonObject) -> Iterator[str]:
    for part in _NAMED_BY_MANIFEST:
        yield from (entry["object"] for entry in manifest[part])
    # Manifests from before there were rules name none.
    if manifest.get("post_process", RAW) != RAW:
        yield manifest["post_process"]


def _database_findings(store: Store) -> Iterator[Finding]:
    """Compare the database, brought up to date, with one made from the journal alone."""
    current = store.workspace.database_path
    fresh = current.with_name(current.name + ".verifying")
    try:
        with connect(current, store.settings.storage) as connection:
            catch_up(connection, store.journal, store.objects)
        replay_into(store, fresh)
        with connect(fresh, store.settings.storage) as connection:
            connection.execute(f"ATTACH '{_quoted(str(current))}' AS kept (READ_ONLY)")
            for table in _tables(connection):
                rows = connection.execute(
                    f"""SELECT count(*) FROM (
                        (SELECT * FROM {table} EXCEPT ALL SELECT * FROM kept.{table})
                        UNION ALL
                        (SELECT * FROM kept.{table} EXCEPT ALL SELECT * FROM {table}))"""  # noqa: S608 names from the catalog
                ).fetchone()
                if rows and rows[0]:
                    fault = f"{rows[0]} rows differ from the journal; run `atlasloop rebuild`"
                    yield Finding(f"database table {table}", fault)
    except StorageError as error:
        yield Finding("database", str(error))
    finally:
        fresh.unlink(missing_ok=True)


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() "
        "ORDER BY table_name"
    ).fetchall()
    return [row[0] for row in rows if row[0] not in _EPHEMERAL]


def _quoted(text: str) -> str:
    return text.replace("'", "''")
