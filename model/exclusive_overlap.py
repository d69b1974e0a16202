"""Voxels that exclusive structures claim at once, on the working grid, from packed bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.grid import Grid, Shape
from model.native_maps import Vote, consensus_levels, foreground_box
from model.scores import COMMITTEE, THRESHOLD, Bytes, claimed_share
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
