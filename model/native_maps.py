"""One structure's probabilities on the native grid, inside the box where any member sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.committee import family_weights
from model.grid import Box, Grid, Shape, Triple
from model.placed_crop import foreground_bounds
from model.resample import AxisMap, apply_maps, axis_map
from model.scores import THRESHOLD, Bytes
from model.temperature import level_table, scaled_levels
from model.working_levels import STEPS, TOP, Levels, highest_level

# What of one member stays in a processor's cache.
SLAB_VOXELS = 500_000

# Interpolation weights carry rounding of about 1e-5 of a level; an exact tie must not depend on it.
_TIE = 1e-3


@dataclass(frozen=True, slots=True)
class Vote:
    """One member's probability of one structure on its working grid (I, J, K).

    Attributes:
        probability: As the network gives it.
        temperature: What the probability is calibrated by wherever it counts as a number: on the
            native grid, where the temperature was fitted. Masks stay the same.
    """

    member: str
    family: str
    spacing_mm: Triple
    probability: Levels
    temperature: float = 1.0

    @property
    def highest(self) -> float:
        """The highest probability in the volume, calibrated, in [0, 1]."""
        highest = int(self.probability.max())
        if self.temperature == 1.0:
            return highest / TOP
        return (
            float(np.interp(highest / STEPS, np.arange(256), level_table(self.temperature))) / 255
        )

    def highest_level(self, stored: int) -> int:
        """Return the highest level that is not above a stored map's, 0 to 255, once calibrated."""
        if self.temperature == 1.0 or stored == THRESHOLD:
            return highest_level(stored)
        table = level_table(self.temperature)
        return int(STEPS * np.interp(stored + 0.5, table, np.arange(256)))


@dataclass(frozen=True, slots=True)
class NativeMaps:
    """8-bit maps of one structure in a native box, of calibrated probabilities.

    Attributes:
        members: 255 times the probability, by member.
        mean: 255 times the mean over families of the family means; of one member, its very array.
        deviation: 510 times the population standard deviation over members (0.5, the highest, is
            255); None with one member.
    """

    members: dict[str, Bytes]
    mean: Bytes
    deviation: Bytes | None


def foreground_box(
    votes: Sequence[Vote], grid: Grid, margin_mm: float, *, threshold: int = THRESHOLD
) -> Box | None:
    """Return the native box of every member's foreground plus a margin; None without foreground.

    Interpolation reaches one voxel of the coarser grid; the box holds that too, so no foreground
    is lost.

    Args:
        votes: Whose foreground.
        grid: The native grid.
        margin_mm: What the box holds beside it.
        threshold: Foreground is what a stored map would show as a higher level, 0 to 255.
    """
    found = (_foreground_mm(vote, grid.spacing_mm, threshold) for vote in votes)
    edges = [edge for edge in found if edge is not None]
    if not edges:
        return None
    low = np.min([edge[0] for edge in edges], axis=0) - margin_mm
    high = np.max([edge[1] for edge in edges], axis=0) + margin_mm
    spacing = np.asarray(grid.spacing_mm)
    start = np.floor(low / spacing).astype(int).clip(0, np.asarray(grid.shape) - 1)
    stop = np.ceil(high / spacing).astype(int).clip(start + 1, grid.shape)
    return Box(_triple(start), _triple(stop))


def native_maps(
    votes: Sequence[Vote], box: Box, spacing_mm: Triple, *, device: torch.device
) -> NativeMaps:
    """Interpolate the members' probabilities linearly to a native box, slab by slab.

    Peak memory in bytes, for M members: ``(M + 2)`` per voxel of the box for the result, or one
    with one member, and about ``4 * (M + 5)`` per voxel of one slab (at most ``SLAB_VOXELS``, or
    one slice).
    """
    members = {vote.member: np.empty(box.shape, np.uint8) for vote in votes}
    alone = len(votes) == 1
    mean = members[votes[0].member] if alone else np.empty(box.shape, np.uint8)
    deviation = None if alone else np.empty(box.shape, np.uint8)
    with torch.inference_mode():
        for part, values in _slabs(votes, box, spacing_mm, device):
            for vote, own in zip(votes, values, strict=True):
                members[vote.member][..., part] = scaled_levels(_stored(own), vote.temperature)
            if deviation is not None:
                calibrated = _calibrated(votes, values)
                mean[..., part] = _stored(_family_mean(votes, calibrated))
                deviation[..., part] = _deviation(calibrated)
    return NativeMaps(members, mean, deviation)


def consensus_levels(
    votes: Sequence[Vote], box: Box, spacing_mm: Triple, *, device: torch.device
) -> Bytes:
    """Return only the ``mean`` of ``native_maps``."""
    mean = np.empty(box.shape, np.uint8)
    with torch.inference_mode():
        for part, values in _slabs(votes, box, spacing_mm, device):
            if len(votes) == 1:
                mean[..., part] = scaled_levels(_stored(values[0]), votes[0].temperature)
            else:
                mean[..., part] = _stored(_family_mean(votes, _calibrated(votes, values)))
    return mean


def _slabs(
    votes: Sequence[Vote], box: Box, spacing_mm: Triple, device: torch.device
) -> Iterator[tuple[slice, list[Tensor]]]:
    """Yield (slices within the box, each member's float32 values, 0 to 255, (I, J, slices))."""
    # Most committees see one working grid, or few.
    grids = {(vote.probability.shape, vote.spacing_mm): vote for vote in votes}
    by_grid = {
        grid: _scaled([_map(vote, box, spacing_mm, axis) for axis in range(3)])
        for grid, vote in grids.items()
    }
    maps = [by_grid[vote.probability.shape, vote.spacing_mm] for vote in votes]
    depth = max(1, SLAB_VOXELS // (box.shape[0] * box.shape[1]))
    for first in range(0, box.shape[2], depth):
        last = min(first + depth, box.shape[2])
        yield (
            slice(first, last),
            [
                _interpolate(vote.probability, (i, j, k.part(first, last)), device)
                for vote, (i, j, k) in zip(votes, maps, strict=True)
            ],
        )


def _interpolate(
    probability: Levels, maps: tuple[AxisMap, AxisMap, AxisMap], device: torch.device
) -> Tensor:
    crop = np.ascontiguousarray(probability[tuple(one.columns for one in maps)])
    i, j, k = (AxisMap(one.weights, 0, one.identity) for one in maps)
    values = apply_maps(torch.from_numpy(crop).to(device), (i, j, k))
    return values.div_(STEPS) if all(one.identity for one in maps) else values


def _scaled(maps: Sequence[AxisMap]) -> tuple[AxisMap, AxisMap, AxisMap]:
    """Return maps of which one makes stored levels of working ones, so that no voxel is divided."""
    i, j, k = maps
    scaled = {index: one for index, one in enumerate(maps) if not one.identity}
    if not scaled:
        return i, j, k
    index, one = next(iter(scaled.items()))
    changed = [*maps]
    changed[index] = AxisMap(one.weights / STEPS, one.first)
    i, j, k = changed
    return i, j, k


def _map(vote: Vote, box: Box, spacing_mm: Triple, axis: int) -> AxisMap:
    return axis_map(
        vote.probability.shape[axis],
        vote.spacing_mm[axis],
        spacing_mm[axis],
        rows=(box.start[axis], box.stop[axis]),
    )


def _calibrated(votes: Sequence[Vote], values: Sequence[Tensor]) -> list[Tensor]:
    """Return values with each member's temperature applied, linearly between stored levels."""
    return [
        own if vote.temperature == 1.0 else _through(level_table(vote.temperature), own)
        for vote, own in zip(votes, values, strict=True)
    ]


def _through(table: npt.NDArray[np.float64], values: Tensor) -> Tensor:
    """Return values in [0, 255] through a table of 256, linearly between its entries."""
    entries = torch.from_numpy(table.astype(np.float32)).to(values.device)
    steps = torch.diff(entries, append=entries[-1:])
    lower = values.to(torch.int32).clamp_(0, 255)
    return torch.addcmul(entries[lower], steps[lower], values - lower)


def _family_mean(votes: Sequence[Vote], values: Sequence[Tensor]) -> Tensor:
    """Return the mean over families of the family means; float32, 0 to 255."""
    weights = family_weights([vote.family for vote in votes])
    mean = values[0] * weights[0]
    for own, weight in zip(values[1:], weights[1:], strict=True):
        mean.add_(own, alpha=weight)
    return mean


def _stored(values: Tensor) -> Bytes:
    """Round float values to uint8, exact halves down: above 127 if and only if p > 0.5."""
    # Values of 0 to 255 stay in range; the conversion cuts off what is behind the point.
    return (values + (0.5 - _TIE)).to(torch.uint8).cpu().numpy()


def _deviation(values: Sequence[Tensor]) -> Bytes:
    """Return 510 times the population deviation of p over members."""
    mean = values[0] / len(values)
    for own in values[1:]:
        mean.add_(own, alpha=1 / len(values))
    squares = (values[0] - mean).square_()
    for own in values[1:]:
        off = own - mean
        squares.addcmul_(off, off)
    deviation = squares.div_(len(values)).sqrt_().mul_(2.0)
    return deviation.round_().clamp_(0, 255).to(torch.uint8).cpu().numpy()


def _foreground_mm(
    vote: Vote, native_mm: Triple, threshold: int
) -> tuple[list[float], list[float]] | None:
    """Return both corners in mm of what foreground can reach after interpolation."""
    bounds = foreground_bounds(vote.probability > vote.highest_level(threshold))
    if bounds is None:
        return None
    low, high = [], []
    for axis in range(3):
        size = vote.spacing_mm[axis]
        reach = max(size, native_mm[axis])
        low.append((bounds.start[axis] + 0.5) * size - reach)
        high.append((bounds.stop[axis] - 0.5) * size + reach)
    return low, high


def _triple(values: npt.NDArray[np.int_]) -> Shape:
    i, j, k = (int(value) for value in values)
    return i, j, k
