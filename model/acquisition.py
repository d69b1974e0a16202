"""What a human should look at next: the risk of every structure of every case, in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from model.scores import COMMITTEE, ScoreRow

Kind = Literal["present", "possibly_missed"]
Basis = Literal["pairwise_dice", "self_consistency", "max_probability"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberScore:
    """What one member says about one structure of one case."""

    name: str
    volume_ml: float
    pairwise_dice: float | None = None
    max_probability: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureScore:
    """What the committee says about one structure of one case: consensus and members.

    The fields are those of ``ScoreRow``; None or NaN stands for a number that is not defined.
    """

    case_id: str
    structure: str
    volume_ml: float
    pairwise_dice: float | None
    self_consistency: float | None
    max_probability: float | None
    members: tuple[MemberScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueItem:
    """One structure of one case that waits for a human.

    Attributes:
        case_id: The case.
        structure: Name in the taxonomy.
        kind: ``present``: the consensus has a mask. ``possibly_missed``: it has none, but a member
            has, or a probability is high. Each kind has its own ranks.
        rank: Place in the queue of its kind, from 1.
        rank_in_structure: Place among the same structure's items of its kind, from 1.
        risk: In [0, 1]; comparable within a structure, kind and basis.
        basis: The number that the risk comes from.
        reason: The same in words for a human.
    """

    case_id: str
    structure: str
    kind: Kind
    rank: int
    rank_in_structure: int
    risk: float
    basis: Basis
    reason: str


def structure_score(case_id: str, rows: Sequence[ScoreRow]) -> StructureScore:
    """Gather one structure's score rows, of which one is the committee's."""
    (consensus,) = (row for row in rows if row.member == COMMITTEE)
    return StructureScore(
        case_id=case_id,
        structure=consensus.structure,
        volume_ml=consensus.volume_ml,
        pairwise_dice=consensus.pairwise_dice,
        self_consistency=consensus.self_consistency,
        max_probability=consensus.max_probability,
        members=tuple(
            MemberScore(
                name=row.member,
                volume_ml=row.volume_ml,
                pairwise_dice=row.pairwise_dice,
                max_probability=row.max_probability,
            )
            for row in rows
            if row.member != COMMITTEE
        ),
    )


def rank_queue(
    scores: Sequence[StructureScore], *, missed_probability: float = 0.25
) -> list[QueueItem]:
    """Return the queue: present structures by rank, then possibly missed ones by rank.

    The risk of a present structure is 1 - pairwise Dice of the members, or, when only one member
    covers it, 1 - self-consistency. The risk of a possibly missed one is 1 - pairwise Dice when a
    member has a mask, else the highest probability. Structures take turns: the riskiest case of
    each structure comes first (the riskiest structure leading), then the second of each, so that
    no structure drowns the others. Equal risks are ordered by structure and case. What nobody
    sees, or what has no defined number, gives no item.

    Args:
        scores: One per case and structure.
        missed_probability: From which probability on an unseen structure is possibly missed.

    Source:
        1 - pairwise Dice as the ranking score: Zenk et al. 2025, the best of those compared there.
    """
    items = [item for score in scores if (item := _item(score, missed_probability)) is not None]
    present = _take_turns([item for item in items if item.kind == "present"])
    missed = _take_turns([item for item in items if item.kind == "possibly_missed"])
    return present + missed


def _item(score: StructureScore, missed_probability: float) -> QueueItem | None:
    if score.volume_ml > 0:
        return _present(score)
    return _possibly_missed(score, missed_probability)


def _present(score: StructureScore) -> QueueItem | None:
    agreement = _number(score.pairwise_dice)
    if agreement is not None and len(score.members) > 1:
        return _new(score, "present", 1 - agreement, "pairwise_dice", _agreement_words(score))
    own = _number(score.self_consistency)
    if own is None:
        return None
    words = (
        f"{_coverage_words(score)}, so nothing can be compared; its probabilities agree with their "
        f"own mask by {own:.2f} (self-consistency), a weaker sign; volume {_ml(score.volume_ml)} mL"
    )
    return _new(score, "present", 1 - own, "self_consistency", words)


def _possibly_missed(score: StructureScore, missed_probability: float) -> QueueItem | None:
    seeing = [member for member in score.members if member.volume_ml > 0]
    agreement = _number(score.pairwise_dice)
    if seeing and agreement is not None:
        names = " and ".join(f"{member.name} ({_ml(member.volume_ml)} mL)" for member in seeing)
        words = (
            f"the consensus is empty, but {len(seeing)} of {len(score.members)} members "
            f"{'sees' if len(seeing) == 1 else 'see'} it: {names}"
        )
        return _new(score, "possibly_missed", 1 - agreement, "pairwise_dice", words)
    known = [_number(one.max_probability) for one in (score, *score.members)]
    highest = max((value for value in known if value is not None), default=0.0)
    if highest < missed_probability:
        return None
    words = f"no member has a mask, but a probability reaches {highest:.2f}"
    return _new(score, "possibly_missed", highest, "max_probability", words)


def _new(score: StructureScore, kind: Kind, risk: float, basis: Basis, reason: str) -> QueueItem:
    return QueueItem(
        case_id=score.case_id,
        structure=score.structure,
        kind=kind,
        rank=0,
        rank_in_structure=0,
        risk=min(1.0, max(0.0, risk)),
        basis=basis,
        reason=reason,
    )


def _take_turns(items: Sequence[QueueItem]) -> list[QueueItem]:
    by_structure = sorted(items, key=lambda item: (item.structure, -item.risk, item.case_id))
    placed = [
        replace(item, rank_in_structure=place)
        for _, group in groupby(by_structure, key=lambda item: item.structure)
        for place, item in enumerate(group, start=1)
    ]
    placed.sort(key=lambda item: (item.rank_in_structure, -item.risk, item.structure, item.case_id))
    return [replace(item, rank=rank) for rank, item in enumerate(placed, start=1)]


def _agreement_words(score: StructureScore) -> str:
    agreement = _number(score.pairwise_dice) or 0.0
    only = "only " if agreement < 0.8 else ""
    parts = [f"the members overlap by {only}{agreement:.2f} (pairwise Dice)"]
    volumes = sorted(member.volume_ml for member in score.members)
    if _ml(volumes[0]) == _ml(volumes[-1]):
        parts.append(f"all see {_ml(volumes[0])} mL")
    else:
        parts.append(f"volumes run from {_ml(volumes[0])} to {_ml(volumes[-1])} mL")
    odd = _odd_one_out(score.members)
    if odd is not None:
        parts.append(f"member {odd} differs most")
    return "; ".join(parts)


def _odd_one_out(members: Sequence[MemberScore]) -> str | None:
    """Return the member that agrees least; None when two or more share the last place."""
    known = [(value, m.name) for m in members if (value := _number(m.pairwise_dice)) is not None]
    known.sort()
    if len(known) < 3 or known[0][0] == known[1][0]:
        return None
    return known[0][1]


def _coverage_words(score: StructureScore) -> str:
    if len(score.members) == 1:
        return f"only {score.members[0].name} covers this structure"
    return "the members have no pairwise Dice"


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _ml(volume_ml: float) -> str:
    if volume_ml >= 10:
        return f"{volume_ml:.0f}"
    return f"{volume_ml:.1f}" if volume_ml >= 1 else f"{volume_ml:.2g}"
