"""Why a label is in the queue, in words for the reader."""

from __future__ import annotations

from typing import NamedTuple

_LOW_AGREEMENT = 0.8


class ReasonFacts(NamedTuple):
    """What is said of one label; None for what is not defined. A tuple, since there are many.

    Attributes:
        volume_ml: Of the consensus.
        covering, seeing: How many members vote on the structure, and have a mask of it.
        pairwise_dice, tta_dice, self_consistency: See ``model.triage.score_table``.
        max_probability: Highest of all members.
        low_ml, high_ml: Smallest and largest volume of the covering members.
        findings: How many plausibility rules speak against it.
        candidates: Places outside the mask that may be this lesion.
        candidate_peak: Highest probability among them.
        odd_one: The member that agrees least, where that is one alone of three or more.
        only_member: Who covers the structure where that is one member.
        seen_by: Members with a mask and their volumes, in words.
        finding: Their names; not their words, which may tell of a label that is to be read blind.
    """

    volume_ml: float | None
    covering: float
    seeing: float
    pairwise_dice: float | None = None
    tta_dice: float | None = None
    self_consistency: float | None = None
    max_probability: float | None = None
    low_ml: float | None = None
    high_ml: float | None = None
    findings: float | None = None
    candidates: float = 0
    candidate_peak: float | None = None
    odd_one: str | None = None
    only_member: str | None = None
    seen_by: str | None = None
    finding: str | None = None


def reason(facts: ReasonFacts) -> str:
    """Return why a label is looked at, in one sentence of parts."""
    parts = _seen(facts) if facts.volume_ml else _missed(facts)
    if facts.finding is not None:
        parts.append(f"anatomy speaks against it ({facts.finding})")
    if facts.candidates and facts.candidate_peak is not None:
        places = "place" if facts.candidates == 1 else "places"
        parts.append(
            f"{facts.candidates:.0f} {places} outside the mask may be one, up to probability "
            f"{facts.candidate_peak:.2f}"
        )
    return "; ".join(parts)


def _seen(facts: ReasonFacts) -> list[str]:
    if facts.covering > 1 and facts.pairwise_dice is not None:
        return _agreement(facts)
    name = facts.only_member or "one member"
    alone = f"only {name} covers this structure, so nothing can be compared"
    if facts.tta_dice is not None:
        sign = f"it agrees with itself by {facts.tta_dice:.2f} when its input changes a little"
    elif facts.self_consistency is not None:
        sign = (
            f"its probabilities agree with their own mask by {facts.self_consistency:.2f} "
            "(self-consistency), a weaker sign"
        )
    else:
        sign = "no number says how good it is"
    return [f"{alone}; {sign}; volume {in_ml(facts.volume_ml or 0.0)} mL"]


def _agreement(facts: ReasonFacts) -> list[str]:
    agreement = facts.pairwise_dice or 0.0
    only = "only " if agreement < _LOW_AGREEMENT else ""
    parts = [f"the members overlap by {only}{agreement:.2f} (pairwise Dice)"]
    low, high = in_ml(facts.low_ml or 0.0), in_ml(facts.high_ml or 0.0)
    parts.append(f"all see {low} mL" if low == high else f"volumes run from {low} to {high} mL")
    if facts.odd_one is not None:
        parts.append(f"member {facts.odd_one} differs most")
    return parts


def _missed(facts: ReasonFacts) -> list[str]:
    if facts.seeing and facts.seen_by is not None:
        see = "sees" if facts.seeing == 1 else "see"
        return [
            f"the consensus is empty, but {facts.seeing:.0f} of {facts.covering:.0f} members {see} "
            f"it: "
            f"{facts.seen_by}"
        ]
    return [f"no member has a mask, but a probability reaches {facts.max_probability or 0.0:.2f}"]


def in_ml(volume_ml: float) -> str:
    """Return a volume with as many digits as say something."""
    if volume_ml >= 10:
        return f"{volume_ml:.0f}"
    return f"{volume_ml:.1f}" if volume_ml >= 1 else f"{volume_ml:.2g}"
