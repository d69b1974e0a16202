"""What a committee draws of one volume, without the members' masks, maps and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from configs.taxonomy import load_taxonomy
from model.annotate import AnnotateOptions
from model.committee import CommitteeMember, check_committee
from model.grid import Box, Grid, Triple, volume_grid
from model.midline import body_midline
from model.native_maps import Vote, consensus_levels, foreground_box
from model.post_processor import PostProcessor, VoterMasks, structures_to_compute
from model.scores import COMMITTEE, THRESHOLD, Mask
from model.working_prediction import predict_members, votes_on


@dataclass(frozen=True, slots=True)
class Consensus:
    """One structure's consensus as a crop of the native grid; None twice where it is empty."""

    structure: str
    box: Box | None
    mask: Mask | None


def consensus_of(
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    members: Sequence[CommitteeMember],
    *,
    structures: Sequence[str],
    device: torch.device,
    options: AnnotateOptions,
) -> Iterator[Consensus]:
    """Yield the consensus that ``annotate_volume`` gives, of the structures that members cover.

    Results come in the order of ``structures``, but for what rules judge together or later.

    Args:
        hu: Native volume in Hounsfield units, shape (I, J, K), RAS.
        spacing_mm: Of that grid.
        members: The committee; networks on ``device`` and in evaluation mode.
        structures: What is asked for.
        device: Where to compute.
        options: How to run, and the rules; its own ``structures`` are not looked at.

    Raises:
        UsageError: The volume is not what it must be.
        ModelError: The committee is not ready to vote, or a network gives another shape.
        CaseError: Logits are not finite, or memory is not enough.
    """
    check_committee(members)
    grid = volume_grid(hu, spacing_mm)
    covered = [name for name in structures if any(member.covers(name) for member in members)]
    computed = structures_to_compute(covered, members, options.rules)
    predictions = predict_members(
        hu, spacing_mm, members, structures=computed, device=device, options=options.network
    )
    processor = PostProcessor(
        options.rules,
        computed,
        taxonomy=load_taxonomy(),
        grid=grid,
        midline=lambda: body_midline(hu, spacing_mm),
    )
    for unit in processor.units:
        raw = [_raw(name, votes_on(predictions, name), grid, device) for name in unit]
        for one in processor.process(raw):
            if one.structure in covered:
                yield _consensus(one)


def _raw(structure: str, votes: Sequence[Vote], grid: Grid, device: torch.device) -> VoterMasks:
    box = foreground_box(votes, grid, 0.0)
    if box is None:
        return VoterMasks(structure, (COMMITTEE,), None, {})
    mask = consensus_levels(votes, box, grid.spacing_mm, device=device) > THRESHOLD
    return VoterMasks(structure, (COMMITTEE,), box, {COMMITTEE: mask})


def _consensus(one: VoterMasks) -> Consensus:
    mask = one.masks.get(COMMITTEE)
    if mask is None or not mask.any():
        return Consensus(one.structure, None, None)
    return Consensus(one.structure, one.box, mask)
