"""Writing a file so that a kill or a power cut leaves the old one or the whole new one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import StorageError
from storage.objects import sync_folder

UNFINISHED = ".part"


@contextmanager
def durable(path: Path) -> Iterator[Path]:
    """Yield a temporary path; at the end it is flushed to disk and takes the place of ``path``.

    After an error nothing is left; after a kill a file that ends in ``UNFINISHED`` may be.

    Raises:
        StorageError: The disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(
            f"{path.name} could not be written: {error.strerror}; free some disk or make the "
            "folder writable, then run the command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
