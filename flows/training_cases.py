"""Which labeled cases a training can take, from a workspace's labels and from cohort folders."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.errors import ModelError
from configs.phantom import load_phantom_sites
from configs.taxonomy import load_taxonomy
from flows.limits import volume_limits
from model.training_samples import TrainingSample
from storage.canonical_json import JsonObject
from storage.cases import CaseRow, all_cases, existing_file
from storage.cohort import CohortCase, read_cohort
from storage.dataset_cases import dataset_cases
from storage.label_masks import read_label
from storage.labels import LabelMask, dataset_labels, training_labels
from storage.splits import patient_roles
from storage.store import Store
from storage.volume import Volume

REVIEW = "review"
"""Dataset of cases whose labels people gave in the workspace."""
_DATASET = "dataset:"

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TrainingLabel:
    """What is known of one structure of one case; absent where the mask has no object."""

    case_id: str
    structure: str
    mask: LabelMask
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSources:
    """Where labeled cases come from.

    Attributes:
        store: A workspace: structures that a human judged or, where nobody has, a dataset's labels
            that are not weak; of patients whose role is ``train``, and of no others.
        labels: What the workspace's cases are trained on instead; None takes all that the store
            holds. Whose patients may train is then the caller's affair.
        cohort_cases: Cases of cohort folders; none may be a scan of a patient whom the workspace
            sets aside to judge or to be reported.
    """

    store: Store | None = None
    labels: Sequence[TrainingLabel] | None = None
    cohort_cases: Sequence[CohortCase] = ()


@dataclass(frozen=True, slots=True)
class TrainingCase:
    """A case that can be trained on.

    Attributes:
        name: Its case id, or its name in the cohort.
        dataset: Where most of its labels come from: a dataset, a cohort's site, or ``review``.
        annotated: Structures that are known in it, present or absent.
        datasets: All that its CT or labels come from; their terms bind who trains on it.
        patient: Whose CT it is.
        of_cohort: Whether it comes from a cohort folder and not from the workspace.
        key: What names its prepared file: a hash of voxels, labels, spacing and structures.
    """

    name: str
    dataset: str
    annotated: tuple[str, ...]
    datasets: tuple[str, ...]
    patient: str
    of_cohort: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class LabeledCase:
    """A case before it is read.

    Attributes:
        content: Returns all that its voxels and labels depend on; hashes the files of a cohort.
        load: Reads it.
    """

    case: TrainingCase
    content: Callable[[], JsonObject]
    load: Callable[[], TrainingSample]


def labeled_cases(sources: TrainingSources, structures: Sequence[str]) -> list[LabeledCase]:
    """Return the cases that annotate any of the structures, by dataset and name; reads no CT.

    Raises:
        UsageError: A cohort is damaged.
    """
    return sorted(_labeled(sources, structures), key=lambda one: (one.case.dataset, one.case.name))


def _labeled(sources: TrainingSources, structures: Sequence[str]) -> Iterator[LabeledCase]:
    if sources.store is not None:
        labels = stored_labels(sources.store) if sources.labels is None else sources.labels
        yield from _of_store(sources.store, labels, structures)
    for case in sources.cohort_cases:
        annotated = tuple(name for name in structures if name in case.annotated)
        if annotated:
            yield _of_cohort(case, annotated)


def annotated_structures(sources: TrainingSources) -> tuple[str, ...]:
    """Return what some case annotates, in the taxonomy's order: what a new network can learn."""
    taxonomy = load_taxonomy()
    known = {name for one in labeled_cases(sources, taxonomy.names) for name in one.case.annotated}
    return taxonomy.select(tuple(known))


def trainable_cases(folders: Sequence[Path]) -> list[CohortCase]:
    """Return cohorts' cases without those of the unseen site.

    Raises:
        UsageError: A folder is no cohort.
        ModelError: Nothing is left.
    """
    unseen = {site.name for site in load_phantom_sites().sites if site.role == "unseen"}
    kept = [
        case for folder in folders for case in read_cohort(folder).cases if case.site not in unseen
    ]
    if folders and not kept:
        names = ", ".join(str(folder) for folder in folders)
        raise ModelError(f"{names} holds no case to train on: its sites are never trained on")
    return kept


def stored_labels(store: Store) -> list[TrainingLabel]:
    """Return what a workspace can train on, as ``TrainingSources`` says, sorted by case.

    With ``review.four_eyes`` a review counts once a second reader approved it.
    Patients without a role give nothing: one that trains today must not judge tomorrow.
    """
    with store.read() as connection:
        approved_only = store.settings.review.four_eyes
        reviews = training_labels(connection, approved_only=approved_only)
        labels = {**dataset_labels(connection), **reviews}
        roles = patient_roles(connection)
        patients = {case.case_id: case.patient_id for case in all_cases(connection)}
    return [
        TrainingLabel(case_id, structure, label.mask, label.source)
        for (case_id, structure), label in sorted(labels.items())
        if roles.get(patients[case_id]) == "train"
    ]


def _of_store(
    store: Store, labels: Sequence[TrainingLabel], structures: Sequence[str]
) -> Iterator[LabeledCase]:
    with store.read() as connection:
        cases = all_cases(connection)
        members = dataset_cases(connection)
    origins: dict[str, set[str]] = {}
    for member in members:
        origins.setdefault(member.case_id, set()).add(member.dataset)
    known: dict[str, dict[str, TrainingLabel]] = {}
    for label in labels:
        known.setdefault(label.case_id, {})[label.structure] = label
    for case in cases:
        of_case = known.get(case.case_id, {})
        used = {name: of_case[name] for name in structures if name in of_case}
        if used:
            yield _of_workspace_case(store, case, used, origins.get(case.case_id, set()))


def _of_workspace_case(
    store: Store, case: CaseRow, labels: Mapping[str, TrainingLabel], origins: Collection[str]
) -> LabeledCase:
    def load() -> TrainingSample:
        file = existing_file(case)
        volume = Volume.open(file.path, limits=volume_limits(store.settings.intake))
        hu = volume.read_ras(expected_sha256=file.sha256)
        shape = volume.grid.ras_shape
        masks = _Masks(
            tuple(labels), lambda name: read_label(store.objects, labels[name].mask, shape)
        )
        return TrainingSample(hu, volume.grid.ras_spacing_mm, masks)

    def content() -> JsonObject:
        return {
            "voxels": case.content_id,
            "labels": {
                name: [label.mask.object, None if label.mask.box is None else list(label.mask.box)]
                for name, label in labels.items()
            },
        }

    training_case = TrainingCase(
        name=case.case_id,
        dataset=_dataset_of(labels),
        annotated=tuple(labels),
        datasets=tuple(sorted({*origins, *_imported(labels)})),
        patient=case.patient_id,
        of_cohort=False,
    )
    return LabeledCase(training_case, content, load)


def _dataset_of(labels: Mapping[str, TrainingLabel]) -> str:
    """Return the dataset of most labels, the first by name among equals."""
    counts = Counter(_imported(labels))
    if not counts:
        return REVIEW
    return min(counts, key=lambda name: (-counts[name], name))


def _imported(labels: Mapping[str, TrainingLabel]) -> list[str]:
    """Return the dataset of each label that comes from one."""
    return [
        label.source.removeprefix(_DATASET)
        for label in labels.values()
        if label.source.startswith(_DATASET)
    ]


def _of_cohort(case: CohortCase, annotated: tuple[str, ...]) -> LabeledCase:
    def load() -> TrainingSample:
        hu, spacing_mm = case.read_hu()
        masks = _Masks(annotated, lambda name: case.read_label(name, hu.shape))
        return TrainingSample(hu, spacing_mm, masks)

    def content() -> JsonObject:
        return {
            "file": _file_sha256(case.ct_path),
            "labels": {name: _file_sha256(case.label_path(name)) for name in annotated},
        }

    training_case = TrainingCase(
        name=case.case,
        dataset=case.site,
        annotated=annotated,
        datasets=(),
        patient=case.patient,
        of_cohort=True,
    )
    return LabeledCase(training_case, content, load)


def _file_sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Masks(Mapping[str, Mask]):
    """Masks that are read when they are asked for, so that one is in memory at a time."""

    def __init__(self, names: Sequence[str], read: Callable[[str], Mask]) -> None:
        self._names, self._read = tuple(names), read

    def __getitem__(self, name: str) -> Mask:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
