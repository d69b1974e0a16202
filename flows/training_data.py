"""Training samples from a workspace's labels and from cohort folders, cached on disk."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from configs.errors import CaseError, ModelError, Reason, UsageError
from configs.phantom import load_phantom_sites
from configs.taxonomy import load_taxonomy
from flows.limits import volume_limits
from flows.progress import Advance, silent
from model.inference_settings import InferenceSettings
from model.training_samples import (
    PREPARATION,
    PreparedSample,
    TrainingSample,
    prepare_sample,
    sample_arrays,
    sample_from_arrays,
)
from storage.canonical_json import JsonObject
from storage.cases import CaseRow, all_cases, existing_file
from storage.cohort import CohortCase, read_cohort
from storage.identity import case_id_of, content_id
from storage.label_masks import read_label
from storage.labels import LabelMask, dataset_labels, training_labels
from storage.sample_cache import SampleCache, StoredSample, sample_key
from storage.splits import frozen_cases, patient_roles
from storage.store import Store
from storage.volume import Volume

_LOG = logging.getLogger(__name__)

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
            that are not weak; where patients have roles, only those of the role ``train``.
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
        patient: Whose CT it is.
        of_cohort: Whether it comes from a cohort folder and not from the workspace.
        key: What names its prepared file: a hash of voxels, labels, spacing and structures.
    """

    name: str
    dataset: str
    annotated: tuple[str, ...]
    patient: str
    of_cohort: bool
    key: str = ""


@dataclass(frozen=True, slots=True)
class FailedTrainingCase:
    """A case that could not be read and was left out."""

    name: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What can be trained on.

    Attributes:
        structures: What the samples were prepared for, in order.
        samples: Mapped from the cache, in the order of ``cases``.
        cases: Sorted by dataset and name.
        failed: Cases that were left out.
        made: Samples that were not in the cache.
        file_bytes: Of all samples.
    """

    structures: tuple[str, ...]
    samples: tuple[PreparedSample, ...]
    cases: tuple[TrainingCase, ...]
    failed: tuple[FailedTrainingCase, ...]
    made: int
    file_bytes: int

    @property
    def cases_by_dataset(self) -> dict[str, int]:
        """Dataset -> number of cases, for a model card."""
        return dict(sorted(Counter(case.dataset for case in self.cases).items()))

    def sources(self, structure: str) -> tuple[str, ...]:
        """Return the datasets that annotate a structure."""
        return tuple(sorted({c.dataset for c in self.cases if structure in c.annotated}))


@dataclass(frozen=True, slots=True)
class _Labeled:
    """A case before it is read.

    Attributes:
        content: All that its voxels and labels depend on.
        load: Reads it.
    """

    case: TrainingCase
    content: JsonObject
    load: Callable[[], TrainingSample]


def training_data(
    sources: TrainingSources,
    structures: Sequence[str],
    inference: InferenceSettings,
    *,
    cache: SampleCache,
    workers: int = 1,
    advance: Advance = silent,
) -> TrainingData:
    """Prepare all labeled cases, or open what was prepared before.

    Each worker holds one CT and one mask at a time; prepared cases are files that are mapped, so
    memory does not grow with their number. What decides on a file is its key: voxels, labels,
    working spacing, window and list of structures. A damaged file is made again.

    Args:
        sources: See there.
        structures: What the network learns, in order; cases that annotate none are left out.
        inference: Working spacing and window.
        cache: Where prepared cases lie, as in ``SampleCache(store.workspace.samples_path)``.
        workers: Cases that are prepared at once.
        advance: Told the cases that are done.

    Raises:
        UsageError: A cohort is damaged, or holds a scan of a patient who is set aside.
        ModelError: No case is left.
        StorageError: A label or the cache cannot be read or written.
    """
    labeled = sorted(_labeled(sources, structures), key=_order)
    frozen = _set_aside(sources.store)
    maker = _Maker(cache, tuple(structures), inference)
    pool = ThreadPoolExecutor(max(1, workers))
    opened: list[tuple[_Labeled, StoredSample, bool]] = []
    failed: list[FailedTrainingCase] = []
    try:
        for one, outcome in zip(labeled, pool.map(maker.open_or_make, labeled), strict=True):
            if isinstance(outcome, FailedTrainingCase):
                failed.append(outcome)
            else:
                _refuse_frozen(one, outcome[0], frozen)
                opened.append((one, *outcome))
            advance(len(opened) + len(failed), len(labeled))
    finally:
        pool.shutdown(cancel_futures=True)
    if not opened:
        raise ModelError(
            "training needs at least one case with a label of what the network learns; there is "
            f"none, and {len(failed)} could not be read"
        )
    return TrainingData(
        structures=tuple(structures),
        samples=tuple(
            sample_from_arrays(stored.arrays, dataset=one.case.dataset, case_id=one.case.name)
            for one, stored, _ in opened
        ),
        cases=tuple(replace(one.case, key=maker.key(one)) for one, _, _ in opened),
        failed=tuple(failed),
        made=sum(is_new for _, _, is_new in opened),
        file_bytes=sum(stored.file_bytes for _, stored, _ in opened),
    )


def annotated_structures(sources: TrainingSources) -> tuple[str, ...]:
    """Return what some case annotates, in the taxonomy's order: what a new network can learn."""
    taxonomy = load_taxonomy()
    known = {name for one in _labeled(sources, taxonomy.names) for name in one.case.annotated}
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


class _Maker:
    def __init__(
        self, cache: SampleCache, structures: tuple[str, ...], inference: InferenceSettings
    ) -> None:
        self._cache, self._structures, self._inference = cache, structures, inference

    def open_or_make(self, one: _Labeled) -> tuple[StoredSample, bool] | FailedTrainingCase:
        """Return a case's file and whether it is new."""
        key = self.key(one)
        stored = self._cache.get(key)
        if stored is not None:
            return stored, False
        try:
            self._make(one, key)
        except CaseError as error:
            _LOG.warning("%s is not trained on: %s", one.case.name, error.reason)
            return FailedTrainingCase(one.case.name, error.reason, str(error))
        stored = self._cache.get(key)
        if stored is None:
            raise ModelError(f"the sample of {one.case.name} was deleted while it was made")
        return stored, True

    def key(self, one: _Labeled) -> str:
        """Return what names a case's file."""
        return sample_key(
            {
                "preparation": PREPARATION,
                "content": one.content,
                "structures": list(self._structures),
                "spacing_mm": list(self._inference.spacing_mm),
                "hu_window": list(self._inference.hu_window),
            }
        )

    def _make(self, one: _Labeled, key: str) -> None:
        sample = one.load()
        prepared = prepare_sample(
            sample,
            self._structures,
            self._inference,
            # The key, so that a file that is made again is the same.
            generator=torch.Generator().manual_seed(int(key[:15], 16)),
            device=torch.device("cpu"),
            name=one.case.name,
        )
        name = one.case.name
        if one.case.of_cohort:
            name = case_id_of(content_id(sample.hu, sample.spacing_mm))
        self._cache.put(key, sample_arrays(prepared), {"case_id": name})


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


def _labeled(sources: TrainingSources, structures: Sequence[str]) -> Iterator[_Labeled]:
    if sources.store is not None:
        labels = stored_labels(sources.store) if sources.labels is None else sources.labels
        yield from _of_store(sources.store, labels, structures)
    for case in sources.cohort_cases:
        annotated = tuple(name for name in structures if name in case.annotated)
        if annotated:
            yield _of_cohort(case, annotated)


def _of_store(
    store: Store, labels: Sequence[TrainingLabel], structures: Sequence[str]
) -> Iterator[_Labeled]:
    with store.read() as connection:
        cases = all_cases(connection)
    known: dict[str, dict[str, TrainingLabel]] = {}
    for label in labels:
        known.setdefault(label.case_id, {})[label.structure] = label
    for case in cases:
        of_case = known.get(case.case_id, {})
        used = {name: of_case[name] for name in structures if name in of_case}
        if used:
            yield _of_workspace_case(store, case, used)


def stored_labels(store: Store) -> list[TrainingLabel]:
    """Return what a workspace can train on, as ``TrainingSources`` says, sorted by case."""
    with store.read() as connection:
        labels = {**dataset_labels(connection), **training_labels(connection)}
        roles = patient_roles(connection)
        patients = {case.case_id: case.patient_id for case in all_cases(connection)}
    return [
        TrainingLabel(case_id, structure, label.mask, label.source)
        for (case_id, structure), label in sorted(labels.items())
        if not roles or roles.get(patients[case_id]) == "train"
    ]


def _of_workspace_case(
    store: Store, case: CaseRow, labels: Mapping[str, TrainingLabel]
) -> _Labeled:
    def load() -> TrainingSample:
        file = existing_file(case)
        volume = Volume.open(file.path, limits=volume_limits(store.settings.intake))
        hu = volume.read_ras(expected_sha256=file.sha256)
        shape = volume.grid.ras_shape
        masks = _Masks(
            tuple(labels), lambda name: read_label(store.objects, labels[name].mask, shape)
        )
        return TrainingSample(hu, volume.grid.ras_spacing_mm, masks)

    content = {
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
        patient=case.patient_id,
        of_cohort=False,
    )
    return _Labeled(training_case, content, load)


def _dataset_of(labels: Mapping[str, TrainingLabel]) -> str:
    """Return the dataset of most labels, the first by name among equals."""
    counts = Counter(
        label.source.removeprefix(_DATASET)
        for label in labels.values()
        if label.source.startswith(_DATASET)
    )
    if not counts:
        return REVIEW
    return min(counts, key=lambda name: (-counts[name], name))


def _of_cohort(case: CohortCase, annotated: tuple[str, ...]) -> _Labeled:
    def load() -> TrainingSample:
        hu, spacing_mm = case.read_hu()
        masks = _Masks(annotated, lambda name: case.read_label(name, hu.shape))
        return TrainingSample(hu, spacing_mm, masks)

    content = {
        "file": _file_sha256(case.ct_path),
        "labels": {name: _file_sha256(case.label_path(name)) for name in annotated},
    }
    training_case = TrainingCase(
        name=case.case,
        dataset=case.site,
        annotated=annotated,
        patient=case.patient,
        of_cohort=True,
    )
    return _Labeled(training_case, content, load)


def _file_sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _set_aside(store: Store | None) -> set[str]:
    if store is None:
        return set()
    with store.read() as connection:
        return frozen_cases(connection)


def _refuse_frozen(one: _Labeled, stored: StoredSample, frozen: set[str]) -> None:
    if one.case.of_cohort and stored.facts["case_id"] in frozen:
        raise UsageError(
            f"what trains a model must never judge it: {one.case.name} is a scan of "
            f"{stored.facts['case_id']}, whose patient is set aside for the gate or the report; "
            "leave it out of the cohorts"
        )


def _order(one: _Labeled) -> tuple[str, str]:
    return one.case.dataset, one.case.name
