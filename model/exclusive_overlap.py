"""Voxels that exclusive structures claim at once, on the working grid, from packed bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.grid import Box, Grid, Shape, Triple
from model.native_maps import Vote, consensus_levels, foreground_box
from model.placed_crop import PlacedMask, cropped
from model.scores import COMMITTEE, THRESHOLD, Bytes, Mask, claimed_share
from model.working_levels import HALF
from model.working_prediction import WorkingPrediction, votes_on

# Stored levels, from the foreground's on: a structure that is seen is looked for in its box alone.
_SEARCHED_ABOVE = (THRESHOLD, 25, 2, 0)


@dataclass(frozen=True, slots=True)
class Claim:
    """What is kept of one mask for comparisons: a bit a voxel.

    Attributes:
        bits: ``np.packbits`` of the flattened mask.
        highest: Highest probability in the volume, calibrated.
    """

    bits: Bytes
    highest: float


@dataclass(frozen=True, slots=True)
class ClaimScore:
    """What one voter's claims say about one structure; see ``ScoreRow`` for both numbers."""

    overlap_exclusive: float | None
    max_probability: float


Claims = Mapping[str, Mapping[str, Claim]]


def collect_claims(
    predictions: Sequence[WorkingPrediction], structures: Sequence[str], device: torch.device
) -> Claims:
    """Return every voter's claim on every structure that it covers, by voter and structure.

    A member's claims lie on its own working grid. The consensus' (voter ``"committee"``) lie on
    the first member's, where the other members' probabilities are interpolated to.
    """
    claims = {
        one.member.name: {name: _member_claim(one.vote(name)) for name in one.structures}
        for one in predictions
    }
    if not predictions:
        return claims
    shape = _shape(predictions[0].probabilities.shape)
    grid = Grid(shape, predictions[0].member.inference.spacing_mm)
    first = claims[predictions[0].member.name]
    claims[COMMITTEE] = {}
    for name in structures:
        votes = votes_on(predictions, name)
        own = first.get(name) if len(votes) == 1 else None
        claims[COMMITTEE][name] = own or _consensus_claim(votes, grid, device)
    return claims


def claim_scores(structure: str, claims: Claims, exclusive: Sequence[str]) -> dict[str, ClaimScore]:
    """Return what each voter's claims say about a structure and its exclusive neighbours."""
    return {
        voter: ClaimScore(
            claimed_share(own[structure].bits, [own[n].bits for n in exclusive if n in own]),
            own[structure].highest,
        )
        for voter, own in claims.items()
        if structure in own
    }


@dataclass(frozen=True, slots=True, eq=False)
class ListedOverlap:
    """Where organs of a list overlap anything, on the grid of the consensus' claims.

    Attributes:
        once: Voxels that an organ of the list claims, a bit each.
        twice: Voxels that two of them claim.
        listed: The list.
        grid: Theirs.
    """

    once: Bytes
    twice: Bytes
    listed: frozenset[str]
    grid: Grid

    def of(self, structure: str, claim: Claim, box: Box, spacing_mm: Triple) -> Mask | None:
        """Return where a listed organ claims a structure's own claim too; None where none does.

        Args:
            structure: Its name.
            claim: What the consensus claims of it.
            box: Of the native grid, which takes the nearest voxel of the claims' grid.
            spacing_mm: Of the native grid.
        """
        bits = claim.bits & (self.twice if structure in self.listed else self.once)
        where = _planes(bits, self.grid.shape)
        hits = None if where is None else cropped(where.mask, origin=where.box.start)
        if hits is None:
            return None
        nearest = [self._nearest(axis, box, spacing_mm[axis]) for axis in range(3)]
        # Most organs overlap in a few places, so that only the part that holds these is filled.
        part = [
            slice(*np.searchsorted(own, (start, stop)))
            for own, start, stop in zip(nearest, hits.box.start, hits.box.stop, strict=True)
        ]
        found = np.zeros(box.shape, np.bool_)
        rows = [
            own[inside] - first
            for own, inside, first in zip(nearest, part, hits.box.start, strict=True)
        ]
        found[tuple(part)] = hits.mask[np.ix_(*rows)]
        return found if found.any() else None

    def _nearest(self, axis: int, box: Box, native_mm: float) -> npt.NDArray[np.intp]:
        """Return the nearest voxel of the claims' grid to each native one of a box."""
        centres = (np.arange(box.start[axis], box.stop[axis]) + 0.5) * native_mm
        nearest = (centres / self.grid.spacing_mm[axis]).astype(np.intp)
        return nearest.clip(0, self.grid.shape[axis] - 1)


def listed_overlap(
    predictions: Sequence[WorkingPrediction], claims: Claims, listed: Sequence[str]
) -> ListedOverlap | None:
    """Return where the consensus' claims on organs of a list overlap; None without predictions."""
    if not predictions:
        return None
    first, found = predictions[0], claims[COMMITTEE]
    grid = Grid(_shape(first.probabilities.shape), first.member.inference.spacing_mm)
    once = np.zeros(-(-math.prod(grid.shape) // 8), np.uint8)
    twice = np.zeros_like(once)
    for name in listed:
        if name in found:
            twice |= once & found[name].bits
            once |= found[name].bits
    return ListedOverlap(once, twice, frozenset(listed), grid)


def _planes(bits: Bytes, shape: Shape) -> PlacedMask | None:
    """Return the planes along I that hold all of a packed mask's voxels; None where it has none."""
    words = bits[: bits.size // 8 * 8].view(np.uint64)
    used = np.flatnonzero(words)
    tail = bool(bits[8 * words.size :].any())
    if not (used.size or tail):
        return None
    plane = shape[1] * shape[2]
    first = (64 * int(used[0]) if used.size else 64 * words.size) // plane
    last = shape[0] if tail else min(shape[0], -(-64 * (int(used[-1]) + 1) // plane))
    byte, offset = divmod(first * plane, 8)
    count = (last - first) * plane
    unpacked = np.unpackbits(bits[byte:], count=offset + count)[offset:]
    mask = unpacked.view(np.bool_).reshape(last - first, *shape[1:])
    return PlacedMask(mask, Box((first, 0, 0), (last, shape[1], shape[2])))


def _member_claim(vote: Vote) -> Claim:
    return Claim(np.packbits(vote.probability > HALF), vote.highest)


def _consensus_claim(votes: Sequence[Vote], grid: Grid, device: torch.device) -> Claim:
    """Look only where some member is above a level, and lower until the highest is found there.

    Outside of that box no member is above the level, so their mean is not either.
    """
    inside = np.zeros(grid.shape, np.bool_)
    for level in _SEARCHED_ABOVE:
        box = foreground_box(votes, grid, 0.0, threshold=level)
        if box is None:
            continue
        mean = consensus_levels(votes, box, grid.spacing_mm, device=device)
        highest = int(mean.max())
        if highest > level:
            inside[box.slices] = mean > THRESHOLD
            return Claim(np.packbits(inside), highest / 255.0)
    return Claim(np.packbits(inside), 0.0)


def _shape(shape: tuple[int, ...]) -> Shape:
    _, i, j, k = shape
    return i, j, k
