"""Names of readers."""

from __future__ import annotations

from configs.errors import UsageError


def check_reader(name: str) -> None:
    """Raise UsageError unless the name can stand in a label source such as ``reader:NAME``."""
    if not name or name != name.strip() or ":" in name or "/" in name:
        raise UsageError(f"a reader's name has no colon, slash or outer space, got {name!r}")
