"""Drafts: what a reader drew and did not give as a verdict yet, one file each, safe from a kill.

They are files and no rows: one is written every few seconds while somebody draws, and ``rebuild``
makes the database anew. A file is 8 bytes of magic, the length of a header (uint32), the header in
JSON with the SHA-256 of the rest, and a bit a voxel, compressed. A candidate is a draft that was
saved to become a correction: it is named by its receipt, and later strokes leave it alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from configs.errors import StorageError, UsageError
from storage.canonical_json import sha256_hex, to_bytes
from storage.durable_file import UNFINISHED, durable
from storage.edited_mask import EditedMask
from storage.grid import Box, box_shape
from storage.readers import check_reader

_MAGIC = b"ALDRAFT1"
_LENGTH = struct.Struct("<I")
_LEVEL = 1
_MOST_VOXELS = 1 << 28
_MOST_OF_READER = 300
_RECEIPT = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class DraftKey:
    """What a draft is of: the work of one reader on one structure of one case, from one version."""

    reader: str
    case_id: str
    structure: str
    base_version: str

    def __post_init__(self) -> None:
        check_reader(self.reader)

    @property
    def stem(self) -> str:
        """Start of the file's name: item, then base, so that an item's drafts stand together."""
        item = _short_hash(self.case_id, self.structure)
        return f"{item}-{_short_hash(self.base_version)}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it was read back."""

    key: DraftKey
    edited: EditedMask
    saved_at: datetime


class Drafts:
    """The folder of drafts of one workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, key: DraftKey, edited: EditedMask, *, now: datetime) -> None:
        """Write a draft in the place of the one before; a kill leaves one of both whole.

        Over 300 drafts of a reader, the one written longest ago goes.

        Raises:
            UsageError: The box is larger than any CT part that is edited.
            StorageError: The disk is full or the folder cannot be written to.
        """
        self._write(self._folder(key.reader) / f"{key.stem}.draft", key, edited, now)
        self._trim(self._folder(key.reader))

    def put_candidate(
        self, key: DraftKey, edited: EditedMask, *, receipt: str, now: datetime
    ) -> None:
        """Write what is to become a correction, under the receipt that its reader gets.

        Raises:
            UsageError: As ``put``, or the receipt has letters that a file name must not have.
            StorageError: As ``put``.
        """
        self._write(self._candidate_path(key, receipt), key, edited, now)

    def get(self, key: DraftKey) -> Draft | None:
        """Return a draft; None where there is none.

        Raises:
            StorageError: It is damaged.
        """
        return _read(self._folder(key.reader) / f"{key.stem}.draft", key)

    def candidate(self, key: DraftKey, receipt: str) -> Draft | None:
        """Return a candidate by its receipt; None where there is none.

        Raises:
            UsageError: That is no receipt.
            StorageError: It is damaged.
        """
        return _read(self._candidate_path(key, receipt), key)

    def has_candidate(self, key: DraftKey) -> bool:
        """Whether something was saved and is no correction yet."""
        return any(self._folder(key.reader).glob(f"{key.stem}.*.candidate"))

    def of_item(self, *, reader: str, case_id: str, structure: str) -> list[Draft]:
        """Return a reader's drafts of one item, from whatever version, the newest first.

        Raises:
            StorageError: One is damaged.
        """
        found = self._folder(reader).glob(f"{_short_hash(case_id, structure)}-*.draft")
        drafts = [draft for path in found if (draft := _read(path, None)) is not None]
        return sorted(drafts, key=lambda draft: draft.saved_at, reverse=True)

    def clear(self, key: DraftKey) -> None:
        """Delete a draft and leave its candidates."""
        (self._folder(key.reader) / f"{key.stem}.draft").unlink(missing_ok=True)

    def drop(self, key: DraftKey) -> None:
        """Delete a draft and its candidates."""
        for path in self._folder(key.reader).glob(f"{key.stem}.*"):
            path.unlink(missing_ok=True)

    def drop_item(self, *, reader: str, case_id: str, structure: str) -> None:
        """Delete a reader's drafts and candidates of one item, from whatever version."""
        for path in self._folder(reader).glob(f"{_short_hash(case_id, structure)}-*"):
            path.unlink(missing_ok=True)

    def _folder(self, reader: str) -> Path:
        # By hash: a name that a file system takes for a path or for another one does no harm.
        return self.root / _short_hash(reader)

    def _candidate_path(self, key: DraftKey, receipt: str) -> Path:
        if not _RECEIPT.fullmatch(receipt):
            raise UsageError("a receipt is 16 to 64 letters, digits, _ and -; save again")
        return self._folder(key.reader) / f"{key.stem}.{receipt}.candidate"

    def _write(self, path: Path, key: DraftKey, edited: EditedMask, now: datetime) -> None:
        if edited.mask_ras.size > _MOST_VOXELS:
            raise UsageError(
                f"a draft may cover at most {_MOST_VOXELS} voxels, got {edited.mask_ras.size}; "
                "save this part first"
            )
        bits = isal_zlib.compress(np.packbits(edited.mask_ras).tobytes(), _LEVEL)
        header = to_bytes(
            {
                "reader": key.reader,
                "case_id": key.case_id,
                "structure": key.structure,
                "base_version": key.base_version,
                "box": [list(extent) for extent in edited.box_ras],
                "saved_at": now.isoformat(),
                "sha256": sha256_hex(bits),
            }
        )
        with durable(path) as temporary:
            temporary.write_bytes(_MAGIC + _LENGTH.pack(len(header)) + header + bits)

    def _trim(self, folder: Path) -> None:
        stamped: list[tuple[int, Path]] = []
        for path in _finished(folder):
            # Another thread may take its place or drop it at the same time.
            with contextlib.suppress(FileNotFoundError):
                stamped.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(stamped)[:-_MOST_OF_READER]:
            path.unlink(missing_ok=True)


def _finished(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.endswith(UNFINISHED))


def _read(path: Path, key: DraftKey | None) -> Draft | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return _decoded(data, key)
    # isal's stub declares its exception as an instance.
    except (isal_zlib.error, struct.error, ValueError, KeyError, TypeError) as error:  # pyright: ignore[reportGeneralTypeIssues]
        raise StorageError(
            f"a draft must be whole: {error}; delete the workspace's {path.parent.parent.name}/"
            f"{path.parent.name}/{path.name}, or bring it back from a copy"
        ) from error


def _decoded(data: bytes, key: DraftKey | None) -> Draft:
    if not data.startswith(_MAGIC):
        raise ValueError("it does not start like one")
    start = len(_MAGIC) + _LENGTH.size
    (length,) = _LENGTH.unpack(data[len(_MAGIC) : start])
    header: dict[str, Any] = json.loads(data[start : start + length])
    bits = data[start + length :]
    if sha256_hex(bits) != header["sha256"]:
        raise ValueError("its voxels were altered")
    names = ("reader", "case_id", "structure", "base_version")
    found = DraftKey(*(str(header[name]) for name in names))
    if key is not None and found != key:
        raise ValueError("it is another item's")
    box = _box(header["box"])
    shape = box_shape(box)
    unpacked = np.frombuffer(isal_zlib.decompress(bits), np.uint8)
    mask = np.unpackbits(unpacked, count=math.prod(shape)).view(np.bool_).reshape(shape)
    return Draft(found, EditedMask(mask, box), datetime.fromisoformat(header["saved_at"]))


def _box(extents: list[list[int]]) -> Box:
    (i0, i1), (j0, j1), (k0, k1) = extents
    return ((int(i0), int(i1)), (int(j0), int(j1)), (int(k0), int(k1)))


def _short_hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
