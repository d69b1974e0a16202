"""What the case page says, worked out without Streamlit: lines, states, regions, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from configs.taxonomy import Structure, Taxonomy
from review_app.item_words import (
    UNTOLD,
    VERDICT_WORDS,
    decided_words,
    judged_words,
    state_words,
)
from storage.findings import StoredFinding
from storage.review_case import JudgedVerdict, ReviewCase
from storage.review_queue import ReviewItem, Status
from storage.verdicts import TAGS

Plane = Literal["axial", "coronal", "sagittal"]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

PLANE_AXES: Mapping[Plane, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The RAS axis that a plane's slices are counted along."""

WINDOWS_HU: Mapping[str, tuple[float, float]] = {
    "Abdomen": (-160.0, 240.0),
    "Liver": (-30.0, 150.0),
    "Lung": (-1350.0, 150.0),
    "Bone": (-450.0, 1050.0),
}
"""Lower and upper end of each window preset."""


TAG_WORDS: Mapping[str, str] = {tag: tag.replace("_", " ") for tag in TAGS}


@dataclass(frozen=True, slots=True)
class StructureLine:
    """One structure of a case on the case page.

    Attributes:
        status: As in the queue; None when the structure is not queued for this reader.
        reason: Why it is in the queue, in words.
        state: Status and last verdict in words.
        base_version: What a verdict given now is about.
        can_judge: This reader holds it.
        can_claim: Nobody else holds it.
        is_blind: The reader is not told why it was chosen, nor what others said.
    """

    structure: str
    display: str
    rgb: tuple[int, int, int]
    status: Status | None
    reason: str
    state: str
    base_version: str
    can_judge: bool
    can_claim: bool
    is_blind: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether this reader still has to judge it."""
        return self.status in ("open", "mine")


@dataclass(frozen=True, slots=True)
class ActivityClock:
    """Seconds that a reader was active on one item, as far as the server can tell.

    The server sees actions only: a changed slice, window, structure, an upload, a verdict, and the
    editor's autosaves while somebody draws. The time between two of them counts up to a cut-off,
    then the reader is taken for idle. Looking at one slice for long, or working in another program,
    therefore counts as the cut-off at most; and time spent elsewhere between two actions counts as
    active up to it.
    """

    active_s: float
    last: datetime

    def touched(self, now: datetime, *, idle_s: float) -> ActivityClock:
        """Return the clock after an action."""
        passed_s = (now - self.last).total_seconds()
        return ActivityClock(self.active_s + min(max(passed_s, 0.0), idle_s), now)

    def resumed(self, now: datetime) -> ActivityClock:
        """Return the clock when the reader comes back to the item; the time between is none."""
        return replace(self, last=now)


def structure_lines(case: ReviewCase, taxonomy: Taxonomy) -> list[StructureLine]:
    """Return the case's structures: queued ones worst first, then what else has a mask or verdict.

    A structure that this reader may not see is not among them.
    """
    queued = {item.structure: item for item in case.items}
    others = [
        name
        for name in taxonomy.names
        if name in case.bases
        and name not in queued
        and (
            case.bases[name][1].object is not None
            or name in case.verdicts
            or any(one.severity == "fault" for one in case.findings.get(name, ()))
        )
    ]
    return [
        _structure_line(case, taxonomy[name], queued.get(name))
        for name in (*queued, *others)
        if name in case.bases
    ]


def findings_on(case: ReviewCase, structure: str) -> Sequence[StoredFinding]:
    """Return what was found in the committee's label, while it is the one that stands.

    What was found in another one and names this one stands here too, unless it is said already.
    """
    if any(one.structure == structure for one in case.versions):
        return ()
    own = list(case.findings.get(structure, ()))
    said = {(one.rule, one.other) for one in own}
    others = [one for found in case.findings.values() for one in found if one.other == structure]
    return [*own, *(one for one in others if (one.rule, one.structure) not in said)]


def to_claim(lines: Iterable[StructureLine]) -> list[str]:
    """Return what opening a case claims: its open items that nobody holds, own ones included."""
    return [line.structure for line in lines if line.status in ("open", "mine")]


def with_claims(case: ReviewCase, held_until: Mapping[str, datetime], *, reader: str) -> ReviewCase:
    """Return the case as it stands after this reader's claims, without reading it again."""
    items = tuple(
        replace(item, status="mine", holder=reader, held_until=held_until[item.structure])
        if item.structure in held_until and _is_free(item)
        else item
        for item in case.items
    )
    held_until = {**case.held_until, **held_until}
    known = [] if case.good_until is None else [case.good_until]
    good_until = min([*known, *held_until.values()], default=None)
    return replace(case, items=items, held_until=held_until, good_until=good_until)


def needs_renewal(case: ReviewCase, *, now: datetime, lease: timedelta) -> list[str]:
    """Return the claims that more than half of the lease has gone by since."""
    return [name for name, until in case.held_until.items() if until - now < lease / 2]


def next_line(lines: Sequence[StructureLine], after: str | None) -> StructureLine | None:
    """Return the next structure that waits, after the given one and then from the start."""
    names = [line.structure for line in lines]
    start = names.index(after) + 1 if after in names else 0
    rotated = [*lines[start:], *lines[:start]]
    return next((line for line in rotated if line.is_waiting and line.structure != after), None)


def region_box(
    boxes_ras: Sequence[Box],
    shape: tuple[int, int, int],
    *,
    spacing_mm: tuple[float, float, float],
    margin_mm: float,
) -> Box:
    """Return the box of everything known about a structure plus a margin, inside the CT.

    Args:
        boxes_ras: Boxes of its masks and maps; none gives the whole CT.
        shape: Of the CT along R, A, S.
        spacing_mm: Of the CT along R, A, S.
        margin_mm: Added on every side.
    """
    if not boxes_ras:
        return ((0, shape[0]), (0, shape[1]), (0, shape[2]))
    extents: list[tuple[int, int]] = []
    for axis in range(3):
        step = round(margin_mm / spacing_mm[axis])
        low = min(box[axis][0] for box in boxes_ras) - step
        high = max(box[axis][1] for box in boxes_ras) + step
        extents.append((max(0, low), min(shape[axis], high)))
    return (extents[0], extents[1], extents[2])


def exclusive_neighbours(case: ReviewCase, structure: Structure) -> list[str]:
    """Return the neighbours that may not claim a voxel of the structure and have a mask here."""
    return [
        name
        for name in structure.exclusive
        if name in case.bases and case.bases[name][1].object is not None
    ]


def held_words(line: StructureLine) -> str:
    """Return why a structure cannot be judged, and what to do."""
    if not line.can_claim:
        return f"{line.display} is {line.state}: it can be looked at, not judged."
    again = " again" if line.status == "done" else ""
    return f"{line.display} is {line.state}. To judge it{again}, open it."


def approval_words(given: JudgedVerdict, *, may_approve: bool) -> str:
    """Return where a verdict stands under four eyes, and why this reader cannot approve it."""
    said = f"{VERDICT_WORDS.get(given.verdict, given.verdict).capitalize()} by {given.reader}"
    if given.state != "submitted":
        return f"{said}, {given.state} by {given.decided_by}."
    if given.is_own:
        return f"{said}, waits for another reader: nobody approves own work."
    if not may_approve:
        return f"{said}, waits for a reviewer."
    return f"{said}, waits for a second reader."


def _structure_line(
    case: ReviewCase, structure: Structure, item: ReviewItem | None
) -> StructureLine:
    name = structure.name
    given = case.verdicts.get(name)
    state = state_words(
        item.status if item else None, item.holder if item else None, _last(item, given)
    )
    return StructureLine(
        structure=name,
        display=structure.display,
        rgb=structure.rgb,
        status=item.status if item else None,
        reason=_reason(item),
        state=state,
        base_version=case.bases[name][0],
        can_judge=name in case.held_until,
        can_claim=item is None or item.status != "held",
        is_blind=item is not None and item.is_blind,
    )


def _last(item: ReviewItem | None, given: JudgedVerdict | None) -> str:
    """Return the last verdict in words; the item knows of this reader's own checks, too."""
    told = None if item is None else (item.verdict, item.verdict_by)
    if given is not None and told in (None, (given.verdict, given.reader)):
        return judged_words(
            given.verdict, given.reader, decided_words(given.state, given.decided_by)
        )
    if item is None:
        return ""
    return judged_words(item.verdict, item.verdict_by, decided_words("returned", item.returned_by))


def _reason(item: ReviewItem | None) -> str:
    if item is None:
        return ""
    return UNTOLD if item.is_blind else item.reason


def _is_free(item: ReviewItem) -> bool:
    return item.status in ("open", "mine", "deferred")
