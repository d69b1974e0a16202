"""Regions of cases' CTs: blocks made at intake or when a CT is first wanted.

The ones unused longest are dropped; those made at intake and never wanted go before all others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from pathlib import Path

from configs.errors import StorageError
from configs.setting_sections import IntakeSettings
from storage.case_image import open_case
from storage.cases import CaseRow, existing_file
from storage.ct_blocks import (
    CtBlocks,
    Voxels,
    most_bytes_of_blocks,
    write_ct_blocks,
    write_voxel_blocks,
)
from storage.durable_file import UNFINISHED
from storage.grid import Grid

_LOG = logging.getLogger(__name__)

_SUFFIX = ".blocks"


class CtRegions:
    """The folder of blocks of one workspace; may be deleted at any time.

    A file is named by the content id of its case, so that it stays right under whatever name the CT
    lies, and what it holds is the CT that intake saw even when that was changed since.
    """

    def __init__(self, root: Path, limits: IntakeSettings, *, most_bytes: int) -> None:
        self.root = root
        self._limits = limits
        self._most_bytes = most_bytes
        self._guard = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._promised = 0

    def blocks(self, case: CaseRow) -> CtBlocks:
        """Return a case's blocks, made now where they are missing or damaged.

        Threads that want the same CT make it once; other CTs are not held up.

        Raises:
            CaseError: There are no blocks, and the CT is gone, was changed or is damaged.
            StorageError: The folder cannot be written to.
        """
        path = self.root / f"{case.content_id}{_SUFFIX}"
        with self._guard:
            lock = self._making.setdefault(case.content_id, threading.Lock())
        try:
            with lock:
                return self._opened(path) or self._made(path, case)
        finally:
            with self._guard:
                self._making.pop(case.content_id, None)

    def keep(self, content_id: str, hu_ras: Voxels, grid: Grid) -> int | None:
        """Write the blocks of a CT that is in memory, if there is room without dropping others.

        Never fails: blocks that are not there are made when they are wanted.

        Args:
            content_id: Of the CT.
            hu_ras: The CT, RAS order.
            grid: Of its file.

        Returns:
            Bytes written; 0 where the blocks were there already; None where there was no room, or
            the folder could not be written to.
        """
        path = self.root / f"{content_id}{_SUFFIX}"
        wanted = most_bytes_of_blocks(grid)
        try:
            if path.is_file():
                return 0
            if not self._promise(wanted):
                return None
            try:
                write_voxel_blocks(path, hu_ras, grid)
                never_used_ns = time.time_ns() - _BEFORE_ALL_USE_NS
                os.utime(path, ns=(never_used_ns, never_used_ns))
                return path.stat().st_size
            finally:
                self._promise(-wanted)
        except (StorageError, OSError, MemoryError) as error:
            _LOG.warning("the blocks of a CT are left for later: %s", error)
            return None

    def _promise(self, size: int) -> bool:
        """Set bytes aside for a file that is being written, if they are left; free some below 0."""
        with self._guard:
            if size > 0 and self._used() + self._promised + size > self._most_bytes:
                return False
            self._promised += size
            return True

    def _used(self) -> int:
        return sum(size for _, size, _ in self._entries())

    def _opened(self, path: Path) -> CtBlocks | None:
        if not path.is_file():
            return None
        try:
            blocks = CtBlocks.open(path)
            os.utime(path)
        except (StorageError, OSError) as error:
            _LOG.warning("the blocks of a CT are made again: %s", error)
            return None
        return blocks

    def _made(self, path: Path, case: CaseRow) -> CtBlocks:
        volume = open_case(case, self._limits)
        sha256 = existing_file(case).sha256
        blocks = write_ct_blocks(path, volume, expected_sha256=sha256)
        self._trim(keep=path)
        return blocks

    def _trim(self, *, keep: Path) -> None:
        """Delete what was used longest ago until the rest fits, and what a kill left unfinished."""
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        newest = max(stamp for stamp, _, _ in entries)
        for stamp, size, path in sorted(entries):
            is_left_over = path.name.endswith(UNFINISHED) and newest - stamp > _ABANDONED_NS
            if path != keep and (total > self._most_bytes or is_left_over):
                path.unlink(missing_ok=True)
                total -= size

    def _entries(self) -> list[tuple[int, int, Path]]:
        """Return when each file was used, its bytes and its path."""
        entries: list[tuple[int, int, Path]] = []
        for path in self.root.iterdir() if self.root.is_dir() else ():
            # Another process may trim or finish at the same time.
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        return entries


# Blocks that nobody wanted yet seem this much older than they are.
_BEFORE_ALL_USE_NS = 40 * 365 * 86400 * 10**9
# No CT takes this long to write.
_ABANDONED_NS = 3600 * 10**9
