"""A folder that an export fills: claimed by one release, every file whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import filelock

from configs.errors import StorageError, UsageError
from storage.canonical_json import JsonObject, sha256_hex
from storage.objects import sync_folder

MARKER = "atlasloop_export.json"

_PARTIAL = ".partial"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """A file of an export.

    Attributes:
        path: Relative to the folder, with "/".
        sha256: Of its bytes; of the file behind it for a link.
        is_link: Whether it is a symbolic link.
    """

    path: str
    sha256: str
    size: int
    is_link: bool = False

    def to_json(self) -> JsonObject:
        """Return the file as a side-car lists it."""
        return {"path": self.path, "sha256": self.sha256, "bytes": self.size, "link": self.is_link}

    @classmethod
    def from_json(cls, entry: JsonObject) -> ExportedFile:
        """Return what ``to_json`` gave; raises KeyError or TypeError for anything else."""
        return cls(
            path=str(entry["path"]),
            sha256=str(entry["sha256"]),
            size=int(entry["bytes"]),
            is_link=bool(entry["link"]),
        )


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """A claimed folder. A file appears under its name by renaming, once its bytes are on disk."""

    root: Path

    def write(self, path: str, writer: Callable[[BinaryIO], None]) -> ExportedFile:
        """Write one file.

        Args:
            path: Relative to the folder, with "/".
            writer: Writes the content; when it raises, no file appears.

        Raises:
            StorageError: The disk is full or the folder cannot be written to.
        """
        target = self.root / path
        temporary = target.with_name(f".{target.name}{_PARTIAL}")
        with _translated(path):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with temporary.open("wb") as file:
                    hashing = _Hashing(file, path)
                    writer(cast(BinaryIO, hashing))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
                sync_folder(target.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return ExportedFile(path=path, sha256=hashing.sha256, size=hashing.size)

    def write_json(self, path: str, content: Mapping[str, object]) -> ExportedFile:
        """Write a JSON document, indented, keys in the given order; raises like ``write``."""
        data = (json.dumps(content, indent=2, allow_nan=False) + "\n").encode("ascii")

        def write(file: BinaryIO) -> None:
            file.write(data)

        return self.write(path, write)

    def link(self, path: str, source: Path, sha256: str) -> ExportedFile:
        """Make a symbolic link to a file whose hash is known; raises like ``write``."""
        target = self.root / path
        temporary = target.with_name(f".{target.name}{_PARTIAL}")
        with _translated(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(source.resolve())
            temporary.replace(target)
            sync_folder(target.parent)
            size = source.stat().st_size
        return ExportedFile(path=path, sha256=sha256, size=size, is_link=True)

    def is_whole(self, file: ExportedFile) -> bool:
        """Whether a file is there with the bytes that it had when it was written."""
        path = self.root / file.path
        try:
            if path.is_symlink() != file.is_link or path.stat().st_size != file.size:
                return False
            return _sha256_of(path) == file.sha256
        except OSError:
            return False

    def read_json(self, path: str) -> JsonObject | None:
        """Return a JSON document of the folder; None when it is missing or none."""
        try:
            content = json.loads((self.root / path).read_bytes())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None


@contextmanager
def claimed_folder(out: Path, claim: JsonObject, *, locks: Path) -> Iterator[ExportFolder]:
    """Claim a folder for an export, or go on with the one that was begun there.

    Args:
        out: New, empty, or holding an export of the same claim.
        claim: What decides on the content; written down in ``MARKER``.
        locks: Folder of the workspace's lock files; none is left in ``out``.

    Raises:
        UsageError: The folder holds something else, or another export is writing there.
        StorageError: The folder cannot be written to.
    """
    locks.mkdir(exist_ok=True)
    lock_path = locks / f"export-{sha256_hex(str(out.resolve()).encode())[:12]}.lock"
    try:
        with filelock.FileLock(lock_path, timeout=0):
            yield _begun(out, claim)
    except filelock.Timeout as error:
        raise UsageError(
            f"one export at a time writes to a folder, another one is writing to {out}; wait for it"
        ) from error


def _begun(out: Path, claim: JsonObject) -> ExportFolder:
    folder = ExportFolder(out)
    if (out / MARKER).exists():
        _check_claim(out, folder.read_json(MARKER), claim)
        _clear_partials(out)
        return folder
    if out.exists() and not out.is_dir():
        raise UsageError(f"an export goes into a folder, {out} is a file; choose another")
    if out.is_dir():
        # A kill before the marker was whole leaves nothing but its temporary file.
        (out / f".{MARKER}{_PARTIAL}").unlink(missing_ok=True)
        if any(out.iterdir()):
            raise UsageError(
                f"an export needs a new or empty folder, or one with {MARKER}; {out} has other "
                "files; choose another"
            )
    with _translated(MARKER):
        out.mkdir(parents=True, exist_ok=True)
    folder.write_json(MARKER, claim)
    return folder


def _check_claim(out: Path, found: JsonObject | None, claim: JsonObject) -> None:
    if found is None:
        raise UsageError(f"{MARKER} in {out} cannot be read; choose another folder")
    for key, wanted in claim.items():
        # As JSON, since a tuple comes back as a list.
        if json.dumps(found.get(key)) != json.dumps(wanted):
            raise UsageError(
                f"a folder holds one export alone: {out} was begun with {key} {found.get(key)!r}, "
                f"now it is {wanted!r}; give the same options (--release "
                f"{found.get('release_id')}) to go on, or choose another folder"
            )


def _clear_partials(out: Path) -> None:
    for path in out.rglob(f".*{_PARTIAL}"):
        path.unlink(missing_ok=True)


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} could not be written: {error.strerror}; free some disk or make the folder "
            "writable, then run the command again"
        ) from error


class _Hashing:
    """Passes bytes on to a file and hashes them."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file = file
        self._path = path
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write some bytes; a fault is ours at once, not of the file that is being copied."""
        self._digest.update(data)
        self.size += len(data)
        with _translated(self._path):
            return self._file.write(data)

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written."""
        return self._digest.hexdigest()
