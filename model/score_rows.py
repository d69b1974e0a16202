"""The score rows of one structure: every member's, then the consensus'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

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
    level_counts,
    mean_deviation,
    mean_entropy,
    member_dice,
    self_consistency,
)


@dataclass(frozen=True, slots=True)
class NativeScores:
    """What the scores of one structure are computed from.

    Attributes:
        votes: The covering members.
        maps: Their probabilities in the box of the raw masks.
        raw: Every voter's mask as the networks draw it.
        kept: What the rules leave of them; None where there are no rules.
        grid: The native grid.
        border_mm: Half width of the border band.
    """

    votes: Sequence[Vote]
    maps: NativeMaps
    raw: VoterMasks
    kept: VoterMasks | None
    grid: Grid
    border_mm: float

    def rows(self, structure: str, claims: Mapping[str, ClaimScore]) -> tuple[ScoreRow, ...]:
        """Return the rows; entropies and self-consistency are taken inside the raw box."""
        kept = (self.kept or self.raw).masks
        pairs = dice_between({name: mask for name, mask in kept.items() if name != COMMITTEE})
        families = {vote.member: vote.family for vote in self.votes}
        agreement = {name: member_dice(pairs, name) for name in families}
        agreement[COMMITTEE] = committee_dice(pairs, families)
        rows = [self._row(structure, name, claims[name], agreement[name]) for name in families]
        if self._is_alone(claims):
            rows.append(replace(rows[0], member=COMMITTEE))
        else:
            rows.append(self._row(structure, COMMITTEE, claims[COMMITTEE], agreement[COMMITTEE]))
        return tuple(rows)

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
        return mean_entropy(levels, border_band(mask, self.grid.spacing_mm, self.border_mm))

    def _inconsistency(self) -> float | None:
        masks = [mask for name, mask in self.raw.masks.items() if name != COMMITTEE]
        if self.maps.deviation is None:
            return None
        return mean_deviation(self.maps.deviation, np.logical_or.reduce(masks))


def empty_rows(
    structure: str, votes: Sequence[Vote], claims: Mapping[str, ClaimScore], *, by_rules: bool
) -> tuple[ScoreRow, ...]:
    """Return the rows of a structure that no member sees: all agree, little else is defined.

    Args:
        structure: Its name.
        votes: The covering members.
        claims: By voter.
        by_rules: Whether rules ran, and took nothing.
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
        )
        for voter in (*(vote.member for vote in votes), COMMITTEE)
    )
