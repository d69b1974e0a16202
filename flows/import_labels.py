"""Importing labels of a dataset for cases that are in the workspace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, Reason, SomeCasesFailedError, UsageError
from configs.taxonomy import load_taxonomy
from flows.limits import volume_limits
from flows.progress import Advance, silent
from flows.runs import recorded_run
from model.flat_labels import unstack
from storage.grid import Grid
from storage.grid_match import check_same_grid
from storage.intake_record import inspect_file
from storage.label_file import read_label_file
from storage.label_import import case_grid, check_dataset_name, record_dataset_labels
from storage.label_sets import CaseLabels, LabelLayout, LabelNaming, LabelSet, find_label_set
from storage.labels import ABSENT, LabelMask
from storage.masks import EncodedMask, encode_mask
from storage.predictions import flat_box
from storage.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImportedCase:
    """A case whose labels were read.

    Attributes:
        key: The case's name in the folder.
        changed: Structures that are new or differ from the last import; empty when nothing was
            written.
        absent: Structures that the dataset looked for and did not find.
        inexact: Structure -> (voxels now, voxels that our own side-car gives it), where a flat map
            could not give the mask back.
    """

    key: str
    case_id: str
    changed: tuple[str, ...]
    absent: tuple[str, ...]
    inexact: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class FailedImport:
    """A case whose labels were refused; nothing of it was written."""

    key: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import did.

    Attributes:
        layout: How the folder was read.
        unknown_names: Names of files or labels that are no structure of ours and were passed over.
    """

    run_id: str
    dataset: str
    layout: LabelLayout
    cases: tuple[ImportedCase, ...]
    failed: tuple[FailedImport, ...]
    unknown_names: tuple[str, ...]

    def raise_for_failures(self) -> None:
        """Raise SomeCasesFailedError when a case was refused."""
        if self.failed:
            raise SomeCasesFailedError(f"labels of {len(self.failed)} cases were refused")


def import_labels(
    store: Store,
    folder: Path,
    *,
    dataset: str,
    layout: LabelLayout = "auto",
    naming: LabelNaming | None = None,
    advance: Advance = silent,
) -> ImportSummary:
    """Record a dataset's labels as versions of the source ``dataset:NAME``.

    A case is matched by the content of the CT that lies beside its labels, else by a case id as the
    name of its folder or file. Equal labels are recorded once, however often they are imported.

    Args:
        store: The workspace; the CTs were taken in before.
        folder: Holds the labels, see ``storage.label_sets.find_label_set``.
        dataset: Name of the source.
        layout: How the folder is laid out.
        naming: What the files do not say themselves.
        advance: Told how many cases are done.

    Raises:
        UsageError: The folder holds no labels, or a name is not usable.
        StorageError: The workspace cannot be written to.
    """
    check_dataset_name(dataset)
    found = find_label_set(folder, layout, naming)
    if not any(case.annotated for case in found.cases):
        raise UsageError(f"no label in {folder} is a structure of ours; see --name")
    facts = {"dataset": dataset, "layout": found.layout, "cases": len(found.cases)}
    with recorded_run(store, "import-labels", facts) as run_id:
        return _imported(store, found, dataset, run_id, advance)


def _imported(
    store: Store, found: LabelSet, dataset: str, run_id: str, advance: Advance
) -> ImportSummary:
    cases: list[ImportedCase] = []
    failed: list[FailedImport] = []
    for number, labels in enumerate(found.cases, start=1):
        try:
            cases.append(_import_case(store, labels, dataset))
        except CaseError as error:
            failed.append(FailedImport(labels.key, error.reason, str(error)))
            # The key is a name of the folder's own: it stays out of the log.
            _LOG.warning("labels of case number %d refused: %s", number, error.reason)
        advance(number, len(found.cases))
    return ImportSummary(
        run_id, dataset, found.layout, tuple(cases), tuple(failed), found.unknown_names
    )


def _import_case(store: Store, labels: CaseLabels, dataset: str) -> ImportedCase:
    """Read all masks of a case, then store and commit them together."""
    case_id, own_grid, beside = _matched(store, labels)
    encoded: dict[str, EncodedMask] = {}
    full_box = ((0, own_grid.ras_shape[0]), (0, own_grid.ras_shape[1]), (0, own_grid.ras_shape[2]))
    for structure, mask in _masks(store, labels, beside):
        if structure in labels.annotated:
            encoded[structure] = encode_mask(mask, full_box, own_grid)
    stored = {
        structure: _stored(store, encoded[structure]) if structure in encoded else ABSENT
        for structure in labels.annotated
    }
    changed = record_dataset_labels(store, case_id, dataset, stored)
    _LOG.info("%s: %d labels of %s changed", case_id, len(changed), dataset)
    inexact = {
        structure: (mask.voxels, labels.expected_voxels[structure])
        for structure, mask in stored.items()
        if labels.expected_voxels.get(structure, mask.voxels) != mask.voxels
    }
    absent = tuple(name for name, mask in stored.items() if mask.object is None)
    return ImportedCase(labels.key, case_id, changed, absent, inexact)


def _matched(store: Store, labels: CaseLabels) -> tuple[str, Grid, Grid]:
    """Return the case's id, the grid to make masks on, and the grid that the files must lie on."""
    case_id, beside = labels.key, None
    if labels.ct is not None:
        record = inspect_file(labels.ct, volume_limits(store.settings.intake))
        case_id, beside = record.case_id, record.grid
    with store.read() as connection:
        own_grid = case_grid(store, connection, case_id)
    if own_grid is None:
        how = "its CT" if labels.ct is not None else "its name, there being no CT beside it,"
        raise CaseError(
            Reason.UNKNOWN_CASE,
            f"{labels.key} must be a case of this workspace, but {how} is none; run `atlasloop "
            "intake` on the CT first",
        )
    return case_id, own_grid, beside or own_grid


def _masks(
    store: Store, labels: CaseLabels, grid: Grid
) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    """Yield structure and mask, RAS order, one at a time."""
    limits = volume_limits(store.settings.intake)
    for structure, path in labels.masks.items():
        read = read_label_file(path, limits, allowed=(1,))
        check_same_grid(read.grid, grid, path.name)
        yield structure, read.values_ras.astype(np.bool_)
    if labels.combined is not None:
        known = [value for values in labels.values.values() for value in values]
        read = read_label_file(labels.combined, limits, allowed=(*known, *labels.other_values))
        check_same_grid(read.grid, grid, labels.combined.name)
        for structure, mask in unstack(read.values_ras, labels.values, load_taxonomy()):
            if structure not in labels.masks:
                yield structure, mask


def _stored(store: Store, encoded: EncodedMask) -> LabelMask:
    if encoded.data is None or encoded.box is None:
        return ABSENT
    return LabelMask(store.objects.put(encoded.data), flat_box(encoded.box), encoded.voxels)
