"""Regions of cases' CTs: blocks made when a CT is first wanted, the ones unused longest dropped."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from pathlib import Path

from configs.errors import StorageError
from configs.setting_sections import IntakeSettings
from storage.case_image import open_case
from storage.cases import CaseRow, existing_file
from storage.ct_blocks import CtBlocks, write_ct_blocks
from storage.durable_file import UNFINISHED

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
        entries: list[tuple[int, int, Path]] = []
        for path in self.root.iterdir():
            # Another process may trim or finish at the same time.
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        newest = max(stamp for stamp, _, _ in entries)
        for stamp, size, path in sorted(entries):
            is_left_over = path.name.endswith(UNFINISHED) and newest - stamp > _ABANDONED_NS
            if path != keep and (total > self._most_bytes or is_left_over):
                path.unlink(missing_ok=True)
                total -= size


# No CT takes this long to write.
_ABANDONED_NS = 3600 * 10**9
