"""Protocols in a workspace: which one holds, and which one a verdict was given by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
from pydantic import ValidationError

from configs.errors import StorageError, UsageError
from configs.protocols import Protocol, load_protocols
from configs.taxonomy import load_taxonomy
from storage.canonical_json import sha256_hex, to_bytes
from storage.store import Store

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class NamedProtocol:
    """A protocol and its version: the SHA-256 of all that it says."""

    version: str
    protocol: Protocol


def protocols_in_force(store: Store) -> Mapping[str, NamedProtocol]:
    """Return the protocol of each structure, the workspace's own before the shipped ones.

    Raises:
        ConfigError: A file of the workspace breaks a rule.
    """
    found = load_protocols(store.workspace.protocols_path)
    return {name: named(protocol) for name, protocol in found.items()}


def protocol_of(store: Store, structure: str) -> NamedProtocol | None:
    """Return the protocol that holds for a structure; None where an added one has none.

    Raises:
        ConfigError: A file of the workspace breaks a rule.
    """
    found = load_protocols(store.workspace.protocols_path).get(structure)
    return None if found is None else named(found)


def named(protocol: Protocol) -> NamedProtocol:
    """Return a protocol with its version."""
    return NamedProtocol(sha256_hex(to_bytes(protocol.model_dump())), protocol)


def keep_protocol(store: Store, structure: str) -> str | None:
    """Store the protocol that holds now as an object, and return its version; None without one."""
    found = protocol_of(store, structure)
    return None if found is None else store.put_json(found.protocol.model_dump())


def kept_protocol(store: Store, version: str) -> NamedProtocol:
    """Return the protocol of a version that a verdict was given by.

    Args:
        store: The workspace.
        version: The version, or its first digits.

    Raises:
        UsageError: No verdict was given by such a version, or by several.
        StorageError: The object is missing or damaged.
    """
    with store.read() as connection:
        rows = connection.execute(
            "SELECT DISTINCT protocol FROM verdict_protocols WHERE starts_with(protocol, ?)",
            [version],
        ).fetchall()
    if len(rows) != 1 or not version:
        raise UsageError(
            f"a version names one protocol that a verdict was given by, {version!r} names "
            f"{len(rows)}; `atlasloop protocols list` shows the versions"
        )
    try:
        content = json.loads(store.objects.read(rows[0][0]))
        return NamedProtocol(rows[0][0], Protocol.model_validate(content))
    except (ValueError, ValidationError) as error:
        raise StorageError(f"object {rows[0][0]} is no protocol") from error


def verdicts_by_protocol(connection: Connection) -> dict[str, dict[str, int]]:
    """Return structure -> version -> verdicts given by it; the oldest version first."""
    rows = connection.execute(
        """SELECT v.structure, p.protocol, count(*) FROM verdict_protocols p
           JOIN verdicts v ON v.verdict_id = p.verdict_id
           GROUP BY v.structure, p.protocol ORDER BY min(v.seq)"""
    ).fetchall()
    found: dict[str, dict[str, int]] = {name: {} for name in load_taxonomy().names}
    for structure, version, count in rows:
        found.setdefault(structure, {})[version] = count
    return found
