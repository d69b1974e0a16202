"""The workspace's encodings: vectors as objects, a card each, versions in the journal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UsageError
from storage.canonical_json import JsonObject
from storage.store import Store


@dataclass(frozen=True, slots=True)
class StoredEncoding:
    """An encoding of the workspace.

    Attributes:
        vectors: SHA-256 of the object that holds them.
        card: Where they come from, and the structures in the order of the rows.
        path: Where that object lies.
    """

    name: str
    vectors: str
    card: JsonObject
    path: Path


def store_encoding(store: Store, name: str, vectors: bytes, card: JsonObject) -> StoredEncoding:
    """Store vectors and their card; the newest encoding of a name is the one in force."""
    digest = store.objects.put(vectors)
    with store.transaction() as transaction:
        row = transaction.connection.execute(
            "SELECT vectors FROM current_encodings WHERE name = ?", [name]
        ).fetchone()
        if row is None or row[0] != digest:
            data: JsonObject = {"name": name, "vectors": digest, "card": card}
            transaction.record("encoding.stored", data)
    return StoredEncoding(name, digest, card, store.objects.path(digest))


def stored_encodings(store: Store) -> dict[str, StoredEncoding]:
    """Return the newest encoding of each name."""
    with store.read() as connection:
        rows = connection.execute(
            "SELECT name, vectors, card FROM current_encodings ORDER BY name"
        ).fetchall()
    return {
        name: StoredEncoding(name, vectors, json.loads(card), store.objects.path(vectors))
        for name, vectors, card in rows
    }


def find_encoding(store: Store, name: str) -> StoredEncoding:
    """Return the newest encoding of a name.

    Raises:
        UsageError: There is none.
        StorageError: Its object is missing or altered.
    """
    known = stored_encodings(store)
    if name not in known:
        raise UsageError(
            f"no encoding {name!r} is stored here, known are {', '.join(known) or 'none'}; make "
            f"one with `atlasloop encode --name {name} --source ...`"
        )
    store.objects.read(known[name].vectors)
    return known[name]
