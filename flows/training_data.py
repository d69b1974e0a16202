"""Labeled cases on the working grid, prepared once and mapped from files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch

from configs.errors import CaseError, ModelError, Reason, UsageError
from flows.progress import Advance, silent
from flows.training_cases import LabeledCase, TrainingCase, TrainingSources, labeled_cases
from model.inference_settings import InferenceSettings
from model.training_samples import (
    PREPARATION,
    PreparedSample,
    prepare_sample,
    sample_arrays,
    sample_from_arrays,
)
from storage.identity import case_id_of, content_id
from storage.sample_cache import SampleCache, StoredSample, sample_key
from storage.splits import frozen_cases
from storage.store import Store

_LOG = logging.getLogger(__name__)


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
    labeled = labeled_cases(sources, structures)
    frozen = _set_aside(sources.store)
    maker = _Maker(cache, tuple(structures), inference)
    pool = ThreadPoolExecutor(max(1, workers))
    opened: list[tuple[TrainingCase, _Opened]] = []
    failed: list[FailedTrainingCase] = []
    try:
        for one, outcome in zip(labeled, pool.map(maker.open_or_make, labeled), strict=True):
            if isinstance(outcome, FailedTrainingCase):
                failed.append(outcome)
            else:
                _refuse_frozen(one, outcome.stored, frozen)
                opened.append((one.case, outcome))
            advance(len(opened) + len(failed), len(labeled))
    finally:
        pool.shutdown(cancel_futures=True)
    if not opened:
        unread = "".join(f"; {one.name} cannot be read: {one.message}" for one in failed[:3])
        raise ModelError(
            "training needs at least one case with a label of what the network learns; there is "
            f"none{unread}"
        )
    return TrainingData(
        structures=tuple(structures),
        samples=tuple(
            sample_from_arrays(file.stored.arrays, dataset=case.dataset, case_id=case.name)
            for case, file in opened
        ),
        cases=tuple(replace(case, key=file.key) for case, file in opened),
        failed=tuple(failed),
        made=sum(file.is_new for _, file in opened),
        file_bytes=sum(file.stored.file_bytes for _, file in opened),
    )


@dataclass(frozen=True, slots=True)
class _Opened:
    """A prepared file."""

    key: str
    stored: StoredSample
    is_new: bool


class _Maker:
    def __init__(
        self, cache: SampleCache, structures: tuple[str, ...], inference: InferenceSettings
    ) -> None:
        self._cache, self._structures, self._inference = cache, structures, inference

    def open_or_make(self, one: LabeledCase) -> _Opened | FailedTrainingCase:
        """Return a case's file."""
        key = self._key(one)
        stored = self._cache.get(key)
        if stored is not None:
            return _Opened(key, stored, is_new=False)
        try:
            self._make(one, key)
        except CaseError as error:
            _LOG.warning("%s is not trained on: %s", one.case.name, error.reason)
            return FailedTrainingCase(one.case.name, error.reason, str(error))
        stored = self._cache.get(key)
        if stored is None:
            raise ModelError(f"the sample of {one.case.name} was deleted while it was made")
        return _Opened(key, stored, is_new=True)

    def _key(self, one: LabeledCase) -> str:
        return sample_key(
            {
                "preparation": PREPARATION,
                "content": one.content(),
                "structures": list(self._structures),
                "spacing_mm": list(self._inference.spacing_mm),
                "hu_window": list(self._inference.hu_window),
            }
        )

    def _make(self, one: LabeledCase, key: str) -> None:
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


def _set_aside(store: Store | None) -> set[str]:
    if store is None:
        return set()
    with store.read() as connection:
        return frozen_cases(connection)


def _refuse_frozen(one: LabeledCase, stored: StoredSample, frozen: set[str]) -> None:
    if one.case.of_cohort and stored.facts["case_id"] in frozen:
        raise UsageError(
            f"what trains a model must never judge it: {one.case.name} is a scan of "
            f"{stored.facts['case_id']}, whose patient is set aside for the gate or the report; "
            "leave it out of the cohorts"
        )
