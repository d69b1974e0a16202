"""The one way into a workspace: read the index, or commit facts to journal and index."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from configs.errors import StorageError
from configs.settings import Settings, load_settings
from configs.taxonomy import check_taxonomy_in_use
from storage import projection
from storage.canonical_json import JsonObject, to_bytes
from storage.database import connect, workspace_lock
from storage.journal import Journal, JournalLine, Position
from storage.objects import ObjectStore
from storage.workspace import Workspace, open_workspace

_LOG = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int] | int | None, ...]
_HEAD_BYTES = 3 * 4096


class Transaction:
    """A guarded read-then-write: what is read here cannot change before what is recorded here."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, journal: Journal, objects: ObjectStore
    ) -> None:
        self.connection = connection
        self._journal = journal
        self._objects = objects

    def record(self, kind: str, data: JsonObject) -> JournalLine:
        """Commit one fact: journal line (flushed, the only commit point), then database rows.

        Objects that the line names must have been stored before.
        """
        line = self._journal.append(_position(self.connection), kind, data)
        projection.apply_line(self.connection, line, self._objects)
        return line

    def record_with_object(
        self, kind: str, data: JsonObject, *, key: str, content: JsonObject
    ) -> JournalLine:
        """Store ``content`` as an object, then record a line whose ``key`` names it."""
        return self.record(kind, {**data, key: self._objects.put(to_bytes(content))})


@dataclass(frozen=True, slots=True)
class Store:
    """A workspace that is open for use; holds no connection and no lock between calls."""

    workspace: Workspace
    settings: Settings
    objects: ObjectStore
    journal: Journal

    @classmethod
    def open(cls, root: Path, settings: Settings | None = None) -> Store:
        """Open the workspace in a folder.

        Raises:
            UsageError: The folder is no workspace, or it adds structures and ``use_taxonomy`` was
                not called in this process or above it.
        """
        workspace = open_workspace(root)
        check_taxonomy_in_use(workspace.taxonomy_path)
        settings = settings or load_settings(workspace.settings_path).settings
        objects = ObjectStore(workspace.objects_path)
        return cls(workspace, settings, objects, Journal(workspace.journal_path))

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the index for a query: lock, catch up with the journal, query, close.

        Raises:
            StorageError: The workspace is locked, nested, damaged or newer than this program.
        """
        with self._locked_connection() as connection:
            yield connection

    def stamp(self) -> Stamp:
        """Return what changes with every write to the workspace; it needs no lock.

        Where two are equal, nothing was written in between: a write makes the journal longer, or
        changes the head of the database, where DuckDB counts. Times alone are too coarse on some
        file systems.
        """
        database = self.workspace.database_path
        # What a killed writer left is in the log beside the database until the next one opens it.
        log = database.with_name(f"{database.name}.wal")
        paths = (self.workspace.journal_path, database, log)
        return (*map(_time_and_size, paths), _head(database))

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Open the index for reading and then writing, under the same lock as everybody else.

        What ``record`` wrote to the journal stands even when the block fails afterwards: the next
        reader brings the database up to it.
        """
        with self._locked_connection() as connection:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection, self.journal, self.objects)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def put_json(self, content: JsonObject) -> str:
        """Store a JSON document as an object and return its SHA-256."""
        return self.objects.put(to_bytes(content))

    @contextmanager
    def _locked_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.locked(), connect(self.workspace.database_path, self.settings.storage) as opened:
            catch_up(opened, self.journal, self.objects)
            yield opened

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the workspace's lock without opening the database, for rebuild and verify."""
        with workspace_lock(self.workspace.lock_path, self.settings.storage.lock_timeout_s):
            yield


def _time_and_size(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size


def _head(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return zlib.crc32(file.read(_HEAD_BYTES))
    except FileNotFoundError:
        return 0


def catch_up(connection: duckdb.DuckDBPyConnection, journal: Journal, objects: ObjectStore) -> int:
    """Apply the journal lines that the database lacks; returns how many.

    Raises:
        StorageError: The journal no longer holds what the database was made from, or is broken.
    """
    position = _position(connection)
    if journal.size() == position.offset and journal.holds(position):
        return 0
    aside = journal.set_torn_line_aside()
    if aside is not None:
        _LOG.warning("an incomplete last journal line was moved to %s", aside.name)
    if not journal.holds(position):
        raise StorageError(
            f"the journal was cut or altered at or before line {position.seq} (byte "
            f"{position.offset}): it no longer holds what the database was made from; restore "
            "journal.jsonl from a copy, then run `atlasloop verify`"
        )
    applied = 0
    connection.execute("BEGIN")
    try:
        for line in journal.lines(position):
            projection.apply_line(connection, line, objects)
            applied += 1
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return applied


def _position(connection: duckdb.DuckDBPyConnection) -> Position:
    row = connection.execute("SELECT seq, line_hash, end_offset FROM journal_position").fetchone()
    if row is None:
        raise StorageError("the database lost its place in the journal; run `atlasloop rebuild`")
    return Position(*row)
