"""What one member predicts for one case, kept in 16 bits on the member's working grid."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from configs.errors import CaseError, ModelError, Reason
from model.body import body_mask
from model.committee import CommitteeMember
from model.grid import Triple
from model.memory_fault import is_out_of_memory
from model.native_maps import Vote
from model.network_options import NetworkOptions
from model.resample import to_working
from model.sliding_window import Predictor, Windowing, predict_probabilities
from model.working_levels import Levels

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkingPrediction:
    """One member's probabilities of one case.

    Attributes:
        structures: Its structures in order.
        probabilities: Shape (Q, I, J, K), as the network gives them: no temperature is applied.
        fallbacks: What was tried instead where memory was not enough or numbers overflowed, in
            words; empty where all went as asked.
    """

    member: CommitteeMember
    structures: tuple[str, ...]
    probabilities: Levels
    fallbacks: tuple[str, ...] = ()

    def vote(self, structure: str) -> Vote:
        """Return the member's vote on one of its structures, a view."""
        return Vote(
            self.member.name,
            self.member.family,
            self.member.inference.spacing_mm,
            self.probabilities[self.structures.index(structure)],
            self.member.temperatures.get(structure, 1.0),
        )


def predict_members(
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    members: Sequence[CommitteeMember],
    *,
    structures: Sequence[str],
    device: torch.device,
    options: NetworkOptions,
) -> list[WorkingPrediction]:
    """Run every member over a volume; members with one working spacing share the resampling.

    Args:
        hu: Native volume, shape (I, J, K).
        spacing_mm: Of the native grid.
        members: Who votes.
        structures: What is asked for; each member answers what it covers.
        device: Where to compute.
        options: How networks run; where memory is not enough, they go on with less of it, and in
            float32 where a reduced precision overflows, and the prediction says so.

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
        with memory_case_error(hu.shape, working_mm, device):
            working = to_working(hu, spacing_mm, working_mm, device=device)
            body = body_mask(working.cpu().numpy(), working_mm)
            for member in sharing:
                run = MemberRun(member, working, body, _asked(member, structures))
                predictions[member.name] = run.with_fallbacks(options)
    return [predictions[member.name] for member in voting]


def votes_on(predictions: Sequence[WorkingPrediction], structure: str) -> list[Vote]:
    """Return the votes on a structure of all members that cover it, in committee order."""
    return [one.vote(structure) for one in predictions if structure in one.structures]


@contextmanager
def memory_case_error(
    shape: tuple[int, ...], working_mm: Triple, device: torch.device
) -> Iterator[None]:
    """Say of which volume it is when memory is not enough.

    Raises:
        CaseError: Memory is not enough.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise CaseError(
            Reason.OUT_OF_MEMORY,
            f"the volume {shape} at {working_mm} mm does not fit into memory on {device}; "
            "use a coarser spacing or another device",
        ) from error


@dataclass(frozen=True, slots=True)
class MemberRun:
    """A network, and the working volume that it is to see.

    Attributes:
        member: Whose network.
        working: HU on its working grid.
        body: Where there is body, on that grid.
        asked: Structures, in the member's order.
    """

    member: CommitteeMember
    working: Tensor
    body: npt.NDArray[np.bool_]
    asked: tuple[str, ...]

    def with_fallbacks(self, options: NetworkOptions) -> WorkingPrediction:
        """Run the network: with less memory where it is short, in float32 where it overflows."""
        changed: list[str] = []
        while True:
            try:
                probabilities = self._probabilities(options)
            except CaseError as error:
                if error.reason is not Reason.NON_FINITE_LOGITS or options.precision == "float32":
                    raise
                options = replace(options, precision="float32")
            except (RuntimeError, MemoryError) as error:
                less = options.with_less_memory(self.working.device)
                if less is None or not is_out_of_memory(error):
                    raise
                options = less
            else:
                return WorkingPrediction(self.member, self.asked, probabilities, tuple(changed))
            # Outside of the handler, whose traceback holds what is to be freed.
            changed.append(f"{self.member.name}: {options.in_words()}")
            _LOG.warning("tried again with less, %s", changed[-1])
            if self.working.is_cuda:
                torch.cuda.empty_cache()

    def _probabilities(self, options: NetworkOptions) -> Levels:
        settings = self.member.inference
        return predict_probabilities(
            settings.scale(self.working),
            self.body,
            _predictor(self.member, self.asked, self.working.device),
            structures=len(self.asked),
            windowing=Windowing(patch=settings.patch, overlap=settings.overlap),
            options=options,
        )


def _asked(member: CommitteeMember, structures: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in member.structures if name in structures)


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
