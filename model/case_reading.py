"""What one network says about each annotated structure of one case, measured on the native grid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from configs.metrics import load_metric_settings
from configs.taxonomy import load_taxonomy
from model.agreement import CaseAgreement, Overlap, compare_masks
from model.committee import CommitteeMember
from model.grid import Box, Grid, Shape
from model.lesion_candidates import Candidate, lesion_candidates, level_of, touching
from model.lesion_curve import LesionReading, ReferenceLesion
from model.lesion_detection import ball_diameter_mm, labeled_lesions, match_lesions
from model.metrics import Agreement, dice
from model.native_maps import Vote, consensus_levels, foreground_box
from model.placed_crop import Mask, grown, placed, union_box
from model.scores import THRESHOLD, Bytes
from model.temperature import Counts, level_counts
from model.validation_case import ValidationCase, ValidationOptions
from model.working_prediction import WorkingPrediction, predict_members

NEAR_MM = 10.0
"""Voxels this close to a structure, along each axis, count for its calibration; ours."""


@dataclass(frozen=True, slots=True)
class CaseReading:
    """What was measured on one case.

    Attributes:
        rows: One an annotated structure that the network knows.
        lesions: One a kind of lesion among them.
        counts: Structure -> levels near and inside it, where that was asked for.
    """

    case_id: str
    patient_id: str
    rows: tuple[CaseAgreement, ...]
    lesions: tuple[LesionReading, ...]
    counts: Mapping[str, Counts]


def read_case(
    member: CommitteeMember,
    case: ValidationCase,
    *,
    device: torch.device,
    options: ValidationOptions,
) -> CaseReading:
    """Run a network over one case and compare it with each annotated structure.

    Peak memory in bytes beside the volume and the sliding window's own: the probabilities, two
    a structure and voxel of the working grid; then, a structure at a time, about 16 per voxel of
    the native box that holds network and reference, 35 for a lesion, whose box holds all above
    ``low_probability``; with surfaces about 75. Calibration adds 10 mm of margin to the box. No
    float array of all structures exists. ``benchmarks/validation_memory.py`` measures it.

    Args:
        member: The network, in evaluation mode on ``device``.
        case: What is known.
        device: Where to compute.
        options: What to measure.

    Raises:
        CaseError: Logits are not finite, or memory is not enough.
    """
    taxonomy = load_taxonomy()
    annotated = tuple(filter(member.covers, taxonomy.select(tuple(case.references))))
    if not annotated:
        return CaseReading(case.case_id, case.patient_id, (), (), {})
    hosts = [host for name in annotated for host in _hosts(name) if member.covers(host)]
    (prediction,) = predict_members(
        case.hu,
        case.spacing_mm,
        [member],
        structures=taxonomy.select((*annotated, *hosts)),
        device=device,
        options=options.network,
    )
    reader = _Reader(case, prediction, device, options)
    read = [reader.read(name) for name in annotated]
    return CaseReading(
        case.case_id,
        case.patient_id,
        tuple(row for row, _, _ in read),
        tuple(lesions for _, lesions, _ in read if lesions is not None),
        {row.structure: counts for row, _, counts in read if counts is not None},
    )


_Read = tuple[CaseAgreement, LesionReading | None, Counts | None]


class _Reader:
    """Compares one structure after the other, so that the arrays of one alone exist at a time."""

    def __init__(
        self,
        case: ValidationCase,
        prediction: WorkingPrediction,
        device: torch.device,
        options: ValidationOptions,
    ) -> None:
        i, j, k = case.hu.shape
        self._grid = Grid((i, j, k), case.spacing_mm)
        self._case = case
        self._prediction = prediction
        self._device = device
        self._options = options

    def read(self, structure: str) -> _Read:
        """Return overlap, lesions and level counts of one structure."""
        is_lesion = load_taxonomy()[structure].is_lesion
        box, levels, reference = self._in_box(structure, lesion=is_lesion)
        lesions = self._lesions(structure, box, levels, reference) if is_lesion else None
        counts = self._counts(levels, reference) if self._options.calibration else None
        return self._row(structure, levels > THRESHOLD, reference), lesions, counts

    def _in_box(self, structure: str, *, lesion: bool) -> tuple[Box, Bytes, Mask]:
        """Return the box that holds network and reference, and both in it."""
        reference = self._case.references[structure]
        vote = self._prediction.vote(structure)
        threshold = level_of(self._options.low_probability) if lesion else THRESHOLD
        seen = foreground_box([vote], self._grid, 0.0, threshold=threshold)
        boxes = [box for box in (seen, reference and reference.box) if box is not None]
        if not boxes:
            empty = np.zeros((0, 0, 0), np.uint8)
            return Box((0, 0, 0), (0, 0, 0)), empty, empty.astype(np.bool_)
        margin = self._near_voxels() if self._options.calibration else (0, 0, 0)
        box = grown(union_box(boxes), margin, self._grid.shape)
        levels = self._levels(vote, box)
        if reference is None:
            return box, levels, np.zeros(box.shape, np.bool_)
        return box, levels, placed(reference.mask, reference.box, box)

    def _levels(self, vote: Vote, box: Box) -> Bytes:
        return consensus_levels([vote], box, self._grid.spacing_mm, device=self._device)

    def _row(self, structure: str, tested: Mask, reference: Mask) -> CaseAgreement:
        spacing_mm = self._grid.spacing_mm
        is_lesion = load_taxonomy()[structure].is_lesion
        return CaseAgreement(
            case_id=self._case.case_id,
            patient_id=self._case.patient_id,
            structure=structure,
            kind="reference_dsc",
            overlap=self._overlap(structure, tested, reference),
            tested_present=bool(tested.any()),
            reference_present=bool(reference.any()),
            lesions=match_lesions(tested, reference, spacing_mm) if is_lesion else None,
            role=self._case.role,
        )

    def _overlap(self, structure: str, tested: Mask, reference: Mask) -> Overlap:
        if self._options.surface:
            tolerance_mm = load_metric_settings()[structure].mm
            spacing_mm = self._grid.spacing_mm
            return compare_masks(
                tested, reference, spacing_mm=spacing_mm, tolerance_mm=tolerance_mm
            )
        dsc = dice(tested, reference)
        return Overlap(None if isinstance(dsc, Agreement) else dsc, None)

    def _lesions(self, structure: str, box: Box, levels: Bytes, reference: Mask) -> LesionReading:
        spacing_mm = self._grid.spacing_mm
        found = lesion_candidates(
            levels,
            spacing_mm,
            origin=box.start,
            low_probability=self._options.low_probability,
            host=self._host(structure, box),
        )
        least_mm3 = load_metric_settings().least_lesion_mm3.get(structure, 0.0)
        counted = {
            label: candidate
            for label, candidate in enumerate(found.candidates, start=1)
            if not self._options.size_limits or candidate.volume_mm3 > least_mm3
        }
        lesions, number = labeled_lesions(reference)
        pairs = [pair for pair in touching(found.labels, lesions) if pair[0] in counted]
        voxels = np.bincount(lesions[reference], minlength=number + 1)
        touched = {label for label, _ in pairs}
        return LesionReading(
            case_id=self._case.case_id,
            patient_id=self._case.patient_id,
            structure=structure,
            lesions=tuple(
                ReferenceLesion(
                    diameter_mm=ball_diameter_mm(int(voxels[lesion]), spacing_mm),
                    score=_highest([counted[label] for label, other in pairs if other == lesion]),
                )
                for lesion in range(1, number + 1)
            ),
            false_candidates=tuple(c for label, c in counted.items() if label not in touched),
            highest=_highest(counted.values()),
        )

    def _host(self, structure: str, box: Box) -> Mask | None:
        """Return where the network sees the organs that a lesion may lie in."""
        hosts = [host for host in _hosts(structure) if host in self._prediction.structures]
        if not hosts or not all(box.shape):
            return None
        masks = [self._levels(self._prediction.vote(host), box) > THRESHOLD for host in hosts]
        return np.logical_or.reduce(masks)

    def _counts(self, levels: Bytes, reference: Mask) -> Counts | None:
        where = reference | (levels > THRESHOLD)
        if not where.any():
            return None
        return level_counts(levels, reference, _near(where, self._near_voxels()))

    def _near_voxels(self) -> Shape:
        i, j, k = (math.ceil(NEAR_MM / size) for size in self._grid.spacing_mm)
        return i, j, k


def _hosts(structure: str) -> tuple[str, ...]:
    one = load_taxonomy()[structure]
    return one.parents if one.is_lesion else ()


def _highest(candidates: Iterable[Candidate]) -> float:
    return max((candidate.peak for candidate in candidates), default=0.0)


def _near(mask: Mask, voxels: Shape) -> Mask:
    """Return the mask grown by so many voxels along each axis."""
    result = mask.view(np.uint8)
    for axis, reach in enumerate(voxels):
        result = ndimage.maximum_filter1d(result, 2 * reach + 1, axis=axis, mode="constant")
    return result.view(np.bool_)
