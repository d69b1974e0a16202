"""The grid on which plausibility is judged: coarser in plane, every slice of the scan."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from model.grid import Box, Grid, Shape, Triple
from model.placed_crop import PlacedMask


@dataclass(frozen=True, slots=True)
class WorkingScan:
    """A scan's grid, and how many of its voxels one working voxel gathers by axis.

    Attributes:
        grid: Of the CT, RAS order.
        steps: Along the slices always 1, so that a lost slice shows.
    """

    grid: Grid
    steps: Shape

    @classmethod
    def of(cls, shape: Shape, spacing_mm: Triple, *, work_mm: float) -> WorkingScan:
        """Return the working grid with voxels of about ``work_mm`` in plane, or the CT's."""
        i, j = (max(1, round(work_mm / size)) for size in spacing_mm[:2])
        return cls(Grid(shape, spacing_mm), (i, j, 1))

    @property
    def shape(self) -> Shape:
        """Working voxels by axis."""
        i, j, k = (-(-size // step) for size, step in zip(self.grid.shape, self.steps, strict=True))
        return i, j, k

    @property
    def spacing_mm(self) -> Triple:
        """Size of a working voxel."""
        i, j, k = (s * n for s, n in zip(self.grid.spacing_mm, self.steps, strict=True))
        return i, j, k

    @property
    def cell(self) -> int:
        """The CT's voxels in a working voxel."""
        return math.prod(self.steps)

    def gathered(self, crop: PlacedMask) -> tuple[np.ndarray, Box]:
        """Return how many voxels of a mask each working voxel holds, uint8, and its working box."""
        first = [a // s for a, s in zip(crop.box.start, self.steps, strict=True)]
        last = [-(-b // s) for b, s in zip(crop.box.stop, self.steps, strict=True)]
        box = Box((first[0], first[1], first[2]), (last[0], last[1], last[2]))
        if self.cell == 1:
            return crop.mask.view(np.uint8), box
        before = [a % s for a, s in zip(crop.box.start, self.steps, strict=True)]
        total = np.zeros(box.shape, np.uint8)
        for i in range(self.steps[0]):
            for j in range(self.steps[1]):
                self._add_in_place(total, crop.mask, (i, before[0]), (j, before[1]))
        return total, box

    def voxel(self, working: Shape) -> Shape:
        """Return the CT's voxel in the middle of a working one."""
        i, j, k = (
            min(size - 1, place * step + step // 2)
            for place, step, size in zip(working, self.steps, self.grid.shape, strict=True)
        )
        return i, j, k

    def _add_in_place(
        self,
        total: np.ndarray,
        mask: np.ndarray,
        along_i: tuple[int, int],
        along_j: tuple[int, int],
    ) -> None:
        """Add every step-th row and column, from an offset in the first working voxel on."""
        starts, targets = [], []
        for (offset, before), step in zip((along_i, along_j), self.steps, strict=False):
            starts.append((offset - before) % step)
            targets.append(1 if offset < before else 0)
        part = mask[starts[0] :: self.steps[0], starts[1] :: self.steps[1]]
        i, j = targets
        total[i : i + part.shape[0], j : j + part.shape[1]] += part.view(np.uint8)
