"""How well lesions are found, over thresholds on their candidates: lesions, CTs and patients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from model.agreement_report import Draws, Share, diameter_bins, share_of
from model.cluster_bootstrap import LEVEL, Interval
from model.lesion_candidates import Candidate

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
INTERVALS = (
    "95 %: lesions and false positives by drawing patients (none where all or none are found, or "
    "under four patients); sensitivity and specificity of patients by Clopper and Pearson"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLesion:
    """One lesion of the reference.

    Attributes:
        diameter_mm: Of a ball of its volume.
        score: The highest peak of the candidates that share a voxel with it; 0 without one.
    """

    diameter_mm: float
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionReading:
    """One kind of lesion in one CT whose reference says where it is, or that there is none.

    Attributes:
        lesions: Of the reference.
        false_candidates: Candidates that share no voxel with the reference.
        highest: The highest peak of all candidates; 0 without one.
    """

    case_id: str
    patient_id: str
    structure: str
    lesions: tuple[ReferenceLesion, ...]
    false_candidates: tuple[Candidate, ...]
    highest: float


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of so many independent patients.

    Attributes:
        interval: Exact 95 % interval; None of nobody.
    """

    hits: int
    of: int
    interval: Interval | None

    @property
    def value(self) -> float | None:
        """The share; None of nobody."""
        return self.hits / self.of if self.of else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """What is found when a candidate counts from a peak above ``threshold`` on.

    Attributes:
        lesions: Lesions that a counted candidate touches.
        by_diameter: The same by class of diameter.
        false_positives_per_ct: Counted candidates that touch no lesion, over all CTs.
        sensitivity: Patients with a lesion in whom a candidate counts, wherever it lies.
        specificity: Patients without one in whom none counts.
        harmonic: Harmonic mean of these two; None where one is not defined or both are 0.
    """

    threshold: float
    lesions: Share
    by_diameter: tuple[tuple[str, Share], ...]
    false_positives_per_ct: Share
    sensitivity: Rate
    specificity: Rate
    harmonic: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LesionCurve:
    """Detection of one kind of lesion.

    Attributes:
        cts: CTs whose reference annotates it.
        patients_with: Patients with a lesion.
        patients_free: Patients whose reference says that there is none.
        auc: Area under the patients' ROC curve: the chance that a patient with a lesion has a
            higher highest peak than one without, ties counting half; None without both.
        points: Free-response ROC points, thresholds rising.
    """

    structure: str
    cts: int
    lesions: int
    patients_with: int
    patients_free: int
    auc: float | None
    points: tuple[OperatingPoint, ...]


def lesion_curves(
    readings: Sequence[LesionReading],
    *,
    order: Sequence[str],
    thresholds: Sequence[float] = THRESHOLDS,
    seed: int = 0,
) -> tuple[LesionCurve, ...]:
    """Return the curve of every kind of lesion that was read, in the order given.

    Source:
        Free-response ROC: Bunch et al. 1977. Patient-level sensitivity and specificity with their
        harmonic mean: Liu et al., ICCV 2023, Table 4. Exact interval: Clopper and Pearson 1934.
    """
    groups = {name: [one for one in readings if one.structure == name] for name in order}
    return tuple(_curve(name, group, thresholds, seed) for name, group in groups.items() if group)


def exact_rate(hits: int, of: int) -> Rate:
    """Return a rate with its exact 95 % interval by Clopper and Pearson."""
    if of == 0:
        return Rate(0, 0, None)
    interval = stats.binomtest(hits, of).proportion_ci(LEVEL, method="exact")
    return Rate(hits, of, (float(interval.low), float(interval.high)))


def _curve(
    name: str, readings: Sequence[LesionReading], thresholds: Sequence[float], seed: int
) -> LesionCurve:
    has = _by_patient(readings, lambda one: bool(one.lesions))
    highest = _by_patient(readings, lambda one: one.highest)
    ill = [highest[patient] for patient in has if has[patient]]
    free = [highest[patient] for patient in has if not has[patient]]
    return LesionCurve(
        structure=name,
        cts=len(readings),
        lesions=sum(len(one.lesions) for one in readings),
        patients_with=len(ill),
        patients_free=len(free),
        auc=_auc(ill, free),
        points=tuple(_point(name, readings, t, (ill, free), seed) for t in sorted(thresholds)),
    )


def _point(
    name: str,
    readings: Sequence[LesionReading],
    threshold: float,
    highest: tuple[Sequence[float], Sequence[float]],
    seed: int,
) -> OperatingPoint:
    found = [
        (one.patient_id, lesion.diameter_mm, lesion.score > threshold)
        for one in readings
        for lesion in one.lesions
    ]
    false = [
        (one.patient_id, sum(candidate.peak > threshold for candidate in one.false_candidates))
        for one in readings
    ]
    draws = Draws(seed, f"{name}/{threshold:g}")
    ill, free = highest
    sensitivity = exact_rate(sum(peak > threshold for peak in ill), len(ill))
    specificity = exact_rate(sum(peak <= threshold for peak in free), len(free))
    return OperatingPoint(
        threshold=threshold,
        lesions=share_of([(patient, hit) for patient, _, hit in found], draws.of("lesions")),
        by_diameter=_by_diameter(found, draws),
        false_positives_per_ct=share_of(false, draws.of("false positives")),
        sensitivity=sensitivity,
        specificity=specificity,
        harmonic=_harmonic(sensitivity.value, specificity.value),
    )


def _by_diameter(
    found: Sequence[tuple[str, float, bool]], draws: Draws
) -> tuple[tuple[str, Share], ...]:
    classes = {
        label: [(patient, hit) for patient, mm, hit in found if low <= mm < high]
        for label, low, high in diameter_bins()
    }
    return tuple((label, share_of(group, draws.of(label))) for label, group in classes.items())


def _by_patient(
    readings: Iterable[LesionReading], fact: Callable[[LesionReading], float]
) -> dict[str, float]:
    """Return the highest fact of each patient's CTs."""
    result: dict[str, float] = {}
    for one in readings:
        result[one.patient_id] = max(result.get(one.patient_id, 0.0), float(fact(one)))
    return result


def _auc(ill: Sequence[float], free: Sequence[float]) -> float | None:
    if not ill or not free:
        return None
    ranks = stats.rankdata(np.concatenate([ill, free]))
    above = float(ranks[: len(ill)].sum()) - len(ill) * (len(ill) + 1) / 2
    return above / (len(ill) * len(free))


def _harmonic(one: float | None, other: float | None) -> float | None:
    if one is None or other is None or one + other == 0:
        return None
    return 2 * one * other / (one + other)
