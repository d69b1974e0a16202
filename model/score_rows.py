"""The score rows of one structure: every member's, then the consensus'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.attention import AttentionSettings
from model.attention import AttentionSize, corrected_attention_mm3, faithful_attention
from model.exclusive_overlap import ClaimScore
from model.grid import Grid
from model.native_maps import NativeMaps, Vote
from model.post_processor import VoterMasks
from model.scores import (
    COMMITTEE,
    Bytes,
    Mask,
    ScoreRow,
    border_band,
    committee_dice,
    dice_between,
    foreground_entropy,
    least_dice,
    level_counts,
    mean_deviation,
    mean_entropy,
    member_dice,
    self_consistency,
    worst_region_entropy,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """What scores are made with.

    Attributes:
        border_mm: Half width of the band in which ``entropy_border`` is averaged.
        region_mm: Side of the cube over which ``entropy_worst`` is.
        attention: Its thresholds.
    """

    border_mm: float
    region_mm: float
    attention: AttentionSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NativeScores:
    """What the scores of one structure are computed from.

    Attributes:
        votes: The covering members.
        maps: Their probabilities in the box of the raw masks.
        uncertainty: 255 times the binary entropy in bits of their mean, in that box.
        raw: Every voter's mask as the networks draw it.
        kept: What the rules leave of them; None where there are no rules.
        overlap: Where a listed organ claims the consensus' raw mask, in the raw box; None where
            none does.
        tta_dice: Agreement of a member that is alone with itself; None where it was not asked.
        grid: The native grid.
        options: How.
    """

    votes: Sequence[Vote]
    maps: NativeMaps
    uncertainty: Bytes
    raw: VoterMasks
    kept: VoterMasks | None
    overlap: Mask | None
    tta_dice: float | None
    grid: Grid
    options: ScoreOptions

    def rows(self, structure: str, claims: Mapping[str, ClaimScore]) -> tuple[ScoreRow, ...]:
        """Return the rows; entropies and self-consistency are taken inside the raw box."""
        kept = (self.kept or self.raw).masks
        pairs = dice_between({name: mask for name, mask in kept.items() if name != COMMITTEE})
        families = {vote.member: vote.family for vote in self.votes}
        rows = [
            replace(
                self._row(structure, name, claims[name], member_dice(pairs, name)),
                pairwise_dice_least=least_dice(pairs, name),
            )
            for name in families
        ]
        if self._is_alone(claims):
            committee = replace(rows[0], member=COMMITTEE)
        else:
            agreement = committee_dice(pairs, families)
            committee = self._row(structure, COMMITTEE, claims[COMMITTEE], agreement)
        rows[0] = replace(rows[0], tta_dice=self.tta_dice)
        return (*rows, self._with_committees(committee, least_dice(pairs)))

    def _with_committees(self, row: ScoreRow, least: float | None) -> ScoreRow:
        """Return the consensus' row with what only it has."""
        spacing_mm, options = self.grid.spacing_mm, self.options
        attention = self._attention()
        return replace(
            row,
            pairwise_dice_least=least,
            entropy_worst=worst_region_entropy(self.uncertainty, spacing_mm, options.region_mm),
            tta_dice=self.tta_dice,
            attention_voxels=attention.voxels,
            attention_heat=attention.heat,
            attention_mm3=corrected_attention_mm3(
                self.maps.mean, spacing_mm, options.attention.corrected
            ),
        )

    def _attention(self) -> AttentionSize:
        members = [vote.member for vote in self.votes]
        kept, box = self.kept or self.raw, self.raw.box
        return faithful_attention(
            [self.maps.members[name] for name in members],
            [] if box is None or len(members) < 2 else [kept.placed(n, box) for n in members],
            self.overlap,
            slices=self.grid.shape[2],
            limits=self.options.attention.faithful,
        )

    def _row(
        self, structure: str, voter: str, claim: ClaimScore, agreement: float | None
    ) -> ScoreRow:
        levels = self.maps.mean if voter == COMMITTEE else self.maps.members[voter]
        kept = (self.kept or self.raw).masks[voter]
        counts = level_counts(levels)
        return ScoreRow(
            structure=structure,
            member=voter,
            volume_ml=int(np.count_nonzero(kept)) * self.grid.voxel_ml,
            entropy_mean=foreground_entropy(counts),
            entropy_border=self._border_entropy(levels, self.raw.masks[voter]),
            self_consistency=self_consistency(counts),
            pairwise_dice=agreement,
            inconsistency=self._inconsistency() if voter == COMMITTEE else None,
            overlap_exclusive=claim.overlap_exclusive,
            max_probability=claim.max_probability,
            removed_ml=self._removed_ml(voter),
        )

    def _is_alone(self, claims: Mapping[str, ClaimScore]) -> bool:
        """Whether the consensus is one member's in everything, so that its row need not be made."""
        own, *others = (vote.member for vote in self.votes)
        return (
            not others
            and claims[own] == claims[COMMITTEE]
            and all(
                one.masks[own] is one.masks[COMMITTEE] for one in (self.raw, self.kept or self.raw)
            )
        )

    def _removed_ml(self, voter: str) -> float | None:
        if self.kept is None or self.raw.box is None:
            return None
        raw = self.raw.masks[voter]
        removed = raw & ~self.kept.placed(voter, self.raw.box)
        return int(np.count_nonzero(removed)) * self.grid.voxel_ml

    def _border_entropy(self, levels: Bytes, mask: Mask) -> float | None:
        if not mask.any():
            return None
        return mean_entropy(levels, border_band(mask, self.grid.spacing_mm, self.options.border_mm))

    def _inconsistency(self) -> float | None:
        masks = [mask for name, mask in self.raw.masks.items() if name != COMMITTEE]
        if self.maps.deviation is None:
            return None
        return mean_deviation(self.maps.deviation, np.logical_or.reduce(masks))


def empty_rows(
    structure: str,
    votes: Sequence[Vote],
    claims: Mapping[str, ClaimScore],
    *,
    by_rules: bool,
    tta_dice: float | None = None,
) -> tuple[ScoreRow, ...]:
    """Return the rows of a structure that no member sees: all agree, little else is defined.

    Args:
        structure: Its name.
        votes: The covering members.
        claims: By voter.
        by_rules: Whether rules ran, and took nothing.
        tta_dice: Agreement of the first member with itself under small changes of its input.
    """
    agreement = 1.0 if len(votes) > 1 else None
    return tuple(
        ScoreRow(
            structure=structure,
            member=voter,
            volume_ml=0.0,
            pairwise_dice=agreement,
            max_probability=claims[voter].max_probability,
            removed_ml=0.0 if by_rules else None,
            pairwise_dice_least=agreement,
            tta_dice=tta_dice if voter in (votes[0].member, COMMITTEE) else None,
        )
        for voter in (*(vote.member for vote in votes), COMMITTEE)
    )
