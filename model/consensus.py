"""What a committee draws of one volume, without the members' masks, maps and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.annotate import AnnotateOptions
from model.committee import CommitteeMember, check_committee
from model.grid import Box, Triple, volume_grid
from model.native_maps import consensus_levels, foreground_box
from model.scores import THRESHOLD, Mask
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

    Args:
        hu: Native volume in Hounsfield units, shape (I, J, K), RAS.
        spacing_mm: Of that grid.
        members: The committee; networks on ``device`` and in evaluation mode.
        structures: What is asked for; the results come in this order.
        device: Where to compute.
        options: How to run; its own ``structures`` are not looked at.

    Raises:
        UsageError: The volume is not what it must be.
        ModelError: The committee is not ready to vote, or a network gives another shape.
        CaseError: Logits are not finite, or memory is not enough.
    """
    check_committee(members)
    grid = volume_grid(hu, spacing_mm)
    predictions = predict_members(
        hu, spacing_mm, members, structures=structures, device=device, options=options.network
    )
    for structure in structures:
        votes = votes_on(predictions, structure)
        if not votes:
            continue
        box = foreground_box(votes, grid, 0.0)
        mask = None
        if box is not None:
            mask = consensus_levels(votes, box, spacing_mm, device=device) > THRESHOLD
        if mask is None or not mask.any():
            yield Consensus(structure, None, None)
        else:
            yield Consensus(structure, box, mask)
