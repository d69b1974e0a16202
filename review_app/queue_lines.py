"""What the queue page says, worked out without Streamlit: lines, blocks of a CT, progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from configs.taxonomy import Structure, Taxonomy
from review_app.item_words import (
    UNTOLD,
    decided_words,
    judged_words,
    state_words,
    until_words,
)
from storage.review_queue import QueuedCase, QueuePage, ReviewItem

KIND_WORDS = {"present": "drawn", "possibly_missed": "possibly missed"}

_SURELY_THERE = 0.9


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the queue is.

    Attributes:
        share: Judged items over all items, 0 to 1.
        words: The same in words.
    """

    share: float
    words: str


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One row of the queue page.

    Attributes:
        dsc: Predicted DSC and its interval, in words.
        minutes: Predicted minutes.

    It has no rank: a rank that is missing between two others would tell which one a blind item has.
    """

    case_id: str
    structure: str
    display: str
    rgb: tuple[int, int, int]
    kind: str
    risk: str
    dsc: str
    minutes: str
    reason: str
    status: str
    can_open: bool


@dataclass(frozen=True, slots=True)
class CaseBlock:
    """One CT of the queue page with its rows.

    Attributes:
        summary: How many items, the worst score, where the CT is from.
        lines: Worst first.
    """

    case_id: str
    summary: str
    lines: tuple[QueueLine, ...]


def progress(page: QueuePage) -> Progress:
    """Return how many items of the queue are judged, held and open."""
    counts = page.counts
    total = sum(counts.values())
    if total == 0:
        return Progress(0.0, "The queue is empty.")
    parts = [f"{counts['done']} of {total} judged", f"{counts['open'] + counts['mine']} open"]
    if counts["held"]:
        parts.append(f"{counts['held']} held by others")
    if counts["deferred"]:
        parts.append(f"{counts['deferred']} deferred by you")
    return Progress(counts["done"] / total, ", ".join(parts))


def filtered_structures(
    taxonomy: Taxonomy, structures: Sequence[str], groups: Sequence[str]
) -> tuple[str, ...] | None:
    """Return the structures that both filters leave; None where neither was set."""
    if not structures and not groups:
        return None
    return tuple(
        one.name
        for one in taxonomy.structures
        if (not structures or one.name in structures) and (not groups or one.group in groups)
    )


def case_blocks(page: QueuePage, taxonomy: Taxonomy) -> list[CaseBlock]:
    """Return the CTs of the queue page, each with its rows."""
    return [
        CaseBlock(
            case.case_id,
            _summary(case, rank_words(page.policy)[0].lower()),
            tuple(_queue_line(item, taxonomy[item.structure]) for item in case.items),
        )
        for case in page.cases
    ]


def rank_words(policy: str) -> tuple[str, str]:
    """Return what the number is called that the queue was ranked by, and what it means."""
    if policy == "expected_gain":
        return "Gain", "DSC that a review is expected to add; most per minute of work comes first"
    by = policy.replace("_", " ") or "what the models' scores say"
    return "Score", f"Ranked by {by}, from 0 to 1"


def _queue_line(item: ReviewItem, structure: Structure) -> QueueLine:
    return QueueLine(
        case_id=item.case_id,
        structure=item.structure,
        display=structure.display,
        rgb=structure.rgb,
        kind=KIND_WORDS.get(item.kind, item.kind),
        risk="-" if item.risk is None else f"{item.risk:.2f}",
        dsc=_dsc_words(item),
        minutes="-" if item.minutes is None else f"{item.minutes:.1f}",
        reason=UNTOLD if item.is_blind else item.reason,
        status=state_words(
            item.status,
            item.holder,
            judged_words(
                item.verdict, item.verdict_by, decided_words("returned", item.returned_by)
            ),
        )
        + until_words(item.held_until if item.status in ("mine", "held") else None),
        can_open=item.status != "held",
    )


def _dsc_words(item: ReviewItem) -> str:
    """Return "0.71 (0.55 to 0.83)", or "about 0.71" where nothing vouches for the number.

    Both hold if the structure is there; where that is not sure, it is said.
    """
    there = item.presence is not None and item.presence < _SURELY_THERE
    doubt = f"there: {item.presence:.0%}" if there else ""
    if item.predicted_dsc is None:
        return doubt or "-"
    words = f"about {item.predicted_dsc:.2f}"
    if item.dsc_low is not None and item.dsc_high is not None:
        words = f"{item.predicted_dsc:.2f} ({item.dsc_low:.2f} to {item.dsc_high:.2f})"
    return f"{words}, {doubt}" if doubt else words


def _summary(case: QueuedCase, ranked_by: str) -> str:
    count = len(case.items)
    parts = [f"{count} structure{'s' if count > 1 else ''}"]
    risks = [item.risk for item in case.items if item.risk is not None]
    if risks:
        parts.append(f"highest {ranked_by} {max(risks):.2f}")
    if case.datasets:
        parts.append(f"from {', '.join(case.datasets)}")
    return ", ".join(parts)
