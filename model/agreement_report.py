"""From how two sources agree on each case to figures per structure that never mix two kinds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.agreement import KINDS, CaseAgreement, Kind
from model.cluster_bootstrap import Interval, clustered_interval

Group = Literal["organs", "tumors and cysts"]
Metric = Literal["dsc", "surface_dice"]

DIAMETERS_MM = (10.0, 20.0)
"""Where the bins of lesion diameters part; ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Values of one metric over cases.

    Attributes:
        n: Cases.
        patients: Whom they belong to.
        q1: Lower quartile; ``q3`` the upper one.
        interval: 95 % interval of the mean, by drawing patients; None where data give none.
    """

    n: int
    patients: int
    mean: float
    median: float
    q1: float
    q3: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with the 95 % interval by drawing patients.

    Attributes:
        interval: None where there is nothing to count, or where all or none count.
    """

    hits: int
    of: int
    interval: Interval | None

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.hits / self.of if self.of else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What of a lesion's kind is found, before any overlap is looked at.

    Attributes:
        lesions: Lesions of the reference that the tested side hit.
        by_diameter: The same by diameter in mm, as "< 10", "10 to 20", ">= 20".
        false_positives_per_ct: Tested lesions that hit none, over all CTs compared.
        sensitivity: Patients with a lesion in whom the tested side has one.
        specificity: Patients without any in whom the tested side has none.
    """

    lesions: Share
    by_diameter: tuple[tuple[str, Share], ...]
    false_positives_per_ct: Share
    sensitivity: Share
    specificity: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureAgreement:
    """One structure in one kind of comparison.

    Attributes:
        compared: Cases in which both sides looked.
        agree_absent: Of these, where both say that it is absent; in no mean.
        one_empty: Cases in the mean with a Dice of 0 because exactly one side has it.
        dsc: None where no case counts; of a lesion, over cases where the reference has it.
        surface_dice: None where no case has one.
        no_surface_dice: Cases in ``dsc`` whose spacing is too coarse for the tolerance.
        detection: Of tumors and cysts.
    """

    structure: str
    compared: int
    agree_absent: int
    one_empty: int
    dsc: Spread | None
    surface_dice: Spread | None
    no_surface_dice: int
    detection: Detection | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Macro:
    """Mean over structures of their mean over cases.

    Attributes:
        group: ``organs``, or ``tumors and cysts``.
        metric: ``dsc`` or ``surface_dice``.
        structures: How many have a figure.
        patients: Whom it is over.
    """

    group: Group
    metric: Metric
    mean: float
    interval: Interval | None
    structures: int
    patients: int


@dataclass(frozen=True, slots=True)
class KindAgreement:
    """All structures in one kind of comparison."""

    kind: Kind
    structures: tuple[StructureAgreement, ...]
    macros: tuple[Macro, ...]


def agreement_report(
    cases: Sequence[CaseAgreement], *, seed: int, order: Sequence[str]
) -> tuple[KindAgreement, ...]:
    """Return one block of figures for each kind of comparison that occurs.

    Args:
        cases: What was compared.
        seed: Of the draws; a structure's interval does not depend on which others are compared.
        order: Structures in the order wanted; others than these are left out.
    """
    blocks = []
    for kind in KINDS:
        of_kind = [case for case in cases if case.kind == kind]
        if of_kind:
            blocks.append(_block(kind, of_kind, seed, order))
    return tuple(blocks)


def _block(
    kind: Kind, cases: Sequence[CaseAgreement], seed: int, order: Sequence[str]
) -> KindAgreement:
    groups = {name: [case for case in cases if case.structure == name] for name in order}
    rows = tuple(
        _structure(name, group, Draws(seed, f"{kind}/{name}"))
        for name, group in groups.items()
        if group
    )
    draws = Draws(seed, str(kind))
    kept = [case for case in cases if case.structure in groups]
    return KindAgreement(kind, rows, tuple(_macros(kept, draws)))


@dataclass(frozen=True, slots=True)
class Draws:
    """Generators that hang on the seed and on what they are for, and on nothing else."""

    seed: int
    subject: str

    def of(self, purpose: str) -> np.random.Generator:
        """Return the generator for one purpose."""
        return np.random.default_rng([self.seed, zlib.crc32(f"{self.subject}/{purpose}".encode())])


@dataclass(frozen=True, slots=True)
class _Value:
    patient: str
    structure: str
    value: float


def _dsc_values(cases: Iterable[CaseAgreement]) -> list[_Value]:
    return [
        _Value(case.patient_id, case.structure, case.overlap.dsc)
        for case in cases
        if case.counts_in_dsc and case.overlap.dsc is not None
    ]


def _surface_values(cases: Iterable[CaseAgreement]) -> list[_Value]:
    return [
        _Value(case.patient_id, case.structure, case.overlap.surface_dice)
        for case in cases
        if case.counts_in_dsc and case.overlap.surface_dice is not None
    ]


def _structure(name: str, cases: Sequence[CaseAgreement], draws: Draws) -> StructureAgreement:
    counted = [case for case in cases if case.counts_in_dsc]
    surface = _surface_values(cases)
    lesion = any(case.lesions is not None for case in cases)
    return StructureAgreement(
        structure=name,
        compared=len(cases),
        agree_absent=sum(case.agree_absent for case in cases),
        one_empty=sum(case.tested_present != case.reference_present for case in counted),
        dsc=_spread(_dsc_values(cases), draws.of("dsc")),
        surface_dice=_spread(surface, draws.of("surface dice")),
        no_surface_dice=len(counted) - len(surface),
        detection=_detection(cases, draws) if lesion else None,
    )


def _spread(values: Sequence[_Value], generator: np.random.Generator) -> Spread | None:
    if not values:
        return None
    numbers = np.array([value.value for value in values])
    q1, median, q3 = (float(q) for q in np.quantile(numbers, [0.25, 0.5, 0.75]))
    return Spread(
        n=len(numbers),
        patients=len({value.patient for value in values}),
        mean=float(numbers.mean()),
        median=median,
        q1=q1,
        q3=q3,
        interval=_interval(values, generator),
    )


def _macros(cases: Sequence[CaseAgreement], draws: Draws) -> Iterator[Macro]:
    groups: dict[Group, list[CaseAgreement]] = {"organs": [], "tumors and cysts": []}
    for case in cases:
        groups["organs" if case.lesions is None else "tumors and cysts"].append(case)
    for group, members in groups.items():
        for metric, values in _values(members).items():
            if values:
                yield _macro(group, metric, values, draws.of(f"{group}/{metric}"))


def _values(cases: Sequence[CaseAgreement]) -> dict[Metric, list[_Value]]:
    return {"dsc": _dsc_values(cases), "surface_dice": _surface_values(cases)}


def _macro(
    group: Group, metric: Metric, values: Sequence[_Value], generator: np.random.Generator
) -> Macro:
    by_structure: dict[str, list[float]] = {}
    for value in values:
        by_structure.setdefault(value.structure, []).append(value.value)
    return Macro(
        group=group,
        metric=metric,
        mean=float(np.mean([np.mean(numbers) for numbers in by_structure.values()])),
        interval=_interval(values, generator),
        structures=len(by_structure),
        patients=len({value.patient for value in values}),
    )


def _interval(values: Sequence[_Value], generator: np.random.Generator) -> Interval | None:
    """Return the interval of the mean over structures of the means over cases."""
    patients = {name: row for row, name in enumerate(sorted({v.patient for v in values}))}
    columns = {name: column for column, name in enumerate(sorted({v.structure for v in values}))}
    sums = np.zeros((len(patients), len(columns)))
    counts = np.zeros_like(sums)
    for value in values:
        place = patients[value.patient], columns[value.structure]
        sums[place] += value.value
        counts[place] += 1
    return clustered_interval(sums, counts, generator)


def _detection(cases: Sequence[CaseAgreement], draws: Draws) -> Detection:
    lesions = [
        (case.patient_id, diameter, found)
        for case in cases
        if case.lesions is not None
        for diameter, found in zip(case.lesions.diameters_mm, case.lesions.found, strict=True)
    ]
    has = _by_patient((case.patient_id, case.reference_present) for case in cases)
    called = _by_patient((case.patient_id, case.tested_present) for case in cases)
    return Detection(
        lesions=share_of([(patient, found) for patient, _, found in lesions], draws.of("lesions")),
        by_diameter=tuple(
            (name, share_of([(p, f) for p, d, f in lesions if low <= d < high], draws.of(name)))
            for name, low, high in diameter_bins()
        ),
        false_positives_per_ct=share_of(
            [(c.patient_id, c.lesions.false_positives) for c in cases if c.lesions is not None],
            draws.of("false positives"),
        ),
        sensitivity=share_of([(p, called[p]) for p in has if has[p]], draws.of("sensitivity")),
        specificity=share_of(
            [(p, not called[p]) for p in has if not has[p]], draws.of("specificity")
        ),
    )


def diameter_bins() -> list[tuple[str, float, float]]:
    """Return name, lower and upper end in mm of each class of lesion diameter."""
    small, large = DIAMETERS_MM
    return [
        (f"< {small:g}", 0.0, small),
        (f"{small:g} to {large:g}", small, large),
        (f">= {large:g}", large, np.inf),
    ]


def _by_patient(facts: Iterable[tuple[str, bool]]) -> dict[str, bool]:
    result: dict[str, bool] = {}
    for patient, fact in facts:
        result[patient] = result.get(patient, False) or fact
    return result


def share_of(counts: Sequence[tuple[str, int]], generator: np.random.Generator) -> Share:
    """Return the mean over cases of counts of (patient, count), with its interval."""
    values = [_Value(patient, "", float(count)) for patient, count in counts]
    hits = sum(int(count) for _, count in counts)
    return Share(hits, len(counts), _interval(values, generator) if values else None)
