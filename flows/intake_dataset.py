"""Take a public dataset in: its CTs become cases, its labels versions of ``dataset:ID``."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from configs.connectors import Dataset, load_dataset
from configs.errors import CaseError, Reason, SomeCasesFailedError, StorageError
from configs.taxonomy import load_taxonomy
from flows.dataset_labels import CaseLabelReader, LabelFinding
from flows.intake import IntakeSummary, intake
from flows.limits import volume_limits
from flows.progress import Advance, silent
from flows.runs import recorded_run
from storage.dataset_cases import (
    DatasetMembership,
    dataset_cases,
    record_dataset_case,
    untold_overlaps,
)
from storage.dataset_files import DatasetCase, DatasetFolder, find_dataset_files
from storage.label_import import case_grid
from storage.labels import ABSENT, LabelMask
from storage.masks import encode_mask
from storage.predictions import flat_box
from storage.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCaseImport:
    """A case of the dataset that is in the workspace now.

    Attributes:
        name: Its name in the dataset.
        annotated: Structures that were looked for.
        absent: Those of them without a voxel.
        weak: Those of them that are kept for comparison only.
        changed: Those of them that are new or differ from the last import.
        findings: What is odd about its labels.
        has_labels: Whether the dataset has label files for it.
    """

    name: str
    case_id: str
    annotated: tuple[str, ...]
    absent: tuple[str, ...]
    weak: tuple[str, ...]
    changed: tuple[str, ...]
    findings: tuple[LabelFinding, ...]
    has_labels: bool


@dataclass(frozen=True, slots=True)
class RefusedLabels:
    """A case whose labels were refused; its CT, if readable, is in the workspace."""

    name: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class StructureCount:
    """How many cases say what about a structure; ``annotated`` is the sum of the other two."""

    structure: str
    annotated: int
    present: int
    absent: int
    weak: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetIntakeSummary:
    """What a dataset brought.

    Attributes:
        images: What became of its CTs.
        excluded: Cases that are passed over, and why.
        labels_without_ct: Label files without a CT beside them.
        overlapping: Datasets in the workspace that share scans with this one, which no number
            tells: equal and similar CTs alone are recognised.
    """

    run_id: str
    dataset: str
    license: str
    images: IntakeSummary
    cases: tuple[DatasetCaseImport, ...]
    refused: tuple[RefusedLabels, ...]
    excluded: tuple[tuple[str, str], ...]
    labels_without_ct: int
    overlapping: tuple[str, ...]

    def structures(self) -> tuple[StructureCount, ...]:
        """Return the counts of every structure that any case annotates, in taxonomy order."""
        annotated = Counter(name for case in self.cases for name in case.annotated)
        absent = Counter(name for case in self.cases for name in case.absent)
        weak = Counter(name for case in self.cases for name in case.weak)
        return tuple(
            StructureCount(name, count, count - absent[name], absent[name], weak[name])
            for name in load_taxonomy().names
            if (count := annotated[name])
        )

    def raise_for_refusals(self) -> None:
        """Raise SomeCasesFailedError when a CT was quarantined or labels were refused."""
        if self.refused or self.images.refused:
            raise SomeCasesFailedError(
                f"{len(self.images.refused)} files were quarantined, labels of {len(self.refused)} "
                "cases were refused"
            )


def intake_dataset(
    store: Store,
    dataset_id: str,
    folder: Path,
    *,
    patients_csv: Path | None = None,
    workers: int = 2,
    advance: Advance = silent,
) -> DatasetIntakeSummary:
    """Register a dataset's CTs and record its labels under the names of our structures.

    What is known already is not written again, so a run that was stopped is simply repeated.

    Args:
        store: The workspace.
        dataset_id: A connector's id.
        folder: Where the dataset lies.
        patients_csv: Table with the columns path and patient.
        workers: CTs read at a time.
        advance: Told how many steps of two a case are done.

    Raises:
        UsageError: The dataset is unknown, needs another reader, or lies otherwise.
        StorageError: The workspace cannot be written to.
    """
    dataset = load_dataset(dataset_id)
    found = find_dataset_files(folder.resolve(), dataset)
    total = 2 * len(found.cases)
    images = intake(
        store,
        [case.image for case in found.cases],
        patients_csv=patients_csv,
        workers=workers,
        advance=lambda done, _: advance(done, total),
    )
    case_ids = {file.path: file.case_id for file in images.taken}
    cases: list[DatasetCaseImport] = []
    refused = [_ambiguous(name) for name in found.ambiguous]
    with recorded_run(store, "intake-dataset", {"dataset": dataset.id, "cases": total}) as run_id:
        for number, case in enumerate(found.cases, start=1):
            case_id = case_ids.get(case.image.resolve())
            if case_id is not None:
                try:
                    cases.append(_import_case(store, dataset, case, case_id))
                except CaseError as error:
                    refused.append(RefusedLabels(case.name, error.reason, str(error)))
                    _LOG.warning("%s: labels refused: %s", case_id, error.reason)
            advance(len(found.cases) + number, total)
    return _summary(store, dataset, found, images, (run_id, cases, refused))


def _summary(
    store: Store,
    dataset: Dataset,
    found: DatasetFolder,
    images: IntakeSummary,
    done: tuple[str, list[DatasetCaseImport], list[RefusedLabels]],
) -> DatasetIntakeSummary:
    run_id, cases, refused = done
    with store.read() as connection:
        present = {member.dataset for member in dataset_cases(connection)}
    return DatasetIntakeSummary(
        run_id=run_id,
        dataset=dataset.id,
        license=dataset.license.flag,
        images=images,
        cases=tuple(cases),
        refused=tuple(refused),
        excluded=found.excluded,
        labels_without_ct=found.without_ct,
        overlapping=untold_overlaps(dataset, present),
    )


def _ambiguous(name: str) -> RefusedLabels:
    return RefusedLabels(
        name,
        Reason.AMBIGUOUS_FILES,
        f"a case has one CT, case {name} has several; leave one of them in the folder",
    )


def _import_case(
    store: Store, dataset: Dataset, case: DatasetCase, case_id: str
) -> DatasetCaseImport:
    """Read all labels of a case, then store and commit them together."""
    labels: dict[str, LabelMask] = {}
    findings: tuple[LabelFinding, ...] = ()
    weak = dataset.weak_in(case.number)
    if case.has_labels and dataset.map:
        reader = CaseLabelReader(dataset, case, volume_limits(store.settings.intake))
        labels = _stored_masks(store, reader, case_id)
        findings = tuple(reader.findings)
        weak |= reader.demoted
    membership = DatasetMembership(
        case_id=case_id,
        dataset=dataset.id,
        name=case.name,
        license=dataset.license.flag,
        annotated=load_taxonomy().select(list(labels)),
        weak=load_taxonomy().select([name for name in labels if name in weak]),
    )
    changed = record_dataset_case(store, membership, labels)
    _LOG.info("%s: %d labels of %s changed", case_id, len(changed), dataset.id)
    return DatasetCaseImport(
        name=case.name,
        case_id=case_id,
        annotated=membership.annotated,
        absent=tuple(name for name in membership.annotated if labels[name].object is None),
        weak=membership.weak,
        changed=changed,
        findings=findings,
        has_labels=case.has_labels,
    )


def _stored_masks(store: Store, reader: CaseLabelReader, case_id: str) -> dict[str, LabelMask]:
    with store.read() as connection:
        own_grid = case_grid(store, connection, case_id)
    if own_grid is None:
        raise StorageError(
            f"{case_id} was registered a moment ago and is gone; run `atlasloop verify`"
        )
    i, j, k = own_grid.ras_shape
    encoded = {
        structure: encode_mask(mask, ((0, i), (0, j), (0, k)), own_grid)
        for structure, mask in reader.masks()
    }
    return {
        structure: LabelMask(store.objects.put(mask.data), flat_box(mask.box), mask.voxels)
        if mask.data is not None and mask.box is not None
        else ABSENT
        for structure, mask in encoded.items()
    }
