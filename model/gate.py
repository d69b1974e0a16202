"""Whether a challenger may replace the champion: paired evidence on frozen patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError

Criterion = Literal["dsc", "false_positives", "lesion_sensitivity"]
Finding = Literal["holds", "worse", "underpowered"]
Outcome = Literal["promoted", "kept", "underpowered"]
Floats = npt.NDArray[np.float64]

ALL = "all"
# One-sided 95 % and a power of 80 %: normal quantiles.
_ALPHA_Z, _POWER_Z = 1.645, 0.842


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What counts as "not worse".

    Attributes:
        dsc_margin: Loss of mean DSC that is still no loss.
        false_positive_margin: Rise of the rate of absent structures that get a mask.
        sensitivity_margin: Loss of the share of lesions that are found.
        confidence: Of the two-sided bootstrap intervals.
        least_patients: With fewer, a criterion is underpowered whatever its interval says: a
            bootstrap over a handful of patients is too narrow.
        resamples: Bootstrap samples.
    """

    dsc_margin: float = 0.02
    false_positive_margin: float = 0.05
    sensitivity_margin: float = 0.10
    confidence: float = 0.95
    least_patients: int = 10
    resamples: int = 2000

    def __post_init__(self) -> None:
        margins = (self.dsc_margin, self.false_positive_margin, self.sensitivity_margin)
        if min(margins) <= 0 or not 0 < self.confidence < 1:
            raise ConfigError(
                f"margins must be positive and the confidence in (0, 1), got {margins} and "
                f"{self.confidence}"
            )
        if self.least_patients < 2 or self.resamples < 100:
            raise ConfigError(
                "a bootstrap needs at least 2 patients and 100 samples, got "
                f"{self.least_patients} and {self.resamples}"
            )

    def margin(self, criterion: Criterion) -> float:
        """Return the margin of a criterion."""
        margins: Mapping[Criterion, float] = {
            "dsc": self.dsc_margin,
            "false_positives": self.false_positive_margin,
            "lesion_sensitivity": self.sensitivity_margin,
        }
        return margins[criterion]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What one committee does on one structure of one case.

    Attributes:
        dsc: Against the reference; None where the reference says that the structure is absent.
        false_positive: Whether it draws an absent structure; None where the structure is there.
        lesions_found: Lesions of the reference that it touches.
    """

    dsc: float | None
    false_positive: bool | None
    lesions_found: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateObservation:
    """Champion and challenger on one structure of one case.

    Attributes:
        lesions: Lesions of the reference; 0 for organs.
    """

    patient: str
    structure: str
    champion: Outcomes
    challenger: Outcomes
    lesions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One criterion on one structure, or on all.

    Attributes:
        patients: How many the figures are over; each patient's cases are averaged first.
        champion: Mean of the champion.
        challenger: Mean of the challenger.
        gain: Mean paired difference, positive when the challenger is better.
        low: Lower end of its interval.
        high: Upper end of its interval.
        finding: ``worse``: the whole interval lies beyond the margin. ``holds``: none of it does.
        needed: Patients for a power of 80 % at the spread that was seen; None when unknown.
    """

    criterion: Criterion
    structure: str
    patients: int
    champion: float
    challenger: float
    gain: float
    low: float
    high: float
    finding: Finding
    needed: int | None


@dataclass(frozen=True, slots=True)
class GateDecision:
    """What the gate says.

    Attributes:
        outcome: ``underpowered`` means: not shown to be worse, nor shown not to be.
        rows: The evidence.
        needed: Patients that the most demanding underpowered row needs; None when all hold or it is
            unknown.
        reason: In words.
    """

    outcome: Outcome
    rows: tuple[GateRow, ...]
    needed: int | None
    reason: str


def decide(
    observations: Sequence[GateObservation],
    policy: GatePolicy,
    *,
    generator: np.random.Generator,
    accept_underpowered: bool = False,
) -> GateDecision:
    """Compare challenger and champion on the same patients.

    Promoted only when every row holds: an intersection of tests, so no level is split. With
    ``accept_underpowered`` rows that could not be decided do not block, unless the mean gain in DSC
    over structures is below minus the margin.

    Args:
        observations: One a case and structure with a reference.
        policy: Margins and sizes.
        generator: Draws the bootstrap samples.
        accept_underpowered: The user takes the risk.

    Source:
        Non-inferiority by a paired percentile bootstrap clustered by patient: Efron and Tibshirani
        1993, chapter 13; margins: our decision, see ARCHITECTURE.md.
    """
    rows = tuple(_rows(observations, policy, generator))
    worse = [row for row in rows if row.finding == "worse"]
    open_rows = [row for row in rows if row.finding == "underpowered"]
    needed = [row.needed for row in open_rows if row.needed is not None]
    most = max(needed) if needed else None
    if not rows:
        return GateDecision("underpowered", rows, policy.least_patients, "no gate patient is read")
    if worse:
        named = ", ".join(f"{row.structure} ({row.criterion})" for row in worse)
        return GateDecision("kept", rows, most, f"worse than the champion on {named}")
    if not open_rows:
        return GateDecision("promoted", rows, None, "no criterion is worse than its margin")
    reason = f"{len(open_rows)} of {len(rows)} rows are underpowered, needs {most or '?'} patients"
    if not accept_underpowered:
        return GateDecision("underpowered", rows, most, reason)
    gain = _mean([row.gain for row in rows if row.criterion == "dsc"])
    if gain < -policy.dsc_margin:
        return GateDecision("kept", rows, most, f"{reason}; mean DSC falls by {-gain:.3f}")
    return GateDecision("promoted", rows, most, f"{reason}; accepted by the user")


def _rows(
    observations: Sequence[GateObservation], policy: GatePolicy, generator: np.random.Generator
) -> Iterator[GateRow]:
    for structure in dict.fromkeys(entry.structure for entry in observations):
        own = [entry for entry in observations if entry.structure == structure]
        yield from _row("dsc", structure, own, policy, generator)
    # Absent structures and lesions are too rare for a row each.
    yield from _row("false_positives", ALL, observations, policy, generator)
    yield from _row("lesion_sensitivity", ALL, observations, policy, generator)


def _row(
    criterion: Criterion,
    structure: str,
    observations: Sequence[GateObservation],
    policy: GatePolicy,
    generator: np.random.Generator,
) -> Iterator[GateRow]:
    """Yield the row, or nothing where no observation bears on the criterion."""
    pairs = _by_patient(observations, _MEASURES[criterion])
    if len(pairs) == 0:
        return
    # A higher rate of false positives is a loss.
    sign = -1.0 if criterion == "false_positives" else 1.0
    gains = sign * (pairs[:, 1] - pairs[:, 0])
    low, high = _interval(gains, policy, generator)
    margin = policy.margin(criterion)
    yield GateRow(
        criterion=criterion,
        structure=structure,
        patients=len(pairs),
        champion=float(pairs[:, 0].mean()),
        challenger=float(pairs[:, 1].mean()),
        gain=float(gains.mean()),
        low=low,
        high=high,
        finding=_finding(len(pairs), low, high, margin, policy.least_patients),
        needed=_needed(gains, margin, policy.least_patients),
    )


def _finding(patients: int, low: float, high: float, margin: float, least: int) -> Finding:
    if patients >= least and high < -margin:
        return "worse"
    if patients >= least and low > -margin:
        return "holds"
    return "underpowered"


def _needed(gains: Floats, margin: float, least: int) -> int | None:
    """Return the patients needed to show non-inferiority of an equal challenger."""
    if len(gains) < 2:
        return None
    spread = float(gains.std(ddof=1))
    return max(least, math.ceil(((_ALPHA_Z + _POWER_Z) * spread / margin) ** 2))


def _interval(
    gains: Floats, policy: GatePolicy, generator: np.random.Generator
) -> tuple[float, float]:
    drawn = generator.integers(0, len(gains), (policy.resamples, len(gains)))
    tail = (1 - policy.confidence) / 2
    low, high = np.quantile(gains[drawn].mean(axis=1), (tail, 1 - tail))
    return float(low), float(high)


def _by_patient(
    observations: Sequence[GateObservation],
    measure: Callable[[GateObservation], tuple[float, float] | None],
) -> Floats:
    """Return each patient's mean (champion, challenger), shape (patients, 2)."""
    values: dict[str, list[tuple[float, float]]] = {}
    for entry in observations:
        pair = measure(entry)
        if pair is not None:
            values.setdefault(entry.patient, []).append(pair)
    return np.array([np.mean(pairs, axis=0) for pairs in values.values()]).reshape(-1, 2)


def _dsc(entry: GateObservation) -> tuple[float, float] | None:
    if entry.champion.dsc is None or entry.challenger.dsc is None:
        return None
    return entry.champion.dsc, entry.challenger.dsc


def _false_positive(entry: GateObservation) -> tuple[float, float] | None:
    if entry.champion.false_positive is None or entry.challenger.false_positive is None:
        return None
    return float(entry.champion.false_positive), float(entry.challenger.false_positive)


def _sensitivity(entry: GateObservation) -> tuple[float, float] | None:
    if entry.lesions == 0:
        return None
    return (
        entry.champion.lesions_found / entry.lesions,
        entry.challenger.lesions_found / entry.lesions,
    )


_MEASURES: Mapping[Criterion, Callable[[GateObservation], tuple[float, float] | None]] = {
    "dsc": _dsc,
    "false_positives": _false_positive,
    "lesion_sensitivity": _sensitivity,
}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
