"""Annotate one volume with a committee: masks, maps and scores of every structure, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from configs.errors import UsageError
from configs.taxonomy import Taxonomy
from model.committee import CommitteeMember, check_committee
from model.exclusive_overlap import ClaimScore, claim_scores, collect_claims
from model.grid import Box, Grid, Triple, volume_grid
from model.native_maps import Vote, foreground_box, native_maps
from model.network_options import DEFAULT, NetworkOptions
from model.score_rows import NativeScores, empty_rows
from model.scores import THRESHOLD, Bytes, Mask, ScoreRow, entropy_map
from model.working_prediction import WorkingPrediction, predict_members, votes_on


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotateOptions:
    """How to run; nothing here changes what a member has learned.

    Attributes:
        structures: What to annotate; all of the taxonomy when None.
        network: How the networks run.
        margin_mm: What a box keeps round the members' foreground.
        border_mm: Half width of the band in which ``entropy_border`` is averaged.
    """

    structures: tuple[str, ...] | None = None
    network: NetworkOptions = DEFAULT
    margin_mm: float = 3.0
    border_mm: float = 3.0

    def __post_init__(self) -> None:
        if self.margin_mm < 0 or self.border_mm <= 0:
            raise UsageError(
                f"margin_mm must be 0 or more and border_mm positive, got {self.margin_mm} and "
                f"{self.border_mm} mm"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureResult:
    """One structure of one volume. All arrays are crops of the native grid to ``box``.

    Attributes:
        structure: Name in the taxonomy.
        box: Where any member sees the structure, plus a margin; None when no member does, and then
            there are no arrays.
        masks: Mask of each covering member.
        consensus: Where the mean over families of the family means is above 0.5; members that do
            not cover the structure abstain.
        uncertainty: 255 times the binary entropy in bits of that mean.
        disagreement: 510 times the population standard deviation over members, so 0.5, the highest
            possible, is 255.
        scores: One row per covering member, then the consensus'.
    """

    structure: str
    box: Box | None
    masks: Mapping[str, Mask]
    consensus: Mask | None
    uncertainty: Bytes | None
    disagreement: Bytes | None
    scores: tuple[ScoreRow, ...]


def annotate_volume(
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    members: Sequence[CommitteeMember],
    *,
    taxonomy: Taxonomy,
    device: torch.device,
    options: AnnotateOptions | None = None,
) -> Iterator[StructureResult]:
    """Yield the result of every covered structure, in the taxonomy's order.

    The same as ``predict_volume(...).results()``; takes and raises what these do.
    """
    return predict_volume(
        hu, spacing_mm, members, taxonomy=taxonomy, device=device, options=options
    ).results()


def predict_volume(
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    members: Sequence[CommitteeMember],
    *,
    taxonomy: Taxonomy,
    device: torch.device,
    options: AnnotateOptions | None = None,
) -> VolumePrediction:
    """Run all networks over a volume; afterwards the volume is not needed any more.

    They run before the first result comes: overlap with exclusive neighbours needs all masks.
    Probabilities stay as bytes at working resolution. No float tensor of all structures exists
    beyond one window's thickness.

    Peak memory in bytes, for M members of Q structures, V native and W working voxels: the caller's
    volume ``2 * V``; every member's probabilities ``M * Q * W``; and a member's run, with ``9 * W``
    for the volume and the body beside the sliding window's own (see ``predict_probabilities``).
    ``benchmarks/annotate_memory.py`` measures it.

    On a CPU two runs with the same number of threads give the same bytes.

    Args:
        hu: Native volume in Hounsfield units, shape (I, J, K), RAS.
        spacing_mm: Of that grid.
        members: The committee; networks on ``device`` and in evaluation mode.
        taxonomy: Order, names and exclusive neighbours.
        device: Where to compute.
        options: How to run; the defaults when None.

    Raises:
        UsageError: Volume, spacing or a structure's name is not what it must be.
        ModelError: The committee is not ready to vote, or a network gives another shape.
        CaseError: Logits are not finite, or memory is not enough.
    """
    chosen = options or AnnotateOptions()
    check_committee(members)
    grid = volume_grid(hu, spacing_mm)
    known = {name for member in members for name in member.structures}
    covered = taxonomy.select(tuple(known))
    if chosen.structures is not None:
        covered = tuple(name for name in taxonomy.select(chosen.structures) if name in known)
    predictions = predict_members(
        hu, spacing_mm, members, structures=covered, device=device, options=chosen.network
    )
    return VolumePrediction(tuple(predictions), covered, _Run(grid, taxonomy, device, chosen))


@dataclass(frozen=True, slots=True)
class VolumePrediction:
    """What a committee predicts for one volume, on the members' working grids.

    Attributes:
        members: The members' probabilities, in the committee's order.
        structures: What some member covers, in the taxonomy's order.
    """

    members: tuple[WorkingPrediction, ...]
    structures: tuple[str, ...]
    _run: _Run

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What was tried instead where memory was not enough or numbers overflowed, in words."""
        return tuple(text for member in self.members for text in member.fallbacks)

    def results(self) -> Iterator[StructureResult]:
        """Yield the result of every structure, in order.

        One structure at a time is brought to the native grid, inside its box, in slabs.

        Peak memory in bytes beside the members' probabilities, with M, Q and W as of
        ``predict_volume`` and the largest box of N native voxels: claims ``(M + 1) * Q * W / 8``,
        about ``(2 * M + 7) * N``, and ``(M + 3) * N`` of a result that the caller still holds when
        it asks for the next.

        Raises:
            CaseError: Memory is not enough.
        """
        claims = collect_claims(self.members, self.structures, self._run.device)
        for structure in self.structures:
            votes = votes_on(self.members, structure)
            exclusive = self._run.taxonomy[structure].exclusive
            yield _result(structure, votes, claim_scores(structure, claims, exclusive), self._run)


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same from structure to structure."""

    grid: Grid
    taxonomy: Taxonomy
    device: torch.device
    options: AnnotateOptions


def _result(
    structure: str, votes: Sequence[Vote], claims: Mapping[str, ClaimScore], run: _Run
) -> StructureResult:
    options, grid = run.options, run.grid
    box = foreground_box(votes, grid, options.margin_mm)
    if box is not None:
        maps = native_maps(votes, box, grid.spacing_mm, device=run.device)
        masks = {name: levels > THRESHOLD for name, levels in maps.members.items()}
        # A coarse native grid can average the last foreground away.
        if any(mask.any() for mask in masks.values()):
            consensus = maps.mean > THRESHOLD
            rows = NativeScores(votes, maps, masks, consensus, grid, options.border_mm)
            return StructureResult(
                structure=structure,
                box=box,
                masks=masks,
                consensus=consensus,
                uncertainty=entropy_map(maps.mean),
                disagreement=maps.deviation,
                scores=rows.rows(structure, claims),
            )
    return StructureResult(
        structure=structure,
        box=None,
        masks={},
        consensus=None,
        uncertainty=None,
        disagreement=None,
        scores=empty_rows(structure, votes, claims),
    )
