"""Annotate one volume with a committee: masks, maps and scores of every structure, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from configs.attention import AttentionSettings, shipped_attention
from configs.errors import UsageError
from configs.post_process import PostProcessRules
from configs.taxonomy import Taxonomy
from configs.test_time import InputChange
from model.committee import CommitteeMember, check_committee
from model.exclusive_overlap import (
    Claims,
    ListedOverlap,
    claim_scores,
    collect_claims,
    listed_overlap,
)
from model.grid import Box, Grid, Triple, volume_grid
from model.lesion_candidates import level_of
from model.midline import Midline, body_midline
from model.native_maps import NativeMaps, Vote, consensus_levels, foreground_box, native_maps
from model.network_options import DEFAULT, NetworkOptions
from model.placed_crop import placed
from model.post_processor import PostProcessor, VoterMasks, structures_to_compute
from model.score_rows import NativeScores, ScoreOptions, empty_rows
from model.scores import COMMITTEE, THRESHOLD, Bytes, Mask, ScoreRow, entropy_map
from model.test_time import Repeats, SelfAgreement, self_agreement
from model.triage_candidates import (
    CandidateLimits,
    ConsensusCrop,
    TriageCandidates,
    triage_candidates,
)
from model.working_prediction import WorkingPrediction, predict_members, votes_on


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotateOptions:
    """How to run; nothing here changes what a member has learned.

    Attributes:
        structures: What to annotate; all of the taxonomy when None.
        network: How the networks run.
        margin_mm: What a box keeps round the members' foreground.
        border_mm: Half width of the band in which ``entropy_border`` is averaged.
        region_mm: Side of the cube over which ``entropy_worst`` is.
        attention: Thresholds of attention.
        rules: What is kept of raw masks; None keeps everything and looks for no candidates.
        changes: What a member that is alone with a structure sees once more, a pass each.
    """

    structures: tuple[str, ...] | None = None
    network: NetworkOptions = DEFAULT
    margin_mm: float = 3.0
    border_mm: float = 3.0
    region_mm: float = 20.0
    attention: AttentionSettings = field(default_factory=shipped_attention)
    rules: PostProcessRules | None = None
    changes: tuple[InputChange, ...] = ()

    def __post_init__(self) -> None:
        if self.margin_mm < 0 or self.border_mm <= 0 or self.region_mm <= 0:
            raise UsageError(
                "margin_mm must be 0 or more, border_mm and region_mm positive, got "
                f"{self.margin_mm}, {self.border_mm} and {self.region_mm} mm"
            )

    @property
    def scores(self) -> ScoreOptions:
        """What scores are made with."""
        return ScoreOptions(
            border_mm=self.border_mm, region_mm=self.region_mm, attention=self.attention
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureResult:
    """One structure of one volume. All arrays are crops of the native grid to ``box``.

    Attributes:
        structure: Name in the taxonomy.
        box: Where any member sees the structure, plus a margin; None when no member does, and then
            there are no arrays.
        masks: Mask of each covering member, as the rules leave it.
        consensus: Where the mean over families of the family means is above 0.5, as the rules leave
            it; members that do not cover the structure abstain.
        uncertainty: 255 times the binary entropy in bits of that mean.
        disagreement: 510 times the population standard deviation over members, so 0.5, the highest
            possible, is 255; None where one member covers the structure.
        scores: One row per covering member, then the consensus'.
        candidates: Places that may be a lesion; None for organs, and without rules.
    """

    structure: str
    box: Box | None
    masks: Mapping[str, Mask]
    consensus: Mask | None
    uncertainty: Bytes | None
    disagreement: Bytes | None
    scores: tuple[ScoreRow, ...]
    candidates: TriageCandidates | None


def annotate_volume(
    hu: npt.NDArray[np.int16],
    spacing_mm: Triple,
    members: Sequence[CommitteeMember],
    *,
    taxonomy: Taxonomy,
    device: torch.device,
    options: AnnotateOptions | None = None,
) -> Iterator[StructureResult]:
    """Yield the result of every covered structure.

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
    Probabilities stay in 16 bits at working resolution. No float tensor of all structures exists
    beyond one window's thickness.

    Peak memory in bytes, for M members of Q structures, V native and W working voxels: the caller's
    volume ``2 * V``; every member's probabilities ``2 * M * Q * W``; and a member's run, with ``9 *
    W`` for the volume and the body beside the sliding window's own (see ``predict_probabilities``).
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
    computed = structures_to_compute(covered, members, chosen.rules)
    predictions = predict_members(
        hu, spacing_mm, members, structures=computed, device=device, options=chosen.network
    )
    again = self_agreement(
        hu,
        spacing_mm,
        predictions,
        structures=covered,
        repeats=Repeats(chosen.changes, device, chosen.network),
    )
    midline = body_midline(hu, spacing_mm)
    run = _Run(grid, taxonomy, device, chosen, again)
    return VolumePrediction(tuple(predictions), covered, computed, run, midline)


def voted_volume(
    predictions: Sequence[WorkingPrediction],
    grid: Grid,
    midline: Midline,
    *,
    taxonomy: Taxonomy,
    options: AnnotateOptions,
    again: SelfAgreement | None = None,
) -> VolumePrediction:
    """Return what members predict whose probabilities are there already, of all they cover.

    It is scored on the CPU.

    Args:
        predictions: One a member, in the committee's order.
        grid: The native grid.
        midline: Of the body; rules ask for it.
        taxonomy: Order, names and exclusive neighbours.
        options: Rules and distances; what members cover is what is annotated.
        again: What lone members said when they were asked again; nothing when None.
    """
    known = {name for one in predictions for name in one.structures}
    covered = taxonomy.select(tuple(known))
    run = _Run(grid, taxonomy, torch.device("cpu"), options, again or SelfAgreement())
    return VolumePrediction(tuple(predictions), covered, covered, run, midline)


@dataclass(frozen=True, slots=True)
class VolumePrediction:
    """What a committee predicts for one volume, on the members' working grids.

    Attributes:
        members: The members' probabilities, in the committee's order.
        structures: What is asked for and some member covers, in the taxonomy's order.
    """

    members: tuple[WorkingPrediction, ...]
    structures: tuple[str, ...]
    _computed: tuple[str, ...]
    _run: _Run
    _midline: Midline

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """What was tried instead where memory was not enough or numbers overflowed, in words."""
        own = [text for member in self.members for text in member.fallbacks]
        return (*own, *self._run.again.fallbacks)

    def results(self) -> Iterator[StructureResult]:
        """Yield the result of every structure.

        They come in the taxonomy's order, but both sides of a pair together, and each structure
        after those that its rule looks at. What the rules take away is gone from masks, volumes and
        pairwise Dice; probabilities, maps and all other scores are of what the networks said.

        One structure at a time is brought to the native grid, or both of a pair, inside its box, in
        slabs. Peak memory in bytes beside the members' probabilities, with M, Q and W as of
        ``predict_volume`` and the largest box of N native voxels (both boxes of a pair together):
        claims ``(M + 1) * Q * W / 8``; masks that later rules look at, ``(M + 1) / 8`` per voxel of
        their boxes; about ``(2 * M + 7) * N``; with rules ``(3 * M + 4) * N`` and, while they work,
        8 bytes more per voxel of one voter's mask in its box, 12 of the box that holds both sides
        of a pair, or 13 of the box of all that is above a lesion's low probability; while attention
        is measured ``(2 * M + 5)`` per voxel of one box; and ``(M + 3) * N`` of each result that
        the caller still holds when it asks for the next.

        Raises:
            CaseError: Memory is not enough.
        """
        run = self._run
        processor = PostProcessor(
            run.options.rules,
            self._computed,
            taxonomy=run.taxonomy,
            grid=run.grid,
            midline=lambda: self._midline,
        )
        claims = collect_claims(self.members, self._computed, run.device)
        listed = run.options.attention.faithful.overlapping
        overlap = listed_overlap(self.members, claims, listed)
        voted = _Voted(self.members, claims, overlap, processor)
        for unit in processor.units:
            # A generator of its own, so that nothing of one unit is held while the next is drawn.
            yield from _unit_results(unit, self.structures, voted, run)


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same from structure to structure; ``again`` is of members that are alone."""

    grid: Grid
    taxonomy: Taxonomy
    device: torch.device
    options: AnnotateOptions
    again: SelfAgreement


@dataclass(frozen=True, slots=True, eq=False)
class _Voted:
    """What the networks said of the whole volume."""

    predictions: Sequence[WorkingPrediction]
    claims: Claims
    overlap: ListedOverlap | None
    processor: PostProcessor


def _unit_results(
    unit: Sequence[str], asked: Sequence[str], voted: _Voted, run: _Run
) -> Iterator[StructureResult]:
    drawings = [_drawn(name, votes_on(voted.predictions, name), run) for name in unit]
    kept = voted.processor.process([drawing.raw for drawing in drawings])
    for drawing, masks in zip(drawings, kept, strict=True):
        if masks.structure in asked:
            yield _result(drawing, masks, voted, run)


@dataclass(frozen=True, slots=True, eq=False)
class _Drawing:
    """What the members say of one structure in its box; no maps where nobody sees it."""

    votes: Sequence[Vote]
    maps: NativeMaps | None
    raw: VoterMasks


def _drawn(structure: str, votes: Sequence[Vote], run: _Run) -> _Drawing:
    voters = (*(vote.member for vote in votes), COMMITTEE)
    box = foreground_box(votes, run.grid, run.options.margin_mm)
    if box is not None:
        maps = native_maps(votes, box, run.grid.spacing_mm, device=run.device)
        masks = {name: levels > THRESHOLD for name, levels in maps.members.items()}
        # A coarse native grid can average the last foreground away.
        if any(mask.any() for mask in masks.values()):
            alone = len(votes) == 1
            masks[COMMITTEE] = masks[votes[0].member] if alone else maps.mean > THRESHOLD
            return _Drawing(votes, maps, VoterMasks(structure, voters, box, masks))
    return _Drawing(votes, None, VoterMasks(structure, voters, None, {}))


def _result(drawing: _Drawing, kept: VoterMasks, voted: _Voted, run: _Run) -> StructureResult:
    raw, maps, box = drawing.raw, drawing.maps, kept.box
    exclusive = run.taxonomy[raw.structure].exclusive
    claims = claim_scores(raw.structure, voted.claims, exclusive)
    by_rules = run.options.rules is not None
    candidates = _candidates(drawing, kept, voted.processor, run)
    tta_dice = run.again.dice.get(raw.structure)
    if maps is None or raw.box is None or box is None:
        return StructureResult(
            structure=raw.structure,
            box=None,
            masks={},
            consensus=None,
            uncertainty=None,
            disagreement=None,
            scores=empty_rows(
                raw.structure, drawing.votes, claims, by_rules=by_rules, tta_dice=tta_dice
            ),
            candidates=candidates,
        )
    uncertainty = entropy_map(maps.mean)
    rows = NativeScores(
        votes=drawing.votes,
        maps=maps,
        uncertainty=uncertainty,
        raw=raw,
        kept=kept if by_rules else None,
        overlap=_listed_overlap(raw.structure, raw.box, voted, run),
        tta_dice=tta_dice,
        grid=run.grid,
        options=run.options.scores,
    )
    return StructureResult(
        structure=raw.structure,
        box=box,
        masks={name: mask for name, mask in kept.masks.items() if name != COMMITTEE},
        consensus=kept.masks[COMMITTEE],
        uncertainty=_in(box, uncertainty, raw.box),
        disagreement=None if maps.deviation is None else _in(box, maps.deviation, raw.box),
        scores=rows.rows(raw.structure, claims),
        candidates=candidates,
    )


def _listed_overlap(structure: str, box: Box, voted: _Voted, run: _Run) -> Mask | None:
    if voted.overlap is None:
        return None
    claim = voted.claims[COMMITTEE][structure]
    return voted.overlap.of(structure, claim, box, run.grid.spacing_mm)


def _in(box: Box, levels: Bytes, raw_box: Box) -> Bytes:
    """Return a map in the box of the masks, which the other side of a pair may have widened."""
    return levels if box == raw_box else placed(levels, raw_box, box)


def _candidates(
    drawing: _Drawing, kept: VoterMasks, processor: PostProcessor, run: _Run
) -> TriageCandidates | None:
    rules, structure = run.options.rules, kept.structure
    if rules is None or not run.taxonomy[structure].is_lesion:
        return None
    low = rules.candidates.low_probability
    box = foreground_box(drawing.votes, run.grid, 0.0, threshold=level_of(low))
    if box is None:
        return TriageCandidates((), 0)
    rule = rules.rule(structure)
    return triage_candidates(
        ConsensusCrop(
            box=box,
            levels=consensus_levels(drawing.votes, box, run.grid.spacing_mm, device=run.device),
            raw=drawing.raw.placed(COMMITTEE, box),
            kept=kept.placed(COMMITTEE, box),
            host=processor.host(structure, COMMITTEE, box),
        ),
        run.grid.spacing_mm,
        CandidateLimits(
            low_probability=low,
            least_mm3=1000.0 * rule.least_ml if rule else 0.0,
            most=rules.candidates.most,
        ),
    )
