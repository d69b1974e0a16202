"""Make a workspace."""

from __future__ import annotations

from pathlib import Path

from configs.taxonomy import use_taxonomy
from storage.store import Store
from storage.workspace import create_workspace


def init(root: Path) -> Store:
    """Make the workspace folder and its first journal line; a workspace that is there is kept.

    Raises:
        UsageError: The folder cannot be written to, or the structures it adds break a rule.
    """
    use_taxonomy(create_workspace(root).taxonomy_path)
    store = Store.open(root)
    with store.transaction() as transaction:
        row = transaction.connection.execute("SELECT seq FROM journal_position").fetchone()
        if row is None or row[0] == 0:
            transaction.record("workspace.created", {"format": 1})
    return store
