"""What is known of many labels before anybody looks: scores by column, one row a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Column = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

SCORES = (
    "volume_ml",
    "pairwise_dice",
    "pairwise_dice_least",
    "volume_spread",
    "self_consistency",
    "entropy_mean",
    "entropy_border",
    "entropy_worst",
    "inconsistency",
    "tta_dice",
    "overlap_exclusive",
    "max_probability",
    "removed_share",
    "attention_voxels",
    "attention_heat",
    "attention_mm3",
    "covering_members",
    "seeing_members",
    "findings",
)
"""The columns of every table; what was not computed is NaN.

    volume_ml: Of the consensus.
    pairwise_dice: Mean between families; abstaining members left out.
    pairwise_dice_least: Lowest of two members that cover the structure.
    volume_spread: Population standard deviation of the covering members' volumes over their mean.
    self_consistency: Dice of the calibrated probability with its own mask.
    entropy_mean, entropy_border, entropy_worst: Binary entropy in bits: over the foreground, in the
        band round the border, in the worst region.
    inconsistency: Mean standard deviation over members in the union of their masks.
    tta_dice: Agreement of one member with itself under small changes of its input.
    overlap_exclusive: Share that an exclusive neighbour claims too.
    max_probability: Highest in the volume.
    removed_share: What the rules took away, over what was there.
    attention_voxels, attention_heat: AbdomenAtlas' attention: voxels, and heat over slices.
    attention_mm3: Attention per structure with the whole entropy, opened in millimetres.
    covering_members, seeing_members: How many vote on the structure, and have a mask of it.
    findings: How many plausibility rules speak against the label.
"""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """N labels, each a structure of a case as one committee sees it.

    Attributes:
        case_ids: Names that ``case`` counts through.
        structures: Names that ``structure`` counts through.
        case: Place in ``case_ids``, shape (N,).
        patient: A number a patient, shape (N,).
        structure: Place in ``structures``, shape (N,).
        scores: Each of ``SCORES``, shape (N,); NaN where it is not defined.
    """

    case_ids: tuple[str, ...]
    structures: tuple[str, ...]
    case: Codes
    patient: Codes
    structure: Codes
    scores: Mapping[str, Column]

    def __len__(self) -> int:
        """Return N."""
        return len(self.case)

    def __getitem__(self, name: str) -> Column:
        """Return a column of scores."""
        return self.scores[name]

    def rows(self, where: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> ScoreTable:
        """Return some rows, chosen by a mask (N,) or by places; names stay."""
        return ScoreTable(
            case_ids=self.case_ids,
            structures=self.structures,
            case=self.case[where],
            patient=self.patient[where],
            structure=self.structure[where],
            scores={name: column[where] for name, column in self.scores.items()},
        )


def score_table(
    *,
    case_ids: Sequence[str],
    structures: Sequence[str],
    case: Codes,
    patient: Codes,
    structure: Codes,
    scores: Mapping[str, Column],
) -> ScoreTable:
    """Return a table with every column of ``SCORES``; missing ones are NaN, infinities too.

    Raises:
        ValueError: Columns differ in length, or one is unknown.
    """
    unknown = sorted(set(scores) - set(SCORES))
    if unknown:
        raise ValueError(f"scores are {SCORES}, got {unknown}")
    lengths = {len(column) for column in (case, patient, structure, *scores.values())}
    if len(lengths) != 1:
        raise ValueError(f"all columns have one length, got {sorted(lengths)}")
    empty = np.full(len(case), np.nan)
    columns = {
        name: np.where(np.isfinite(column), column, np.nan)
        for name in SCORES
        for column in [np.asarray(scores.get(name, empty), np.float64)]
    }
    return ScoreTable(
        tuple(case_ids),
        tuple(structures),
        np.asarray(case, np.int32),
        np.asarray(patient, np.int32),
        np.asarray(structure, np.int32),
        columns,
    )
