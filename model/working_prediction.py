"""What one member predicts for one case, kept as bytes on the member's working grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from configs.errors import CaseError, ModelError, Reason
from model.body import body_mask
from model.committee import CommitteeMember
from model.grid import Triple
from model.native_maps import Vote
from model.resample import to_working
from model.sliding_window import Predictor, Windowing, predict_probabilities


@dataclass(frozen=True, slots=True)
class WorkingPrediction:
    """One member's probabilities, uint8 of shape (Q, I, J, K), for its ``structures`` in order."""

    member: CommitteeMember
    structures: tuple[str, ...]
    probabilities: npt.NDArray[np.uint8]

    def vote(self, structure: str) -> Vote:
        """Return the member's vote on one of its structures, a view."""
        return Vote(
            self.member.name,
            self.member.family,
            self.member.inference.spacing_mm,
            self.probabilities[self.structures.index(structure)],
        )


def predict_members(
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    members: Sequence[CommitteeMember],
    *,
    structures: Sequence[str],
    device: torch.device,
    batching: tuple[int, bool],
) -> list[WorkingPrediction]:
    """Run every member over a volume; members with one working spacing share the resampling.

    Args:
        hu: Native volume, shape (I, J, K).
        spacing_mm: Of the native grid.
        members: Who votes.
        structures: What is asked for; each member answers what it covers.
        device: Where to compute.
        batching: Windows per call, and whether to run under bfloat16.

    Returns:
        One prediction per member, in the order of ``members``; members that cover nothing are left
        out.

    Raises:
        CaseError: Logits are not finite, or memory is not enough.
    """
    predictions: dict[str, WorkingPrediction] = {}
    voting = [member for member in members if any(map(member.covers, structures))]
    for working_mm in dict.fromkeys(member.inference.spacing_mm for member in voting):
        sharing = [member for member in voting if member.inference.spacing_mm == working_mm]
        try:
            working = to_working(hu, spacing_mm, working_mm, device=device)
            body = body_mask(working.cpu().numpy(), working_mm)
            for member in sharing:
                predictions[member.name] = _predict(member, working, body, structures, batching)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise CaseError(
                Reason.OUT_OF_MEMORY,
                f"the volume {hu.shape} at {working_mm} mm does not fit into memory on {device}; "
                "use a smaller batch, a coarser spacing or another device",
            ) from error
    return [predictions[member.name] for member in voting]


def votes_on(predictions: Sequence[WorkingPrediction], structure: str) -> list[Vote]:
    """Return the votes on a structure of all members that cover it, in committee order."""
    return [one.vote(structure) for one in predictions if structure in one.structures]


def _predict(
    member: CommitteeMember,
    working: Tensor,
    body: npt.NDArray[np.bool_],
    structures: Sequence[str],
    batching: tuple[int, bool],
) -> WorkingPrediction:
    asked = tuple(name for name in member.structures if name in structures)
    settings = member.inference
    windowing = Windowing(
        patch=settings.patch, overlap=settings.overlap, batch_size=batching[0], bf16=batching[1]
    )
    probabilities = predict_probabilities(
        settings.scale(working),
        body,
        _predictor(member, asked, working.device),
        structures=len(asked),
        windowing=windowing,
    )
    return WorkingPrediction(member, asked, probabilities)


def _predictor(member: CommitteeMember, asked: Sequence[str], device: torch.device) -> Predictor:
    """Bind what is asked for, and refuse an answer of another shape."""
    chosen = None
    if len(asked) != len(member.structures):
        positions = [member.structures.index(name) for name in asked]
        chosen = torch.tensor(positions, dtype=torch.int64, device=device)

    def predict(images: Tensor) -> Tensor:
        logits = member.network(images, chosen)
        expected = (images.shape[0], len(asked), *images.shape[2:])
        if tuple(logits.shape) != expected:
            raise ModelError(
                f"logits of {member.name} must have shape {expected}, got {tuple(logits.shape)}; "
                "do its structures match its network?"
            )
        return logits

    return predict
