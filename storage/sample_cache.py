"""Prepared training cases on disk: one file a case, written once and read by mapping it.

A file is: 8 bytes of magic, the length of the header (uint64), its SHA-256, the header in canonical
JSON, then the arrays in C order, each from the next multiple of 4096 bytes. The header lists them
with type, shape, place and CRC-32 and says how long the file is. Nothing leans on a file being
there: whoever misses one makes it again.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

from configs.errors import StorageError
from storage.canonical_json import JsonObject, sha256_hex, to_bytes
from storage.objects import sync_folder

_LOG = logging.getLogger(__name__)

_MAGIC = b"ALSAMPLE"
_PREFIX = struct.Struct("<8sQ32s")
_PAGE = 4096
_SCHEMA = 1
_SUFFIX = ".sample"
# No case takes this long to write.
_ABANDONED_S = 3600.0

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class StoredSample:
    """A file of the cache.

    Attributes:
        arrays: By name, mapped: pages are read when they are touched and given up when memory is
            short. Writing into them changes the memory of this process alone.
        facts: What was stored beside them.
        file_bytes: Length of the file.
    """

    arrays: Mapping[str, Array]
    facts: JsonObject
    file_bytes: int


class SampleCache:
    """A folder of prepared cases, by key.

    Attributes:
        root: The folder.
        verify: Whether opening a file checks the CRC of every array, which reads the file once.
            Without, magic, header and length are checked, which is enough after a kill.
    """

    def __init__(self, root: Path, *, verify: bool = True) -> None:
        self.root = root
        self.verify = verify

    def path(self, key: str) -> Path:
        """Return where the file of a key lies, whether or not it is there."""
        return self.root / key[:2] / f"{key}{_SUFFIX}"

    def get(self, key: str) -> StoredSample | None:
        """Return the file of a key; None where it is missing, cut short or altered."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            stored = _read(path, key, verify=self.verify)
            os.utime(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            _LOG.warning("sample %s is damaged and is made again: %s", key[:12], error)
            return None
        return stored

    def put(self, key: str, arrays: Mapping[str, Array], facts: JsonObject) -> None:
        """Write a file; it appears whole or not at all.

        Raises:
            StorageError: The disk is full or the folder cannot be written to.
        """
        try:
            self._put(self.path(key), key, arrays, facts)
        except OSError as error:
            raise StorageError(
                f"a prepared training case could not be written: {error.strerror}; free some disk, "
                "or delete the folder of the cache, which is made again"
            ) from error

    def _put(self, target: Path, key: str, arrays: Mapping[str, Array], facts: JsonObject) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{key}.{os.getpid()}.{secrets.token_hex(4)}")
        try:
            _write(temporary, key, arrays, facts)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)

    def trim(self, limit_bytes: int) -> int:
        """Delete the files that were opened longest ago until the rest fits; returns their bytes.

        Runs that have a file open keep what they mapped. What a killed writer left goes first.
        """
        freed = 0
        for path in self.root.glob("*/.*"):
            status = path.stat()
            if time.time() - status.st_mtime > _ABANDONED_S:
                freed += status.st_size
                path.unlink(missing_ok=True)
        files = [(path.stat(), path) for path in self.root.glob(f"*/*{_SUFFIX}")]
        files.sort(key=lambda entry: (entry[0].st_mtime_ns, entry[1]))
        total = sum(status.st_size for status, _ in files)
        for status, path in files:
            if total <= limit_bytes:
                break
            path.unlink(missing_ok=True)
            total -= status.st_size
            freed += status.st_size
        return freed


def sample_key(facts: JsonObject) -> str:
    """Return the key of a prepared case: the hash of everything that decides on its content."""
    return sha256_hex(to_bytes({"schema": _SCHEMA, **facts}))


def _write(path: Path, key: str, arrays: Mapping[str, Array], facts: JsonObject) -> None:
    entries, offset = [], 0
    for name, array in arrays.items():
        entry = {"name": name, "dtype": array.dtype.str, "shape": list(array.shape)}
        entries.append({**entry, "offset": offset, "crc32": _crc(array)})
        offset = _aligned(offset + array.nbytes)
    header = to_bytes({"key": key, "facts": facts, "arrays": entries, "bytes": offset})
    first = _aligned(_PREFIX.size + len(header))
    with path.open("xb") as file:
        file.write(_PREFIX.pack(_MAGIC, len(header), bytes.fromhex(sha256_hex(header))))
        file.write(header)
        for entry, array in zip(entries, arrays.values(), strict=True):
            file.seek(first + entry["offset"])
            file.write(_bytes(array))
        file.truncate(first + offset)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, key: str, *, verify: bool) -> StoredSample:
    with path.open("rb") as file:
        magic, length, digest = _PREFIX.unpack(_whole(file.read(_PREFIX.size), _PREFIX.size))
        if magic != _MAGIC or length > path.stat().st_size:
            raise ValueError("it is no file of this cache")
        text = _whole(file.read(length), length)
    if bytes.fromhex(sha256_hex(text)) != digest:
        raise ValueError("its header was altered")
    header = json.loads(text)
    first = _aligned(_PREFIX.size + length)
    size = first + header["bytes"]
    if header["key"] != key or path.stat().st_size != size:
        raise ValueError(f"it must be {size} bytes of key {key[:12]}")
    # Copy on write: torch refuses to wrap what cannot be written.
    raw = np.memmap(path, np.uint8, mode="c")
    arrays = {entry["name"]: _view(raw, first, entry) for entry in header["arrays"]}
    if verify:
        for entry in header["arrays"]:
            if _crc(arrays[entry["name"]]) != entry["crc32"]:
                raise ValueError(f"the voxels of {entry['name']} were altered")
    return StoredSample(arrays, header["facts"], size)


def _view(raw: Array, first: int, entry: JsonObject) -> Array:
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    start = first + entry["offset"]
    return raw[start : start + math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


def _bytes(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _crc(array: Array) -> int:
    return isal_zlib.crc32(_bytes(array))


def _aligned(offset: int) -> int:
    return -(-offset // _PAGE) * _PAGE


def _whole(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise ValueError("it was cut short")
    return data
