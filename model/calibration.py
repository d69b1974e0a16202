"""Temperatures of all structures, with their error on patients that they were not fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.temperature import (
    Counts,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)

Source = Literal["own", "group", "unchanged"]

FOLDS = 5
LEAST_PATIENTS = 4
LEAST_VOXELS = 500


@dataclass(frozen=True, slots=True)
class PatientCounts:
    """What ``level_counts`` gave for one structure of one patient's CTs, added up."""

    patient_id: str
    structure: str
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class StructureCalibration:
    """The temperature of one structure.

    Errors are of held-out patients: each patient is scored with a temperature that was fitted
    without them. The temperature itself is fitted on all patients.

    Attributes:
        temperature: 1 where it is ``unchanged``.
        source: ``own``: fitted on this structure; ``group``: on all organs, or all lesions,
            together, since fewer than 4 patients or 500 voxels show it; ``unchanged``: nothing to
            fit on, or a temperature does not help held-out patients.
        patients: Whose voxels were counted.
        patients_with: Of these, those who have the structure.
        voxels: Near or inside the structure, as the reference or the network sees it.
        error_before: Expected calibration error; ``error_after`` with the temperature.
        loss_before: Mean negative log-likelihood in nats a voxel; ``loss_after`` likewise.
    """

    structure: str
    temperature: float
    source: Source
    patients: int
    patients_with: int
    voxels: int
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float


def calibrate(
    counts: Sequence[PatientCounts], *, groups: Mapping[str, str], seed: int = 0
) -> tuple[StructureCalibration, ...]:
    """Fit a temperature to every structure and measure it on held-out patients, in folds.

    Args:
        counts: One entry a patient and structure.
        groups: Structure -> group whose temperature it takes when it has too few of its own; also
            the order of the result.
        seed: Of the folds.
    """
    by_structure = {
        name: {one.patient_id: one.counts for one in counts if one.structure == name}
        for name in groups
    }
    known = {name: found for name, found in by_structure.items() if _voxels(found)}
    folds = _folds(counts, seed)
    return tuple(_structure(name, known, groups, folds) for name in known)


def temperatures(calibrations: Sequence[StructureCalibration]) -> dict[str, float]:
    """Return structure -> temperature, without those that stay as they are."""
    return {one.structure: one.temperature for one in calibrations if one.source != "unchanged"}


_ByPatient = Mapping[str, Counts]


def _structure(
    name: str,
    known: Mapping[str, _ByPatient],
    groups: Mapping[str, str],
    folds: Mapping[str, int],
) -> StructureCalibration:
    own = known[name]
    source, basis = _basis(name, known, groups)
    unfitted = dict.fromkeys(own, 1.0)
    by_fold = {fold: _fitted(basis, folds, without=fold) for fold in sorted(set(folds.values()))}
    held_out = {patient: by_fold[folds[patient]] for patient in own}
    before, loss_before = _errors(own, unfitted)
    after, loss_after = _errors(own, held_out)
    if loss_after >= loss_before:
        source, after, loss_after = "unchanged", before, loss_before
    voxels = _voxels(own)
    return StructureCalibration(
        structure=name,
        temperature=1.0 if source == "unchanged" else _fitted(basis, folds, without=None),
        source=source,
        patients=len(own),
        patients_with=sum(bool(one[1].any()) for one in own.values()),
        voxels=voxels,
        error_before=before,
        error_after=after,
        loss_before=loss_before / voxels,
        loss_after=loss_after / voxels,
    )


def _errors(counts: _ByPatient, fitted: Mapping[str, float]) -> tuple[float, float]:
    """Return calibration error and summed loss, each patient with a temperature of their own."""
    sums = sum((reliability(one, fitted[who]) for who, one in counts.items()), np.zeros((3, 1)))
    loss = sum(negative_log_likelihood(one, fitted[who]) for who, one in counts.items())
    return calibration_error(np.asarray(sums)) or 0.0, loss


def _basis(
    name: str, known: Mapping[str, _ByPatient], groups: Mapping[str, str]
) -> tuple[Source, list[_ByPatient]]:
    """Return what the temperature is fitted on: the structure, its group, or nothing."""
    if _is_enough([known[name]]):
        return "own", [known[name]]
    members = [found for other, found in known.items() if groups[other] == groups[name]]
    return ("group", members) if _is_enough(members) else ("unchanged", [])


def _is_enough(basis: Sequence[_ByPatient]) -> bool:
    """Whether enough patients show the structures, so that a fold always leaves some."""
    patients = {patient for one in basis for patient, c in one.items() if c[1].any()}
    voxels = sum(c[1].sum() for one in basis for c in one.values())
    return len(patients) >= LEAST_PATIENTS and bool(voxels >= LEAST_VOXELS)


def _fitted(basis: Sequence[_ByPatient], folds: Mapping[str, int], *, without: int | None) -> float:
    """Return the temperature on all patients outside one fold; structures weigh alike."""
    total = np.zeros((2, 256))
    for one in basis:
        kept = [counts for patient, counts in one.items() if folds[patient] != without]
        added = sum(kept, np.zeros((2, 256)))
        if added.any():
            total += added / added.sum()
    return fit_temperature(total)


def _folds(counts: Sequence[PatientCounts], seed: int) -> dict[str, int]:
    """Deal patients to folds, those who show more structures first, so that folds are alike."""
    shown: dict[str, int] = {}
    for one in counts:
        shown[one.patient_id] = shown.get(one.patient_id, 0) + bool(one.counts[1].any())
    patients = sorted(shown)
    order = np.random.default_rng(seed).permutation(len(patients))
    shuffled = [patients[index] for index in order]
    ranked = sorted(shuffled, key=lambda patient: -shown[patient])
    return {patient: place % FOLDS for place, patient in enumerate(ranked)}


def _voxels(found: _ByPatient) -> int:
    return int(sum(counts.sum() for counts in found.values()))
