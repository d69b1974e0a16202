"""Show the definitions that readers go by, those of today and those of older verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from flows.tables import print_line, print_table
from storage.protocols import (
    kept_protocol,
    protocol_of,
    protocols_in_force,
    verdicts_by_protocol,
)
from storage.store import Store

_DIGITS = 12


@dataclass(frozen=True, slots=True)
class ListedProtocol:
    """One structure's protocol.

    Attributes:
        version: The hash of the one that holds; None where there is none.
        number: What its author counts.
        verdicts: Verdicts that were given by it.
        older: Version -> verdicts that were given by another one.
    """

    structure: str
    version: str | None
    number: int | None
    summary: str
    verdicts: int
    older: dict[str, int]


@dataclass(frozen=True, slots=True)
class ShownProtocol:
    """A protocol in full; ``picture`` is SVG text or empty."""

    structure: str
    version: str
    number: int
    summary: str
    includes: tuple[str, ...]
    excludes: tuple[str, ...]
    limits: tuple[str, ...]
    pitfalls: tuple[str, ...]
    picture: str


def list_protocols(store: Store) -> list[ListedProtocol]:
    """Return the protocol of every structure, in the taxonomy's order."""
    in_force = protocols_in_force(store)
    with store.read() as connection:
        given = verdicts_by_protocol(connection)
    rows = []
    for name in load_taxonomy().names:
        found = in_force.get(name)
        counts = dict(given[name])
        current = counts.pop(found.version, 0) if found else 0
        rows.append(
            ListedProtocol(
                name,
                found and found.version,
                found and found.protocol.version,
                found.protocol.summary if found else "",
                current,
                counts,
            )
        )
    return rows


def show_protocol(store: Store, structure: str, version: str | None = None) -> ShownProtocol:
    """Return the protocol of a structure, or an older one that a verdict names.

    Raises:
        UsageError: The structure is unknown, or the version is none of it.
    """
    name = load_taxonomy()[structure].name
    found = protocol_of(store, name) if version is None else kept_protocol(store, version)
    if found is None or name not in found.protocol.structures:
        raise UsageError(
            f"there is no such protocol of {name}; put one into "
            f"{store.workspace.protocols_path.name}/{name}.toml of the workspace, or see "
            "`atlasloop protocols list`"
        )
    one = found.protocol
    return ShownProtocol(
        structure=name,
        version=found.version,
        number=one.version,
        summary=one.summary,
        includes=one.includes,
        excludes=one.excludes,
        limits=one.limits,
        pitfalls=one.pitfalls,
        picture=one.picture,
    )


def print_protocols(rows: Sequence[ListedProtocol]) -> None:
    """Print a line a structure."""
    cells = [
        (
            row.structure,
            row.number,
            row.version and row.version[:_DIGITS],
            row.summary,
            row.verdicts,
            ", ".join(f"{old[:_DIGITS]}: {count}" for old, count in row.older.items()),
        )
        for row in rows
    ]
    columns = ["structure", "no.", "version", "what it is", "verdicts", "by other versions"]
    print_table("Protocols", columns, cells)


def print_protocol(shown: ShownProtocol) -> None:
    """Print one protocol in full."""
    print_line(f"{shown.structure}, protocol {shown.number} ({shown.version[:_DIGITS]})")
    print_line(shown.summary)
    parts = {
        "In the mask": shown.includes,
        "Not in the mask": shown.excludes,
        "Limits": shown.limits,
        "Pitfalls": shown.pitfalls,
    }
    for title, lines in parts.items():
        if lines:
            print_line(f"{title}:")
        for line in lines:
            print_line(f"  - {line}")
    if shown.picture:
        print_line("A picture goes with it: see the review app, or --json.")
