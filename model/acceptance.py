"""How many bad labels a finite frame can hold at most, after a random part of it was looked at.

A frame is a set of units, each bad or not; a random order of it is drawn before anybody looks, and
units are looked at in that order. Nothing is assumed of the labels: patients' labels may depend on
each other as they like, since chance enters through the order alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, gammaln

UnitState = Literal["good", "bad", "unsure", "open", "gone"]
"""What is known of a unit: ``unsure`` was looked at without an answer and counts as bad, ``open``
waits, ``gone`` left the frame before the order reached it."""

Counts = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]

# What bounds are to come out tight for: few bad labels. Valid whatever stands here, as long as it
# stands before anybody looks.
_PRIOR = (1.0, 20.0)
# Of a probability; a tie is rejected.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Sample:
    """The part of a random order that was looked at without a gap.

    Attributes:
        is_bad: Of each unit in the order; units without an answer count as bad.
        unsure: How many of the bad ones those are.
        beyond: Units with an answer behind the first open one; they do not count.
    """

    is_bad: tuple[bool, ...]
    unsure: int
    beyond: int

    @property
    def drawn(self) -> int:
        """How many units were looked at."""
        return len(self.is_bad)

    @property
    def bad(self) -> int:
        """How many of them are bad."""
        return sum(self.is_bad)


def answered_prefix(states: Sequence[UnitState]) -> Sample:
    """Return the units of a random order up to the first that still waits.

    What was answered out of order is left out: which unit is answered early may depend on how it
    looks, and how far the order goes without a gap does so for the first open unit alone.

    Args:
        states: Of every unit of the frame, in the random order.
    """
    stop = next((at for at, state in enumerate(states) if state == "open"), len(states))
    seen = [state for state in states[:stop] if state != "gone"]
    return Sample(
        is_bad=tuple(state != "good" for state in seen),
        unsure=seen.count("unsure"),
        beyond=sum(state not in ("open", "gone") for state in states[stop:]),
    )


def most_bad(frame: int, drawn: int, bad: int, confidence: float) -> int:
    """Return the largest number of bad units that a frame may hold, looked at once.

    It is the largest number for which seeing so few bad ones, or fewer, has a probability above
    1 - confidence: the exact hypergeometric bound. ``drawn`` must not depend on what was seen.

    Args:
        frame: Units in all.
        drawn: Units looked at, at random without replacement.
        bad: Bad ones among them.
        confidence: In (0, 1).

    Raises:
        ValueError: The numbers do not fit into each other.

    Source:
        Inverted hypergeometric test, e.g. Buonaccorsi 1987, American Statistician 41:215.
    """
    _check(frame, drawn, bad, confidence)
    low, high = bad, frame - (drawn - bad)
    while low < high:
        middle = (low + high + 1) // 2
        if _chance_of_so_few(frame, middle, drawn, bad) > 1 - confidence + _ROUNDING:
            low = middle
        else:
            high = middle - 1
    return low


def share_bound(frame: int, drawn: int, bad: int, confidence: float) -> float:
    """Return ``most_bad`` as a share of the frame, in [0, 1]."""
    return most_bad(frame, drawn, bad, confidence) / frame


def needed(frame: int, share: float, confidence: float) -> int:
    """Return how many draws without a bad one support "at most this share is bad".

    Args:
        frame: Units in all.
        share: In [0, 1).
        confidence: In (0, 1).

    Raises:
        ValueError: A number is out of its range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"a share to support lies in [0, 1), got {share}")
    _check(frame, 0, 0, confidence)
    one_more = floor(share * frame + 1e-9) + 1
    low, high = 0, frame
    while low < high:
        middle = (low + high) // 2
        if _chance_of_so_few(frame, one_more, middle, 0) <= 1 - confidence + _ROUNDING:
            high = middle
        else:
            low = middle + 1
    return low


@dataclass(frozen=True, slots=True, kw_only=True)
class Remainder:
    """The units of a frame that nobody reviewed, in which bad ones are bounded.

    What was drawn from the frame was mostly reviewed by that, and so was what the queue put first.
    The frame's bad units are those here and those that are known elsewhere, so a bound on the frame
    less what is known elsewhere is one on the remainder, whoever chose what was reviewed and why.

    Attributes:
        units: How many nobody reviewed, the uncovered ones included.
        uncovered: Of these, not in the frame: they count as bad.
        bad_elsewhere: Bad units of the frame, known by any reading, that are not among them.
        bad: Units among them that are known to be bad, and are covered.
        good: The same, known to be good.
    """

    units: int
    uncovered: int
    bad_elsewhere: int
    bad: int
    good: int

    def at_most(self, most: int) -> int:
        """Return how many of the remainder may be bad where the frame holds ``most`` bad units."""
        covered = self.units - self.uncovered
        found = min(most - self.bad_elsewhere, covered - self.good)
        return max(found, self.bad) + self.uncovered

    def share_at_most(self, most: int) -> float:
        """Return ``at_most`` as a share of the remainder, in [0, 1]."""
        return self.at_most(most) / self.units


@dataclass(frozen=True, slots=True)
class TimeUniformBound:
    """A bound that holds at every moment at once, however often and whenever somebody looks.

    It is the upper end of the prior-posterior-ratio confidence sequence of the number of bad units
    under a beta-binomial prior, and the running minimum of it.

    Attributes:
        frame: Units in all.
        confidence: In (0, 1), that it never fails, at no moment.

    Source:
        Waudby-Smith and Ramdas 2020, Confidence sequences for sampling without replacement
        (NeurIPS 33), theorem 2.
    """

    frame: int
    confidence: float

    def most_bad(self, is_bad: Sequence[bool]) -> int:
        """Return the largest number of bad units in the frame, after units in their random order.

        Raises:
            ValueError: More units were looked at than there are.
        """
        drawn = np.arange(1, len(is_bad) + 1)
        bad = np.cumsum(np.asarray(is_bad, np.int64))
        _check(self.frame, len(is_bad), int(bad[-1]) if len(is_bad) else 0, self.confidence)
        if not len(is_bad):
            return self.frame
        return int(self._highest(drawn, bad).min())

    def share(self, is_bad: Sequence[bool]) -> float:
        """Return ``most_bad`` as a share of the frame, in [0, 1]."""
        return self.most_bad(is_bad) / self.frame

    def _highest(self, drawn: Counts, bad: Counts) -> Counts:
        """Return the upper end after each draw; the likelihood falls above its highest place."""
        least = np.log1p(-self.confidence) + _log_evidence(drawn, bad)
        high = self.frame - (drawn - bad)
        low = np.clip(bad * (self.frame + 1) // drawn, bad, high)
        while (low < high).any():
            middle = (low + high + 1) // 2
            inside = _log_likelihood(self.frame, middle, drawn, bad) > least
            low, high = np.where(inside, middle, low), np.where(inside, high, middle - 1)
        return low


def _chance_of_so_few(frame: int, all_bad: int, drawn: int, bad: int) -> float:
    """Return the probability of ``bad`` or fewer bad units among those drawn."""
    if all_bad <= bad:
        return 1.0
    counts = np.arange(max(0, drawn - (frame - all_bad)), bad + 1)
    log_chances = _log_likelihood(frame, np.int64(all_bad), np.full_like(counts, drawn), counts)
    return float(np.exp(log_chances).sum())


def _log_evidence(drawn: Counts, bad: Counts) -> _Floats:
    """Return the log probability of the count under the prior; beta-binomial, as the prior is."""
    a, b = _PRIOR
    return _log_choose(drawn, bad) + betaln(bad + a, drawn - bad + b) - betaln(a, b)


def _log_likelihood(frame: int, all_bad: Counts | np.int64, drawn: Counts, bad: Counts) -> _Floats:
    chosen = _log_choose(all_bad, bad) + _log_choose(frame - all_bad, drawn - bad)
    return chosen - _log_choose(np.full_like(drawn, frame), drawn)


def _log_choose(n: Counts | np.int64, k: Counts) -> _Floats:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)


def _check(frame: int, drawn: int, bad: int, confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, got {confidence}")
    if frame < 1 or not 0 <= bad <= drawn <= frame:
        raise ValueError(
            "a frame holds what was drawn, and that what is bad of it, at least one unit in all; "
            f"got {frame}, {drawn} and {bad}"
        )
