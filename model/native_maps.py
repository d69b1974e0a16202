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
from model.resample import AxisMap, apply_maps, axis_map
from model.scores import THRESHOLD, Bytes

SLAB_VOXELS = 2_000_000

# Interpolation weights carry rounding of about 1e-5 of a level; an exact tie must not depend on it.
_TIE = 1e-3


@dataclass(frozen=True, slots=True)
class Vote:
    """One member's probability of one structure, uint8 on its working grid (I, J, K)."""

    member: str
    family: str
    spacing_mm: Triple
    probability: Bytes


@dataclass(frozen=True, slots=True)
class NativeMaps:
    """8-bit maps of one structure in a native box.

    Attributes:
        members: 255 times the probability, by member.
        mean: 255 times the mean over families of the family means.
        deviation: 510 times the population standard deviation over members (0.5, the highest, is
            255).
    """

    members: dict[str, Bytes]
    mean: Bytes
    deviation: Bytes


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
        threshold: Foreground is what has a higher level, 0 to 255.
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

    Peak memory in bytes, for M members: ``(M + 2)`` per voxel of the box for the result and about
    ``4 * (3 * M + 4)`` per voxel of one slab (at most ``SLAB_VOXELS``, or one slice).
    """
    members = np.zeros((len(votes), *box.shape), np.uint8)
    mean, deviation = np.zeros(box.shape, np.uint8), np.zeros(box.shape, np.uint8)
    weights = torch.tensor(family_weights([vote.family for vote in votes]), device=device)
    with torch.inference_mode():
        for part, values in _slabs(votes, box, spacing_mm, device):
            members[..., part] = _levels(values)
            mean[..., part] = _levels(torch.tensordot(weights, values, dims=1))
            deviation[..., part] = _deviation(values)
    named = {vote.member: members[index] for index, vote in enumerate(votes)}
    return NativeMaps(named, mean, deviation)


def consensus_levels(
    votes: Sequence[Vote], box: Box, spacing_mm: Triple, *, device: torch.device
) -> Bytes:
    """Return only the ``mean`` of ``native_maps``."""
    mean = np.zeros(box.shape, np.uint8)
    weights = torch.tensor(family_weights([vote.family for vote in votes]), device=device)
    with torch.inference_mode():
        for part, values in _slabs(votes, box, spacing_mm, device):
            mean[..., part] = _levels(torch.tensordot(weights, values, dims=1))
    return mean


def _slabs(
    votes: Sequence[Vote], box: Box, spacing_mm: Triple, device: torch.device
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (slices within the box, float32 levels of shape (M, I, J, slices))."""
    planes = [[_map(vote, box, spacing_mm, axis) for axis in (0, 1)] for vote in votes]
    depth = max(1, SLAB_VOXELS // (box.shape[0] * box.shape[1]))
    for first in range(0, box.shape[2], depth):
        last = min(first + depth, box.shape[2])
        rows = Box((*box.start[:2], box.start[2] + first), (*box.stop[:2], box.start[2] + last))
        values = [
            _interpolate(vote.probability, (i, j, _map(vote, rows, spacing_mm, 2)), device)
            for vote, (i, j) in zip(votes, planes, strict=True)
        ]
        yield slice(first, last), torch.stack(values)


def _interpolate(
    probability: Bytes, maps: tuple[AxisMap, AxisMap, AxisMap], device: torch.device
) -> Tensor:
    crop = np.ascontiguousarray(probability[tuple(one.columns for one in maps)])
    i, j, k = (AxisMap(one.weights, 0, one.identity) for one in maps)
    return apply_maps(torch.from_numpy(crop).to(device), (i, j, k))


def _map(vote: Vote, box: Box, spacing_mm: Triple, axis: int) -> AxisMap:
    return axis_map(
        vote.probability.shape[axis],
        vote.spacing_mm[axis],
        spacing_mm[axis],
        rows=(box.start[axis], box.stop[axis]),
    )


def _levels(values: Tensor) -> Bytes:
    """Round float levels to uint8, exact halves down: above 127 if and only if p > 0.5."""
    return torch.ceil(values - (0.5 + _TIE)).clamp_(0, 255).byte().cpu().numpy()


def _deviation(values: Tensor) -> Bytes:
    """Return 510 times the deviation of p over members; torch.std is far slower on a short axis."""
    squared = (values - values.mean(dim=0)).square_().mean(dim=0)
    return squared.sqrt_().mul_(2.0).round_().clamp_(0, 255).byte().cpu().numpy()


def _foreground_mm(
    vote: Vote, native_mm: Triple, threshold: int
) -> tuple[list[float], list[float]] | None:
    """Return both corners in mm of what foreground can reach after interpolation."""
    foreground = vote.probability > threshold
    if not foreground.any():
        return None
    low, high = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero(foreground.any(axis=others))
        size = vote.spacing_mm[axis]
        reach = max(size, native_mm[axis])
        low.append((int(hits[0]) + 0.5) * size - reach)
        high.append((int(hits[-1]) + 0.5) * size + reach)
    return low, high


def _triple(values: npt.NDArray[np.int_]) -> Shape:
    i, j, k = (int(value) for value in values)
    return i, j, k
