"""Voxels that exclusive structures claim at once, on the working grid, from packed bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.grid import Box, Shape, Triple
from model.native_maps import Vote, consensus_levels
from model.scores import COMMITTEE, THRESHOLD, Bytes, claimed_share
from model.working_prediction import WorkingPrediction, votes_on

_STEP_VOXELS = 2_000_000


@dataclass(frozen=True, slots=True)
class Claim:
    """What is kept of one mask for comparisons: a bit a voxel.

    Attributes:
        bits: ``np.packbits`` of the flattened mask.
        highest: Highest 8-bit probability in the volume.
    """

    bits: Bytes
    highest: int


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
    spacing_mm = predictions[0].member.inference.spacing_mm
    claims[COMMITTEE] = {
        name: _consensus_claim(votes_on(predictions, name), shape, spacing_mm, device)
        for name in structures
    }
    return claims


def claim_scores(structure: str, claims: Claims, exclusive: Sequence[str]) -> dict[str, ClaimScore]:
    """Return what each voter's claims say about a structure and its exclusive neighbours."""
    return {
        voter: ClaimScore(
            claimed_share(own[structure].bits, [own[n].bits for n in exclusive if n in own]),
            own[structure].highest / 255.0,
        )
        for voter, own in claims.items()
        if structure in own
    }


def _member_claim(vote: Vote) -> Claim:
    return Claim(np.packbits(vote.probability > THRESHOLD), int(vote.probability.max()))


def _consensus_claim(
    votes: Sequence[Vote], shape: Shape, spacing_mm: Triple, device: torch.device
) -> Claim:
    """Go layer by layer along the first axis, so the extra memory is a step's, not the volume's."""
    i, j, k = shape
    # Eight layers are whole bytes, so packed steps join without a gap.
    depth = max(8, _STEP_VOXELS // (j * k) // 8 * 8)
    bits: list[Bytes] = []
    highest = 0
    for first in range(0, i, depth):
        box = Box((first, 0, 0), (min(first + depth, i), j, k))
        mean = consensus_levels(votes, box, spacing_mm, device=device)
        bits.append(np.packbits(mean > THRESHOLD))
        highest = max(highest, int(mean.max()))
    return Claim(np.concatenate(bits), highest)


def _shape(shape: tuple[int, ...]) -> Shape:
    _, i, j, k = shape
    return i, j, k
