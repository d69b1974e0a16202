"""One network on labeled cases: overlap, lesions found and calibration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from configs.errors import ModelError
from configs.taxonomy import load_taxonomy
from model.agreement import CaseAgreement
from model.agreement_report import Macro, StructureAgreement, agreement_report
from model.calibration import PatientCounts, StructureCalibration, calibrate
from model.case_reading import CaseReading, read_case
from model.committee import CommitteeMember
from model.inference_settings import InferenceSettings
from model.lesion_curve import LesionCurve, lesion_curves
from model.validation_case import ValidationCase, ValidationOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSummary:
    """What a network does on labeled cases, by the metrics policy.

    Attributes:
        cases: CTs with at least one annotated structure that the network knows.
        patients: Whose they are.
        structures: Overlap, and detection at 0.5; see ``StructureAgreement``.
        macros: Means over structures, organs apart from tumors and cysts.
        lesions: Detection over thresholds.
        calibration: Empty where it was not asked for.
        rows: One a case and structure.
    """

    cases: int
    patients: int
    structures: tuple[StructureAgreement, ...]
    macros: tuple[Macro, ...]
    lesions: tuple[LesionCurve, ...]
    calibration: tuple[StructureCalibration, ...]
    rows: tuple[CaseAgreement, ...]

    def dsc(self) -> dict[str, float]:
        """Return the mean DSC by structure, and ``macro`` over all of these.

        Also ``macro_organs`` and ``macro_lesions``, each where it is defined.
        """
        values = {row.structure: row.dsc.mean for row in self.structures if row.dsc is not None}
        taxonomy = load_taxonomy()
        lesions = [value for name, value in values.items() if taxonomy[name].is_lesion]
        organs = [value for name, value in values.items() if not taxonomy[name].is_lesion]
        groups = {"macro": [*organs, *lesions], "macro_organs": organs, "macro_lesions": lesions}
        means = {name: float(np.mean(group)) for name, group in groups.items() if group}
        return {**values, **means}


def validate_network(
    network: nn.Module,
    inference: InferenceSettings,
    cases: Iterable[ValidationCase],
    *,
    structures: Sequence[str],
    device: torch.device,
    options: ValidationOptions | None = None,
) -> ValidationSummary:
    """Run a network over cases and summarise what it does; see ``read_case`` for memory.

    The network is in evaluation mode meanwhile and left as it was.

    Args:
        network: ``forward(images, structure_index)`` as of a ``CommitteeMember``, on ``device``.
        inference: How it sees a volume.
        cases: Taken one at a time.
        structures: Names in the order of the network's outputs.
        device: Where to compute.
        options: What to measure; everything when None, ``QUICK`` between training steps.

    Raises:
        ModelError: No case annotates any of the structures.
        CaseError: Logits are not finite, or memory is not enough.
    """
    chosen = options or ValidationOptions()
    member = validated_member(network, inference, structures)
    with _evaluating(network):
        readings = [read_case(member, case, device=device, options=chosen) for case in cases]
    return summarise(readings, options=chosen)


def validated_member(
    network: nn.Module, inference: InferenceSettings, structures: Sequence[str]
) -> CommitteeMember:
    """Return a network as what ``read_case`` runs."""
    return CommitteeMember(
        name="validated",
        family="validated",
        network=network,
        inference=inference,
        structures=tuple(structures),
    )


def summarise(
    readings: Iterable[CaseReading], *, options: ValidationOptions | None = None
) -> ValidationSummary:
    """Return the figures over cases that were read one by one.

    Raises:
        ModelError: Nothing was compared.
    """
    chosen = options or ValidationOptions()
    taxonomy = load_taxonomy()
    kept = [one for one in readings if one.rows]
    rows = tuple(row for one in kept for row in one.rows)
    if not rows:
        raise ModelError(
            "validation needs a case that annotates a structure which the network knows; there is "
            "none"
        )
    (block,) = agreement_report(rows, seed=chosen.seed, order=taxonomy.names)
    groups = {one.name: "lesion" if one.is_lesion else "organ" for one in taxonomy.structures}
    return ValidationSummary(
        cases=len(kept),
        patients=len({one.patient_id for one in kept}),
        structures=block.structures,
        macros=block.macros,
        lesions=lesion_curves(
            [reading for one in kept for reading in one.lesions],
            order=taxonomy.names,
            thresholds=chosen.thresholds,
            seed=chosen.seed,
        ),
        calibration=calibrate(_counts(kept), groups=groups, seed=chosen.seed),
        rows=rows,
    )


def _counts(readings: Sequence[CaseReading]) -> list[PatientCounts]:
    """Add up the counts of each patient's CTs."""
    totals: dict[tuple[str, str], PatientCounts] = {}
    for one in readings:
        for structure, counts in one.counts.items():
            known = totals.get((one.patient_id, structure))
            total = counts if known is None else known.counts + counts
            totals[one.patient_id, structure] = PatientCounts(one.patient_id, structure, total)
    return list(totals.values())


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
