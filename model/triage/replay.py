"""Quality against minutes: what an order of labels brings as a reader works through it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.triage.gain import Places, by_rate
from model.triage.score_table import Codes, Column


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderModel:
    """A reader that no policy knows.

    Attributes:
        dsc_sd: Standard deviation of the reader's DSC with the truth round the human ceiling.
        tolerance: A label is left alone that is no more than this below the reader's own.
        overlooked: Share of wrong labels that the reader leaves as they are.
        minutes_sigma: Of the logarithm of the minutes, beyond what is systematic.
        misspecified: Largest share by which a structure's minutes differ from what is predicted; a
            factor in [1 - m, 1 + m] is drawn for each structure.
        ceiling_error: Standard deviation by which this reader's mean DSC with the truth differs
            from the ceiling that the policy believes, drawn for each structure.
    """

    dsc_sd: float = 0.03
    tolerance: float = 0.02
    overlooked: float = 0.05
    minutes_sigma: float = 0.6
    misspecified: float = 0.5
    ceiling_error: float = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class TrueLabels:
    """What is really so, of N labels.

    Attributes:
        dsc: Of the AI's mask with the truth; where the truth is empty, 0 for a mask and 1 for none.
        is_there: Whether the truth has a mask.
        ceiling: DSC that two readers reach with each other, of each label's structure.
    """

    dsc: Column
    is_there: npt.NDArray[np.bool_]
    ceiling: Column


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What happens when a reader opens each of N labels.

    Attributes:
        gain: Change of the label's quality, which a poor correction makes negative.
        minutes: That it takes, the opening of its CT left out.
        opening: Minutes of opening each CT, by the CT's number.
    """

    gain: Column
    minutes: Column
    opening: Column


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Gain against minutes, both running sums over an order, shape (N,)."""

    minutes: Column
    gain: Column

    def area(self) -> float:
        """Return the mean over all minutes of the gain so far, over the whole gain.

        1 were all gained at once, 0.5 at an even pace, 0 in the last minute.
        """
        if not len(self.gain) or self.gain[-1] <= 0:
            return 0.0
        steps = np.diff(np.r_[self.minutes, self.minutes[-1]])
        return float(self.gain @ steps / (self.minutes[-1] * self.gain[-1]))

    def minutes_to(self, share: float) -> float:
        """Return the minutes until this share of the whole gain is reached; NaN without gain."""
        if not len(self.gain) or self.gain[-1] <= 0:
            return float("nan")
        reached = np.flatnonzero(self.gain >= share * self.gain[-1])
        return float(self.minutes[reached[0]])


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What a policy believes of the time that N labels take.

    Attributes:
        minutes: Of each label.
        opening_minutes: Of opening a CT.
        structure, case: Of each label, counted from 0.
    """

    minutes: Column
    opening_minutes: float
    structure: Codes
    case: Codes


def read(
    truth: TrueLabels, expected: Expected, *, reader: ReaderModel, generator: np.random.Generator
) -> Readings:
    """Draw what a reader would make of each label.

    A label that the reader leaves alone gains nothing. A corrected one has the reader's own DSC
    with the truth, and a mask that is taken away from where nothing is becomes as good as the
    structure's ceiling.

    Args:
        truth: Of the labels.
        expected: What the policy believes; the real minutes are drawn round it.
        reader: The reader.
        generator: Draws.
    """
    n = len(truth.dsc)
    own = np.clip(generator.normal(truth.ceiling, reader.dsc_sd), 0.0, 1.0)
    own = np.where(truth.is_there, own, truth.ceiling)
    is_wrong = truth.dsc < own - reader.tolerance
    is_seen = generator.random(n) >= reader.overlooked
    gain = np.where(is_wrong & is_seen, own - truth.dsc, 0.0)
    structures, cases = (
        int(codes.max(initial=-1)) + 1 for codes in (expected.structure, expected.case)
    )
    factor = 1 + reader.misspecified * generator.uniform(-1, 1, structures)
    # Of mean 1, so that what is drawn round a prediction is right on average.
    shift, sigma = -0.5 * reader.minutes_sigma**2, reader.minutes_sigma
    return Readings(
        gain=gain,
        minutes=expected.minutes
        * factor[expected.structure]
        * generator.lognormal(shift, sigma, n),
        opening=expected.opening_minutes * generator.lognormal(shift, sigma, cases),
    )


def replay(order: Places, readings: Readings, case: Codes) -> Curve:
    """Return what an order brings; a CT is opened when its first label comes."""
    ordered = case[order]
    opened = np.zeros(len(order))
    first = np.unique(ordered, return_index=True)[1]
    opened[first] = readings.opening[ordered[first]]
    minutes = np.cumsum(readings.minutes[order] + opened)
    return Curve(minutes, np.cumsum(readings.gain[order]))


def oracle_order(readings: Readings, case: Codes) -> Places:
    """Return the order of somebody who knows gains and minutes: greedy by gain per minute."""
    opening = float(readings.opening.mean()) if len(readings.opening) else 0.0
    order, _ = by_rate(
        np.maximum(0.0, readings.gain), readings.minutes, case, opening_minutes=opening
    )
    return order


def gap_closed(area: float, *, random: float, oracle: float) -> float:
    """Return the share of the way from random to the oracle; NaN where there is none."""
    return (area - random) / (oracle - random) if oracle > random else float("nan")
