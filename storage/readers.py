"""Readers: their names, and who acts."""

from __future__ import annotations

from dataclasses import dataclass

from configs.errors import UsageError
from configs.settings import ReviewSettings


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something.

    Attributes:
        name: A reader's name.
        verified: A login vouches for the name; without one it is what somebody typed.
    """

    name: str
    verified: bool = False

    def __post_init__(self) -> None:
        check_reader(self.name)


def who_acts(settings: ReviewSettings, name: str | None = None) -> Actor | None:
    """Return who acts, and whether the name was verified: the only place that says so.

    There is no login yet: pages and commands are for this machine, and a name is taken on trust.

    Args:
        settings: The section ``[review]``, which may name a reader.
        name: A name that was given for this one action.

    Returns:
        None where nobody is named.

    Raises:
        UsageError: The name cannot be a reader's.
    """
    given = name or settings.reader
    return Actor(given, verified=False) if given else None


def check_reader(name: str) -> None:
    """Raise UsageError unless the name can stand in a label source such as ``reader:NAME``."""
    if not name or name != name.strip() or ":" in name or "/" in name:
        raise UsageError(f"a reader's name has no colon, slash or outer space, got {name!r}")
