"""The append-only journal: one JSON line an event, each carrying the hash of the line before."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from configs.errors import StorageError
from storage.canonical_json import JsonObject, sha256_hex, to_bytes
from storage.objects import sync_folder

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader has come.

    Attributes:
        seq: Sequence number of the last line read; 0 before the first.
        line_hash: SHA-256 of that line's bytes, without its line feed.
        offset: Byte at which the next line starts.
    """

    seq: int = 0
    line_hash: str = GENESIS
    offset: int = 0


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One event.

    Attributes:
        seq: Sequence number, from 1.
        at: When it was written, UTC.
        kind: What happened, e.g. ``case.registered``.
        data: The event's facts.
        position: Where a reader stands after this line.
    """

    seq: int
    at: datetime
    kind: str
    data: JsonObject
    position: Position

    @property
    def line_hash(self) -> str:
        """SHA-256 of the line; serves as the id of what it commits."""
        return self.position.line_hash


class Journal:
    """The journal file of a workspace. Writing is only safe under the workspace's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """Return the file's size in bytes; 0 when there is none yet."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, after: Position, kind: str, data: JsonObject) -> JournalLine:
        """Write one line behind ``after``, which must be the end, and flush it to disk.

        Raises:
            StorageError: ``after`` is not the journal's end, or the line could not be written; in
                that case the journal is as it was.
        """
        if self.size() != after.offset:
            raise StorageError(
                f"the journal has {self.size()} bytes, but its reader stands at {after.offset}"
            )
        now = datetime.now(UTC)
        record = {
            "seq": after.seq + 1,
            "prev": after.line_hash,
            "at": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "kind": kind,
            "data": data,
        }
        line = to_bytes(record)
        try:
            self._write(line + b"\n", after.offset)
        except OSError as error:
            raise StorageError(f"the journal could not be written: {error.strerror}") from error
        return _parse(line, after)

    def lines(self, after: Position = Position()) -> Iterator[JournalLine]:
        """Yield the complete lines behind ``after``, checking each against the one before.

        Raises:
            StorageError: A line does not continue the chain; the message names the place.
        """
        if self.size() < after.offset:
            raise StorageError(
                f"the journal was cut: it has {self.size()} bytes, but line {after.seq} ended at "
                f"byte {after.offset}; restore journal.jsonl from a copy"
            )
        if not self.path.exists():
            return
        position = after
        with self.path.open("rb") as file:
            file.seek(after.offset)
            for raw in file:
                if not raw.endswith(b"\n"):
                    return
                line = _parse(raw[:-1], position)
                position = line.position
                yield line

    def holds(self, position: Position) -> bool:
        """Whether the line that ends at ``position`` is still the one that was read there."""
        if position.seq == 0:
            return True
        if self.size() < position.offset:
            return False
        return sha256_hex(self._line_before(position.offset)) == position.line_hash

    def set_torn_line_aside(self) -> Path | None:
        """Move an incomplete last line, left by a kill or a full disk, into a file of its own.

        Returns:
            The file that now holds the torn bytes, or ``None`` when the journal ends cleanly.
        """
        size = self.size()
        if size == 0:
            return None
        torn = self._bytes_after_last_line_feed(size)
        if not torn:
            return None
        aside = self.path.with_name(f"journal.torn-at-byte-{size - len(torn)}.part")
        aside.write_bytes(torn)
        with self.path.open("r+b") as file:
            file.truncate(size - len(torn))
            os.fsync(file.fileno())
        sync_folder(self.path.parent)
        return aside

    def _write(self, line: bytes, end: int) -> None:
        created = not self.path.exists()
        with self.path.open("ab", buffering=0) as file:
            try:
                written = file.write(line)
                if written != len(line):
                    raise OSError(28, "no space left for the whole line")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        if created:
            sync_folder(self.path.parent)

    def _line_before(self, offset: int) -> bytes:
        with self.path.open("rb") as file:
            return _last_line(file, offset)

    def _bytes_after_last_line_feed(self, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(size - 1)
            if file.read(1) == b"\n":
                return b""
            file.seek(0)
            return file.read().rpartition(b"\n")[2]


def _last_line(file: BinaryIO, offset: int) -> bytes:
    """Return the line that ends just before ``offset``, without its line feed."""
    block, end = b"", offset - 1
    while end > 0:
        start = max(0, end - 65536)
        file.seek(start)
        block = file.read(end - start) + block
        if b"\n" in block:
            return block.rpartition(b"\n")[2]
        end = start
    return block


def _parse(raw: bytes, before: Position) -> JournalLine:
    place = f"journal line {before.seq + 1} (byte {before.offset})"
    try:
        record = json.loads(raw)
        seq, prev = record["seq"], record["prev"]
        at, kind, data = datetime.fromisoformat(record["at"]), record["kind"], record["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{place} was altered: it is no journal record") from error
    if seq != before.seq + 1 or prev != before.line_hash:
        raise StorageError(
            f"{place} does not continue line {before.seq}: a line before it was altered, removed "
            "or moved; restore journal.jsonl from a copy"
        )
    position = Position(seq, sha256_hex(raw), before.offset + len(raw) + 1)
    return JournalLine(seq, at.replace(tzinfo=None), kind, data, position)
