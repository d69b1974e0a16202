"""Making the database again from journal and objects."""

from __future__ import annotations

from pathlib import Path

from storage.database import connect
from storage.store import Store, catch_up


def rebuild(store: Store) -> int:
    """Replace the database by one made from the journal; returns the number of lines applied.

    The new file is made beside the old one and renamed over it, so a kill leaves one of the two.

    Raises:
        StorageError: The journal is broken, or an object that it names is missing or altered.
    """
    target = store.workspace.database_path
    fresh = target.with_name(target.name + ".rebuilding")
    with store.locked():
        lines = replay_into(store, fresh)
        _remove(target)
        fresh.rename(target)
    return lines


def replay_into(store: Store, database_path: Path) -> int:
    """Make a database at ``database_path`` from the whole journal, under the caller's lock."""
    _remove(database_path)
    with connect(database_path, store.settings.storage) as connection:
        return catch_up(connection, store.journal, store.objects)


def _remove(database_path: Path) -> None:
    database_path.unlink(missing_ok=True)
    database_path.with_name(database_path.name + ".wal").unlink(missing_ok=True)
