"""Labeled cases to validate on, read one at a time: of the workspace, or of a cohort folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.gate import read_reference
from flows.limits import volume_limits
from model.placed_crop import PlacedMask
from model.validation_case import ValidationCase, crops
from storage.cases import CaseRow, all_cases, existing_file
from storage.cohort import CohortCase, read_cohort
from storage.grid import Grid
from storage.intake_record import inspect_file
from storage.labels import LabelMask, LabelVersion, reference_labels
from storage.splits import Role, effective_roles
from storage.store import Store
from storage.volume import Volume


@dataclass(frozen=True, slots=True)
class CaseSource:
    """A case that is not read yet.

    Attributes:
        read: Reads CT and masks; raises CaseError where the CT is gone or changed.
    """

    case_id: str
    read: Callable[[], ValidationCase]


@dataclass(frozen=True, slots=True)
class CaseSources:
    """What can be validated on.

    Attributes:
        left_out: Cases that a model of this workspace may have been trained on.
        labels: How the references were made -> how many there are.
    """

    sources: tuple[CaseSource, ...]
    left_out: tuple[str, ...]
    labels: Mapping[str, int]


def workspace_cases(store: Store, role: Role, *, reviews: bool = False) -> CaseSources:
    """Return the cases of the patients with a role that have reference labels.

    Args:
        store: The workspace.
        role: Of the frozen split.
        reviews: Take the labels that reviewers made from the AI's masks, and no others. These say
            how much was changed, not how good the model is, so they never count beside the others.
    """
    with store.read() as connection:
        approved_only = store.settings.review.four_eyes
        known = reference_labels(connection, role=role, approved_only=approved_only)
        roles = effective_roles(connection)
        cases = {
            case.case_id: case
            for case in all_cases(connection)
            if roles.get(case.patient_id) == role
        }
    labels = {
        key: label
        for key, label in known.items()
        if key[0] in cases and (label.reading == "review") == reviews
    }
    by_case: dict[str, dict[str, LabelVersion]] = {}
    for (case_id, structure), label in sorted(labels.items()):
        by_case.setdefault(case_id, {})[structure] = label
    sources = tuple(
        CaseSource(case_id, lambda c=cases[case_id], f=found: _workspace_case(store, c, f, role))
        for case_id, found in by_case.items()
    )
    return CaseSources(sources, (), dict(Counter(label.reading for label in labels.values())))


def cohort_cases(store: Store, folder: Path, *, truth: bool = False) -> CaseSources:
    """Return the cases of a cohort folder, without scans whose patients train here.

    Args:
        store: Whose split says who trains.
        folder: Of ``atlasloop phantom``, or laid out like it.
        truth: Take the hidden masks of all structures instead of those that a site shares.

    Raises:
        UsageError: The folder is no cohort.
    """
    cases = read_cohort(folder).cases
    training = _training_cases(store)
    seen = {
        case.case for case in cases if training and inspect_file(case.ct_path).case_id in training
    }
    sources = tuple(
        CaseSource(case.case, lambda c=case: _cohort_case(c, truth=truth))
        for case in cases
        if case.case not in seen
    )
    return CaseSources(sources, tuple(sorted(seen)), {"cohort": len(sources)} if sources else {})


class _StoredReferences(Mapping[str, PlacedMask | None]):
    """References of one case that are decoded when they are asked for."""

    def __init__(self, store: Store, labels: Mapping[str, LabelMask], grid: Grid) -> None:
        self._store = store
        self._labels = labels
        self._grid = grid

    def __getitem__(self, structure: str) -> PlacedMask | None:
        mask, box = read_reference(self._store, self._labels[structure], self._grid)
        return None if mask is None or box is None else PlacedMask(mask, box)

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)


def _workspace_case(
    store: Store, case: CaseRow, labels: Mapping[str, LabelVersion], role: Role
) -> ValidationCase:
    file = existing_file(case)
    volume = Volume.open(file.path, limits=volume_limits(store.settings.intake))
    hu = volume.read_ras(expected_sha256=file.sha256)
    masks = {structure: label.mask for structure, label in labels.items()}
    return ValidationCase(
        case_id=case.case_id,
        patient_id=case.patient_id,
        hu=hu,
        spacing_mm=volume.grid.ras_spacing_mm,
        references=_StoredReferences(store, masks, volume.grid),
        role=role,
    )


def _cohort_case(case: CohortCase, *, truth: bool) -> ValidationCase:
    hu, spacing_mm = case.read_hu()
    masks = case.read_truth() if truth else case.read_labels()
    return ValidationCase(
        case_id=case.case,
        patient_id=case.patient,
        hu=hu,
        spacing_mm=spacing_mm,
        references=crops(masks),
    )


def _training_cases(store: Store) -> set[str]:
    with store.read() as connection:
        roles = effective_roles(connection)
        cases = all_cases(connection)
    return {case.case_id for case in cases if roles.get(case.patient_id) == "train"}
