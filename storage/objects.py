"""Content-addressed files: every mask, map, manifest and checkpoint is named by its SHA-256."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from configs.errors import StorageError
from storage.canonical_json import sha256_hex

_READ_BYTES = 1 << 20


class ObjectStore:
    """A folder of immutable files.

    A file is written under a temporary name, flushed to disk and renamed, and the folder is flushed
    after it, so that a kill at any instant leaves either the whole object or none.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"

    def put(self, data: bytes) -> str:
        """Store some bytes and return their SHA-256; equal bytes are stored once.

        Raises:
            StorageError: The disk is full or the folder cannot be written to.
        """
        digest = sha256_hex(data)
        target = self.path(digest)
        try:
            if target.exists():
                # Whoever renamed it there may not have flushed the folder yet.
                sync_folder(target.parent)
                return digest
            self._write(data, target)
        except OSError as error:
            raise StorageError(
                f"an object of {len(data)} bytes could not be written: {error.strerror}; "
                "free some disk or make the workspace writable, then run the command again"
            ) from error
        return digest

    def path(self, digest: str) -> Path:
        """Return where the object of this SHA-256 lies, whether or not it is there."""
        return self.root / digest[:2] / digest

    def read(self, digest: str) -> bytes:
        """Return the bytes of an object.

        Raises:
            StorageError: The object is missing, or its bytes do not have the hash in its name.
        """
        path = self.path(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise StorageError(
                f"object {digest} is missing; `atlasloop verify` lists what else is"
            ) from error
        if sha256_hex(data) != digest:
            raise StorageError(f"object {digest} was altered: its bytes have another hash")
        return data

    def is_intact(self, digest: str) -> bool:
        """Whether the object is there and its bytes have the hash in its name."""
        path = self.path(digest)
        if not path.is_file():
            return False
        hasher = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(_READ_BYTES):
                hasher.update(block)
        return hasher.hexdigest() == digest

    def digests(self) -> Iterator[str]:
        """Yield the SHA-256 of every object, in order."""
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
            for path in sorted(folder.iterdir()):
                yield path.name

    def clear_incoming(self) -> int:
        """Delete what killed writers left under temporary names; returns how many files.

        Only to be called while no other process writes.
        """
        leftovers = list(self._incoming.glob("*"))
        for path in leftovers:
            path.unlink()
        return len(leftovers)

    def _write(self, data: bytes, target: Path) -> None:
        self._incoming.mkdir(parents=True, exist_ok=True)
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            sync_folder(self.root)
        temporary = self._incoming / f"{target.name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
