"""A file that is locked exactly as long as a process works, however that process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def process_lock(path: Path, note: str = "") -> Iterator[bool]:
    """Hold a lock file that the operating system frees when this process dies.

    It tells the living from the dead across containers of one machine, where process ids do not.

    Args:
        path: The file; it is made where it is missing, and removed when the lock ends well.
        note: What the file says while it is held.

    Yields:
        Whether the lock was free; when it was not, another process or thread holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        taken = _try(descriptor)
        if taken:
            os.truncate(descriptor, 0)
            os.write(descriptor, note.encode())
        yield taken
        if taken:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock file; a file of a dead one is not held."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor)
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
