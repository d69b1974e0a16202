"""What is known of each unit of an audit's frame, in the random order of one way of reading."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from model.acceptance import UnitState
from storage.audit_answers import Answer, DrawnReading, FramedLabel, UnitKey
from storage.blind_items import Key
from storage.labels import LabelMask

Way = Literal["aided", "unaided"]
DscOf = Callable[[FramedLabel, LabelMask], float | None]

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsRead:
    """What readers said.

    Attributes:
        reviews: With the AI's mask in sight.
        readings: Drawn ones without it.
        touched: What somebody had before the eyes with the AI's mask.
    """

    reviews: Mapping[Key, Sequence[Answer]]
    readings: Mapping[Key, Sequence[DrawnReading]]
    touched: Collection[Key]


def unit_states(
    labels: Sequence[FramedLabel], read: LabelsRead, way: Way, *, dsc_of: DscOf, limit: float
) -> dict[UnitKey, UnitState]:
    """Return the state of every unit, in the random order.

    A unit is bad if one of its labels is, and waits while one of them waits.

    Args:
        labels: Of the frame.
        read: What readers said of them.
        way: Reviews with the AI's mask, whether drawn or not, or drawn readings without it.
        dsc_of: Label and mask -> their DSC; None where both are empty, which is no error.
        limit: Labels below it are bad.
    """
    state_of = _aided if way == "aided" else _unaided
    tickets: dict[UnitKey, str] = {}
    states: dict[UnitKey, list[UnitState]] = {}
    for label in labels:
        tickets[label.unit] = label.aided_ticket if way == "aided" else label.unaided_ticket
        state = state_of(label, read, _Judge(dsc_of, limit))
        states.setdefault(label.unit, []).append(state)
    return {unit: _whole(states[unit]) for unit in sorted(tickets, key=tickets.__getitem__)}


@dataclass(frozen=True, slots=True)
class _Judge:
    dsc_of: DscOf
    limit: float

    def is_bad(self, label: FramedLabel, answer: Answer) -> bool:
        """Whether an answer says that a label is bad: rejected, or too far from the reader's."""
        if answer.mask is None:
            return True
        dsc = self.dsc_of(label, answer.mask)
        return dsc is not None and dsc < self.limit - _ROUNDING


def _whole(states: Sequence[UnitState]) -> UnitState:
    """Return the state of a unit from its labels'; the worst word counts, then what waits."""
    for state in ("bad", "open", "unsure", "good"):
        if state in states:
            return state
    return "gone"


def _aided(label: FramedLabel, read: LabelsRead, judge: _Judge) -> UnitState:
    """Any review counts where the order comes to its label: which one it was, chance did not say.

    A label that was judged more than once is bad if any of its reviews says so.
    """
    reviews = read.reviews.get(label.key, ())
    given = [answer for answer in reviews if answer.verdict != "defer"]
    if not given:
        return "unsure" if reviews else "open"
    return "bad" if any(judge.is_bad(label, answer) for answer in given) else "good"


def _unaided(label: FramedLabel, read: LabelsRead, judge: _Judge) -> UnitState:
    """Only drawn readings count; what was reviewed before its turn has left the frame."""
    drawn = read.readings.get(label.key, ())
    given = [
        one.answer
        for one in drawn
        if one.answer and one.answer.verdict != "defer" and not one.saw_ai
    ]
    if given:
        return "bad" if any(judge.is_bad(label, answer) for answer in given) else "good"
    if drawn:
        waits = any(one.answer is None and not one.saw_ai for one in drawn)
        return "open" if waits else "unsure"
    if any(answer.verdict != "defer" for answer in read.reviews.get(label.key, ())):
        return "gone"
    return "unsure" if label.key in read.touched else "open"
