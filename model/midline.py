"""Where the body's midline lies, as an interval that grows with what the scan does not show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from model.body import body_mask
from model.grid import Triple

Side = Literal["left", "right"]
Values = TypeVar("Values", bound=np.generic)

_COARSE_MM = 4.0
# A patient who lies turned or bent moves single rows by this much; organs start farther out.
_LEAST_HALF_WIDTH_MM = 10.0
# Rows shorter than this share of their slice's longest are noses, chins, arms and table edges.
_LONG_ROW = 0.5
_WIDE_ROW = 0.8
_ENOUGH_WHOLE_ROWS = 0.1
# How wide a body can be whose sides are cut off: an infant's narrowest, a very large adult's arms.
_NARROWEST_MM, _WIDEST_MM = 180.0, 560.0


@dataclass(frozen=True, slots=True)
class Midline:
    """The interval in which the midline lies, along the first axis.

    Arrays run from left to right, so what lies below ``low`` is left of the midline for sure.

    Attributes:
        low: In voxel indices of the array's first axis; may lie outside the volume.
        high: Not below ``low``.
    """

    low: float
    high: float

    def beyond(
        self, array: npt.NDArray[Values], side: Side, *, start: int = 0
    ) -> npt.NDArray[Values]:
        """Return the part of an array, along its first axis, that surely lies on a side.

        Args:
            array: Shape (I, J, K), RAS order.
            side: Of the body.
            start: Index of the array's first voxel along the first axis, for a crop.
        """
        if side == "left":
            return array[: max(0, math.ceil(self.low - start))]
        return array[max(0, math.floor(self.high - start) + 1) :]

    def shares(self, mask: npt.NDArray[np.bool_], *, start: int = 0) -> tuple[float, float]:
        """Return which shares of a mask lie left and right of the interval; (0, 0) when empty.

        Args:
            mask: Shape (I, J, K), RAS order.
            start: Index of the mask's first voxel along the first axis, for a crop.
        """
        counts = np.count_nonzero(mask, axis=(1, 2))
        total = int(counts.sum())
        if total == 0:
            return 0.0, 0.0
        places = np.arange(start, start + len(counts))
        left = int(counts[places < self.low].sum())
        right = int(counts[places > self.high].sum())
        return left / total, right / total


def body_midline(hu: npt.NDArray[np.integer], spacing_mm: Triple) -> Midline:
    """Return where the midline of the body lies.

    In every row from left to right of every axial slice the centre of the longest stretch of body
    is taken; the median over rows is the midline. A table, tubes and arms are in few rows. Rows
    that reach the border of the volume say nothing, for the body goes on there; where nearly all
    do, the interval holds every place that a body of 180 to 560 mm allows.

    Args:
        hu: The CT, shape (I, J, K), RAS order.
        spacing_mm: Of that grid.
    """
    steps = [max(1, round(_COARSE_MM / size)) for size in spacing_mm]
    coarse = np.asarray(hu[:: steps[0], :: steps[1], :: steps[2]], np.float32)
    coarse_mm = (spacing_mm[0] * steps[0], spacing_mm[1] * steps[1], spacing_mm[2] * steps[2])
    starts, stops = _longest_stretches(body_mask(coarse, coarse_mm))
    lengths = stops - starts
    longest = lengths.max(axis=0, keepdims=True)
    seen = (lengths > 0) & (lengths >= _LONG_ROW * longest)
    is_cut = (starts == 0) | (stops == coarse.shape[0])
    whole = _beyond_cut_rows(seen & ~is_cut, seen & is_cut)
    if whole.sum() >= max(1.0, _ENOUGH_WHOLE_ROWS * seen.sum()):
        low_mm, high_mm = _of_whole_rows((starts + stops)[whole] / 2 * coarse_mm[0])
    else:
        wide = seen & (lengths >= _WIDE_ROW * lengths.max())
        low_mm, high_mm = _of_cut_rows(
            starts[wide] * coarse_mm[0], stops[wide] * coarse_mm[0], coarse.shape[0] * coarse_mm[0]
        )
    # Stretches end at the edges of coarse voxels; the first of these is centred at index 0.
    edge = steps[0] / 2
    return Midline(low_mm / spacing_mm[0] - edge, high_mm / spacing_mm[0] - edge)


def _longest_stretches(
    body: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return start and stop of the longest stretch of each row, both of shape (J, K)."""
    length = np.zeros(body.shape[1:], np.int64)
    best = np.zeros_like(length)
    stops = np.zeros_like(length)
    for place, plane in enumerate(body):
        length = np.where(plane, length + 1, 0)
        stops = np.where(length > best, place + 1, stops)
        best = np.maximum(best, length)
    return stops - best, stops


def _beyond_cut_rows(
    whole: npt.NDArray[np.bool_], cut: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return the whole rows that do not lie between two cut ones of their slice, shape (J, K).

    A body is widest in its middle, so what is cut lies between what is whole. Where it is the other
    way round, the whole row is what lies between two lungs that are open to the border.
    """
    after_a_cut = np.logical_or.accumulate(cut, axis=0)
    before_a_cut = np.logical_or.accumulate(cut[::-1], axis=0)[::-1]
    return whole & ~(after_a_cut & before_a_cut)


def _of_whole_rows(centres_mm: npt.NDArray[np.floating]) -> tuple[float, float]:
    quarter, middle, three_quarters = np.percentile(centres_mm, [25, 50, 75])
    half_width_mm = max(_LEAST_HALF_WIDTH_MM, float(three_quarters - quarter))
    return float(middle) - half_width_mm, float(middle) + half_width_mm


def _of_cut_rows(
    starts_mm: npt.NDArray[np.floating], stops_mm: npt.NDArray[np.floating], width_mm: float
) -> tuple[float, float]:
    """Return every place that the midline of a cut body can have."""
    start_mm, stop_mm = float(np.median(starts_mm)), float(np.median(stops_mm))
    seen_mm = stop_mm - start_mm
    widest_mm = max(_WIDEST_MM, seen_mm)
    narrowest_mm = max(_NARROWEST_MM, seen_mm)
    goes_on_left, goes_on_right = start_mm <= 0, stop_mm >= width_mm
    # The midline lies half a body's width from a side that is seen.
    low_mm = (stop_mm - widest_mm / 2) if goes_on_left else (start_mm + narrowest_mm / 2)
    high_mm = (start_mm + widest_mm / 2) if goes_on_right else (stop_mm - narrowest_mm / 2)
    slack_mm = _LEAST_HALF_WIDTH_MM
    return min(low_mm, high_mm) - slack_mm, max(low_mm, high_mm) + slack_mm
