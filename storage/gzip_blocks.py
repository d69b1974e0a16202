"""A gzip file whose bytes depend on its content alone: no name, no time."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import BinaryIO

from isal import isal_zlib

_GZIP_START = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no file name, mtime 0, unknown system: nothing that differs from run to run."""

_LEVEL = 1
_RAW_DEFLATE = -15


def write_gzip(file: BinaryIO, blocks: Iterable[bytes]) -> None:
    """Compress blocks of content as they come.

    Bytes repeat from run to run on one machine with one isal version; another processor may
    compress the same content to other bytes.
    """
    compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
    file.write(_GZIP_START)
    checksum, length = 0, 0
    for block in blocks:
        checksum = zlib.crc32(block, checksum)
        length += len(block)
        file.write(compressor.compress(block))
    file.write(compressor.flush())
    file.write(struct.pack("<II", checksum, length & 0xFFFFFFFF))


def gzipped(content: bytes) -> bytes:
    """Return some content as a gzip file."""
    buffer = io.BytesIO()
    write_gzip(buffer, [content])
    return buffer.getvalue()
