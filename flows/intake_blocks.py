"""CTs laid in blocks for the editor while intake has them in memory, and what that takes."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.ct_regions import CtRegions
from storage.intake_record import IntakeRecord
from storage.store import Store


@dataclass(frozen=True, slots=True)
class BlocksMade:
    """What an intake laid in blocks.

    Attributes:
        cts: So many.
        total_bytes: Of their blocks on disk.
        seconds: Spent on that, all threads together.
        left: CTs that found no room; their blocks are made when they are wanted.
    """

    cts: int = 0
    total_bytes: int = 0
    seconds: float = 0.0
    left: int = 0


class BlockKeeper:
    """Lays CTs in blocks, from several threads at a time, and counts."""

    def __init__(self, regions: CtRegions) -> None:
        self._regions = regions
        self._guard = threading.Lock()
        self._made = BlocksMade()

    @classmethod
    def of(cls, store: Store) -> BlockKeeper | None:
        """Return the keeper of a workspace; None where its settings want no blocks at intake."""
        settings = store.settings
        if not settings.review.blocks_at_intake:
            return None
        most_bytes = int(settings.review.region_cache_gb * 1e9)
        return cls(CtRegions(store.workspace.regions_path, settings.intake, most_bytes=most_bytes))

    @property
    def made(self) -> BlocksMade:
        """What was done so far."""
        return self._made

    def keep(self, record: IntakeRecord, hu_ras: npt.NDArray[np.int16]) -> None:
        """Lay a CT in blocks if there is room; never fails."""
        started = time.perf_counter()
        size = self._regions.keep(record.content_id, hu_ras, record.grid)
        seconds = time.perf_counter() - started
        with self._guard:
            made = self._made
            self._made = BlocksMade(
                cts=made.cts + bool(size),
                total_bytes=made.total_bytes + (size or 0),
                seconds=made.seconds + (seconds if size else 0.0),
                left=made.left + (size is None),
            )
