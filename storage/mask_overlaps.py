"""The DSC of pairs of stored masks, kept so that triage decodes a pair once.

Objects never change, so neither does the DSC of two of them. The rows live in the database alone; a
rebuilt one starts without.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from storage.store import Store

Pair = tuple[str, str]
"""Two mask objects of one structure of one case."""


def known_overlaps(connection: duckdb.DuckDBPyConnection) -> dict[Pair, float]:
    """Return the DSC of every pair that was compared."""
    rows = connection.execute("SELECT first, second, dsc FROM mask_overlaps").fetchall()
    return {(first, second): dsc for first, second, dsc in rows}


def keep_overlaps(store: Store, overlaps: Mapping[Pair, float]) -> None:
    """Keep what was computed; a pair that another process kept meanwhile stands twice, alike."""
    if not overlaps:
        return
    rows = [[first, second, dsc] for (first, second), dsc in overlaps.items()]
    with store.transaction() as transaction:
        transaction.connection.executemany("INSERT INTO mask_overlaps VALUES (?, ?, ?)", rows)
