"""How the registered readers look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from flows.tables import print_line, print_table
from storage.reader_registry import RegisteredReader
from storage.roles import ALLOWED


def print_readers(readers: Sequence[RegisteredReader]) -> None:
    """Print who is registered, and what each role may do."""
    if not readers:
        print_open()
        return
    cells = [
        (one.name, one.role, one.given_by, one.since.isoformat(" ", "seconds")) for one in readers
    ]
    print_table("Readers", ["name", "role", "given by", "since (UTC)"], cells)
    for role, actions in ALLOWED.items():
        print_line(f"{role}: {', '.join(sorted(actions))}")
    print_line("Names are not verified: whoever can start a command here can give any of them.")


def print_open() -> None:
    """Say that nobody is registered, and what that means."""
    print_line(
        "No reader is registered: whoever reaches this workspace may do everything under any name. "
        "`atlasloop readers add NAME --role admin` registers the first."
    )
