"""One pass over the bytes of an image file: decompressed, hashed and checked while they stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isal import igzip_lib

from configs.errors import CaseError, Reason

_READ_BYTES = 1 << 18
_OUT_BYTES = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


class ImageStream:
    """Reads a ``.nii`` or ``.nii.gz`` front to back in bounded memory (about 2 MiB).

    Whether the file is gzip is told by its first bytes, not by its name. The gzip CRC of every
    member is checked by the time ``finish`` returns; the SHA-256 is over the file as on disk.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._sha256 = hashlib.sha256()
        self._ready = memoryview(b"")
        self._pending = self._next_raw()
        self.is_gzip = self._pending.startswith(_GZIP_MAGIC)
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        self._produced = 0

    def read_up_to(self, count: int) -> bytes:
        """Return the next ``count`` bytes, or fewer at the end of the content."""
        result = bytearray(count)
        return bytes(result[: self._fill(memoryview(result))])

    def read_into(self, buffer: memoryview) -> None:
        """Fill a writable buffer of bytes.

        Raises:
            CaseError: TRUNCATED when the content ends before; CRC_ERROR when it is damaged.
        """
        filled = self._fill(buffer)
        if filled < len(buffer):
            raise CaseError(
                Reason.TRUNCATED,
                f"{self._name} must hold as many voxels as its header declares; its content ends "
                f"after {self._produced} bytes; copy the file again",
            )

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes of content; raises like ``read_into``."""
        scratch = memoryview(bytearray(min(count, _OUT_BYTES)))
        while count > 0:
            self.read_into(scratch[:count])
            count -= len(scratch)

    def finish(self, *, slack_bytes: int) -> str:
        """Read to the end and return the SHA-256 of the file, in hex.

        Args:
            slack_bytes: How much content may follow the voxels.

        Raises:
            CaseError: EXPANDS_PAST_LIMIT when more follows (at once, without keeping it); TRUNCATED
                or CRC_ERROR when the gzip does not end as it must.
        """
        extra = 0
        while block := self._next_block():
            extra += len(block)
            if extra > slack_bytes:
                raise CaseError(
                    Reason.EXPANDS_PAST_LIMIT,
                    f"{self._name} may hold at most {slack_bytes} bytes after the voxels that its "
                    "header declares, and holds more; it was not read further",
                )
        return self._sha256.hexdigest()

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            if not self._ready:
                self._ready = memoryview(self._next_block())
                if not self._ready:
                    break
            count = min(len(buffer) - filled, len(self._ready))
            buffer[filled : filled + count] = self._ready[:count]
            self._ready = self._ready[count:]
            filled += count
        self._produced += filled
        return filled

    def _next_block(self) -> bytes:
        """Return some bytes of content that were not handed out yet; empty at the end."""
        if self._ready:
            block, self._ready = bytes(self._ready), memoryview(b"")
            return block
        if not self.is_gzip:
            block, self._pending = self._pending, b""
            return block or self._next_raw()
        return self._next_inflated()

    def _next_inflated(self) -> bytes:
        while True:
            if self._member.eof and not self._start_next_member():
                return b""
            if self._member.needs_input and not self._pending:
                self._pending = self._next_raw()
                if not self._pending:
                    raise CaseError(
                        Reason.TRUNCATED,
                        f"{self._name} must be a whole gzip file; it ends early, after "
                        f"{self._produced} bytes of content; copy the file again",
                    )
            block = self._inflate()
            if block:
                return block

    def _inflate(self) -> bytes:
        raw, self._pending = self._pending, b""
        try:
            return self._member.decompress(raw, _OUT_BYTES)
        # isal's stub declares its exception as an instance.
        except igzip_lib.IsalError as error:  # pyright: ignore[reportGeneralTypeIssues]
            raise CaseError(
                Reason.CRC_ERROR,
                f"{self._name} must be an undamaged gzip file; decompression says {error}; copy "
                "the file again",
            ) from error

    def _start_next_member(self) -> bool:
        """Begin the next gzip member; False at the end of the file. Zero padding is allowed."""
        rest = self._member.unused_data or self._next_raw()
        while rest and not rest.strip(b"\0"):
            rest = self._next_raw()
        if not rest:
            return False
        self._pending = rest.lstrip(b"\0")
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        return True

    def _next_raw(self) -> bytes:
        raw = self._file.read(_READ_BYTES)
        self._sha256.update(raw)
        return raw


@contextmanager
def open_image_stream(path: Path) -> Iterator[ImageStream]:
    """Open a file for one pass.

    Raises:
        CaseError: MISSING_FILE, or UNREADABLE for a folder, a missing permission or a failing disk.
    """
    try:
        with path.open("rb") as file:
            yield ImageStream(file, path.name)
    except FileNotFoundError as error:
        raise CaseError(
            Reason.MISSING_FILE, f"{path.name} must exist; it was moved or deleted"
        ) from error
    except OSError as error:
        raise CaseError(
            Reason.UNREADABLE,
            f"{path.name} must be a readable file; the system says {error.strerror or error}",
        ) from error
