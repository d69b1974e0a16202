"""The DuckDB index: opened, used and closed under one exclusive lock, rebuilt from the journal."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb
import filelock

from configs.errors import StorageError
from configs.setting_sections import StorageSettings

# Most hold it for some 30 ms; who looks for it more seldom waits longer than it is held.
_LOOK_EVERY_S = 0.01

_HELD: ContextVar[frozenset[Path]] = ContextVar("held_locks", default=frozenset())


@contextmanager
def workspace_lock(path: Path, timeout_s: float) -> Iterator[None]:
    """Hold the workspace's one exclusive lock; the operating system frees it when we die.

    Raises:
        StorageError: Another process kept it for longer than ``timeout_s``, or this code path
            already holds it (nested use would deadlock or hide a long transaction).
    """
    held = _HELD.get()
    if path in held:
        raise StorageError("read() and transaction() never nest: this call holds the workspace")
    lock = filelock.FileLock(path, timeout=timeout_s)
    try:
        lock.acquire(poll_interval=_LOOK_EVERY_S)
    except filelock.Timeout as error:
        raise StorageError(
            f"another process has kept the workspace for {timeout_s:g} s; wait for it, or raise "
            "storage.lock_timeout_s"
        ) from error
    except OSError as error:
        raise StorageError(f"the workspace cannot be locked: {error.strerror}") from error
    token = _HELD.set(held | {path})
    try:
        yield
    finally:
        _HELD.reset(token)
        lock.release()


@contextmanager
def connect(path: Path, settings: StorageSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database file, bring its schema up to date, and close it again.

    Only to be used under the workspace's lock. There is one connection mode for everybody.

    Raises:
        StorageError: The file is damaged, or its schema is newer than this program.
    """
    config = {"threads": settings.threads, "memory_limit": settings.memory_limit}
    try:
        connection = duckdb.connect(str(path), config=config)
    except duckdb.Error as error:
        raise StorageError(
            "the database file cannot be opened; run `atlasloop rebuild`, which makes it again "
            f"from the journal ({_first_line(error)})"
        ) from error
    try:
        migrate(connection, path)
        yield connection
    except duckdb.Error as error:
        raise StorageError(
            f"the database refused an operation; `atlasloop rebuild` makes it again from the "
            f"journal ({_first_line(error)})"
        ) from error
    finally:
        connection.close()


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    version: int
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Return the shipped migrations in order."""
    found = []
    for entry in resources.files("storage.migrations").iterdir():
        if match := re.fullmatch(r"(\d{4})_\w+\.sql", entry.name):
            found.append(Migration(int(match[1]), entry.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.version))


def migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Apply the migrations that the database lacks, after copying an existing file.

    Raises:
        StorageError: The schema is newer than this program knows.
    """
    known = migrations()
    version = _schema_version(connection)
    newest = known[-1].version
    if version > newest:
        raise StorageError(
            f"the database has schema {version}, this AtlasLoop knows up to {newest}; use the "
            "newer AtlasLoop, or `atlasloop rebuild` to go back"
        )
    for migration in known[version:]:
        if version > 0:
            connection.execute("CHECKPOINT")
            shutil.copy2(path, path.with_name(f"{path.name}.before-{migration.version:04d}"))
        connection.execute("BEGIN")
        connection.execute(migration.sql)
        connection.execute("INSERT INTO schema_version VALUES (?)", [migration.version])
        connection.execute("COMMIT")


def _schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(row[0]) if row else 0


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
