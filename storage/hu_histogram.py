"""How often each Hounsfield value occurs in a volume: exact percentiles at little cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LOWEST_INT16 = -32768
_VALUES = 65536


@dataclass(frozen=True, slots=True, eq=False)
class HuHistogram:
    """Counts of every int16 value.

    Attributes:
        counts: Voxels per value from -32768 up, shape (65536,), int64.
    """

    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, hu: npt.NDArray[np.int16]) -> HuHistogram:
        """Count the values of a volume (I, J, K), one slab along I at a time."""
        counts = np.zeros(_VALUES, np.int64)
        for slab in hu:
            shifted = slab.ravel().astype(np.int32) - _LOWEST_INT16
            counts += np.bincount(shifted, minlength=_VALUES)
        return cls(counts)

    @property
    def total(self) -> int:
        """Voxels counted."""
        return int(self.counts.sum())

    @property
    def distinct(self) -> int:
        """How many different values occur."""
        return int(np.count_nonzero(self.counts))

    @property
    def lowest(self) -> int:
        """The lowest value; 0 when nothing was counted."""
        return self._extreme(0)

    @property
    def highest(self) -> int:
        """The highest value; 0 when nothing was counted."""
        return self._extreme(-1)

    def count(self, start: int, stop: int) -> int:
        """Return the voxels in [start, stop)."""
        return int(self.counts[start - _LOWEST_INT16 : stop - _LOWEST_INT16].sum())

    def share(self, start: int, stop: int) -> float:
        """Return the share of voxels in [start, stop); 0.0 when nothing was counted."""
        return self.count(start, stop) / self.total if self.total else 0.0

    def without(self, start: int, stop: int) -> HuHistogram:
        """Return the histogram without the voxels in [start, stop)."""
        counts = self.counts.copy()
        counts[start - _LOWEST_INT16 : stop - _LOWEST_INT16] = 0
        return HuHistogram(counts)

    def percentiles(self, percents: Sequence[float]) -> tuple[float, ...]:
        """Return percentiles with linear interpolation, as ``numpy.percentile`` on the voxels.

        Raises:
            ValueError: Nothing was counted.
        """
        if self.total == 0:
            raise ValueError("percentiles need at least one voxel, got none")
        ranks = np.asarray(percents, np.float64) / 100 * (self.total - 1)
        below, above = self._ranked(np.floor(ranks)), self._ranked(np.ceil(ranks))
        values = below + (above - below) * (ranks - np.floor(ranks))
        return tuple(float(value) for value in values)

    def _ranked(self, ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        index = np.searchsorted(np.cumsum(self.counts), ranks, side="right")
        return (index + _LOWEST_INT16).astype(np.float64)

    def _extreme(self, place: int) -> int:
        present = np.flatnonzero(self.counts)
        return int(present[place]) + _LOWEST_INT16 if len(present) else 0
