"""The part of a CT that is edited at once: bounded, in overlapping parts where it is larger."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from storage.grid import Box

_OVERLAP = 0.1


def parts_of(wanted: Box, *, most_side: int) -> tuple[Box, ...]:
    """Return boxes of at most a side that together cover a box; it alone where it is small enough.

    Neighbouring parts overlap by a tenth of the side or more, so that nothing lies on an edge only.

    Args:
        wanted: What is to be edited.
        most_side: Longest side of a part, in voxels.
    """
    spans = [_spans(start, stop, most_side) for start, stop in wanted]
    return tuple((i, j, k) for k, j, i in itertools.product(spans[2], spans[1], spans[0]))


def part_with(parts: Sequence[Box], voxel: tuple[int, int, int]) -> int:
    """Return the number of the part whose centre is nearest to a voxel among those that hold it.

    A voxel in no part gives the part whose centre is nearest.
    """

    def distance(box: Box) -> tuple[bool, float]:
        is_out = not all(low <= at < high for at, (low, high) in zip(voxel, box, strict=True))
        centre = [(low + high - 1) / 2 for low, high in box]
        return is_out, math.dist(voxel, centre)

    return min(range(len(parts)), key=lambda number: distance(parts[number]))


def widened(
    box: Box, shape: tuple[int, int, int], *, spacing_mm: tuple[float, float, float], by_mm: float
) -> Box:
    """Return a box grown by a distance on every side, as far as the CT reaches."""
    i, j, k = (
        (max(0, low - math.ceil(by_mm / size)), min(length, high + math.ceil(by_mm / size)))
        for (low, high), length, size in zip(box, shape, spacing_mm, strict=True)
    )
    return (i, j, k)


def _spans(start: int, stop: int, side: int) -> list[tuple[int, int]]:
    length = stop - start
    if length <= side:
        return [(start, stop)]
    count = 1 + math.ceil((length - side) / (side * (1 - _OVERLAP)))
    firsts = [start + round(number * (length - side) / (count - 1)) for number in range(count)]
    return [(first, first + side) for first in firsts]
