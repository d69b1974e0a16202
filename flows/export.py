"""Exporting a release: full-size masks, combined maps, label map and side-cars of a layout."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, Reason, SomeCasesFailedError, UsageError
from configs.layouts import LayoutName, load_layouts
from configs.taxonomy import load_taxonomy
from flows.export_layouts import (
    DATASET,
    LABEL_MAP,
    dataset_json,
    export_layout,
    label_map,
)
from flows.limits import volume_limits
from flows.progress import Advance, silent
from flows.provenance import ExportedCase, ExportedLabel, listed_files, provenance
from flows.runs import recorded_run
from model.flat_labels import unstack
from storage.canonical_json import JsonObject
from storage.cases import CaseFile, all_cases
from storage.ct_copy import check_unchanged, copy_ct, is_packed
from storage.export_folder import ExportedFile, ExportFolder, claimed_folder
from storage.grid import Grid
from storage.label_masks import read_label
from storage.mask_file import write_uint8_nifti
from storage.predictions import manifest_grid
from storage.readers import who_acts
from storage.release_bounds import bounds_of
from storage.released_labels import ReleasedCase
from storage.releases import Release, freeze_release, read_release
from storage.store import Store
from storage.volume import Volume

_LOG = logging.getLogger(__name__)

CtMode = Literal["copy", "link", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What to export.

    Attributes:
        release: Name or id of a release; the labels as they are now when left out. A name that no
            release has yet is given to them.
        reviewed_only: When freezing now, leave out what nobody judged.
        require_approval: When freezing now, leave out what no second reader approved; a release
            that was frozen before is refused when it holds such a label.
        structures: Only these; all when empty.
        cases: Only these; all when empty.
        ct: ``copy``: the CT's voxels in a clean file; ``link``: a symbolic link where the source is
            ``.nii.gz``, else a copy; ``none``: labels alone.
        by: Who freezes a release now; the reader of the settings when left out.
    """

    layout: LayoutName
    release: str | None = None
    reviewed_only: bool = False
    require_approval: bool = False
    structures: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    ct: CtMode = "copy"
    by: str | None = None


@dataclass(frozen=True, slots=True)
class FailedExport:
    """A case that is not in the export."""

    case_id: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """What an export did.

    Attributes:
        written: Cases written now.
        kept: Cases that were complete.
        structures: What the label map holds.
        unreviewed: Labels that nobody judged as a whole.
        left_out: Labels that were rejected, or are not approved where that is required; a combined
            map shows background there.
    """

    run_id: str
    release_id: str
    release: str
    layout: LayoutName
    written: tuple[str, ...]
    kept: tuple[str, ...]
    failed: tuple[FailedExport, ...]
    structures: tuple[str, ...]
    unreviewed: int
    left_out: int

    def raise_for_failures(self) -> None:
        """Raise SomeCasesFailedError when a case is missing."""
        if self.failed:
            raise SomeCasesFailedError(f"{len(self.failed)} cases could not be exported")


def export(
    store: Store, out: Path, options: ExportOptions, *, advance: Advance = silent
) -> ExportSummary:
    """Write a release into a folder; what is complete there is kept, so a killed run goes on.

    Memory: a combined map, two masks and a crop of the largest case, one byte a voxel each.

    Args:
        store: The workspace.
        out: New, empty, or holding the same export.
        options: What to export.
        advance: Told how many cases are done.

    Raises:
        UsageError: Release, case or structure is unknown, or the folder holds something else.
        StorageError: A mask is missing, or the disk is full.
    """
    release = _release(store, options)
    cases = _selected(release, options)
    structures = load_taxonomy().select([x.structure for case in cases for x in case.labels])
    claim: JsonObject = {
        "schema": 1,
        "release_id": release.release_id,
        "layout": options.layout,
        "ct": options.ct,
        "structures": list(structures),
        "cases": [case.case_id for case in cases],
    }
    facts = {"release_id": release.release_id, "layout": options.layout, "cases": len(cases)}
    with (
        claimed_folder(out, claim, locks=store.workspace.runs_path) as folder,
        recorded_run(store, "export", facts) as run_id,
    ):
        exporter = _Exporter(store, folder, release, options, structures)
        return exporter.run(run_id, cases, advance)


def _release(store: Store, options: ExportOptions) -> Release:
    """Return the release of that name, or freeze one now."""
    if options.release is not None:
        try:
            known = read_release(store, options.release)
        except UsageError:
            if options.release.startswith("r-"):
                raise
        else:
            return _checked(known, options)
    return freeze_release(
        store,
        options.release,
        reviewed_only=options.reviewed_only,
        require_approval=options.require_approval,
        by=who_acts(store.settings.review, options.by),
    )


def _checked(release: Release, options: ExportOptions) -> Release:
    """Return a release that was frozen before; refuse one that lacks the approval asked for."""
    labels = [label for case in release.cases for label in case.labels]
    missing = sum(label.approved_by is None for label in labels)
    if options.require_approval and missing:
        raise UsageError(
            f"--require-approval takes approved labels only, and {missing} of {len(labels)} in "
            f"release {release.name} were not when it was frozen; freeze another under a new name"
        )
    return release


def _selected(release: Release, options: ExportOptions) -> list[ReleasedCase]:
    """Return the wanted cases with their wanted labels."""
    chosen = [release.case(case_id) for case_id in sorted(set(options.cases))]
    wanted = load_taxonomy().select(options.structures)
    selected = []
    for case in chosen or release.cases:
        labels = tuple(x for x in case.labels if not wanted or x.structure in wanted)
        left_out = tuple(x for x in case.left_out if not wanted or x.structure in wanted)
        if labels:
            selected.append(replace(case, labels=labels, left_out=left_out))
    if not selected:
        raise UsageError(f"release {release.name} has no label of {', '.join(wanted)}")
    return selected


class _Exporter:
    """One run into one claimed folder."""

    def __init__(
        self,
        store: Store,
        folder: ExportFolder,
        release: Release,
        options: ExportOptions,
        structures: Sequence[str],
    ) -> None:
        self._store = store
        self._folder = folder
        self._release = release
        self._options = options
        self._structures = tuple(structures)
        self._layout = export_layout(options.layout)
        self._values = load_layouts()[options.layout].label_values(structures)
        with store.read() as connection:
            self._rows = {row.case_id: row for row in all_cases(connection)}

    def run(self, run_id: str, cases: Sequence[ReleasedCase], advance: Advance) -> ExportSummary:
        """Write what is missing, case by case, then the files about all of them."""
        written: list[str] = []
        kept: list[str] = []
        failed: list[FailedExport] = []
        content = label_map(self._options.layout, self._values, self._release)
        self._folder.write_json(LABEL_MAP, {**content, **self._bounds()})
        for number, case in enumerate(cases, start=1):
            try:
                if self._is_complete(case):
                    kept.append(case.case_id)
                else:
                    self._write_case(case)
                    written.append(case.case_id)
            except CaseError as error:
                failed.append(FailedExport(case.case_id, error.reason, str(error)))
                _LOG.warning("%s not exported: %s", case.case_id, error.reason)
            advance(number, len(cases))
        self._write_dataset(sorted(written + kept))
        labels = [label for case in cases for label in case.labels]
        return ExportSummary(
            run_id=run_id,
            release_id=self._release.release_id,
            release=self._release.name,
            layout=self._options.layout,
            written=tuple(written),
            kept=tuple(kept),
            failed=tuple(failed),
            structures=self._structures,
            unreviewed=sum(label.review != "reviewed" for label in labels),
            left_out=sum(len(case.left_out) for case in cases),
        )

    def _bounds(self) -> dict[str, object]:
        """Return what was said of the release's unreviewed labels; nothing where nothing was."""
        with self._store.read() as connection:
            said = bounds_of(connection, self._release.release_id)
        return {"bounds": [one.statement(self._store.objects) for one in said]} if said else {}

    def _is_complete(self, case: ReleasedCase) -> bool:
        side_car = self._folder.read_json(self._layout.provenance.format(case=case.case_id))
        files = None if side_car is None else listed_files(side_car, self._release)
        return files is not None and all(self._folder.is_whole(file) for file in files)

    def _write_dataset(self, case_ids: Sequence[str]) -> None:
        content = dataset_json(self._options.layout, self._values, self._release, case_ids)
        if content is not None:
            self._folder.write_json(DATASET, content)

    def _write_case(self, case: ReleasedCase) -> None:
        """Write CT, masks and combined map, and last the side-car, which closes the case."""
        grid, ct = self._write_ct(case)
        labels, masks = self._write_labels(case, grid)
        exported = ExportedCase(
            case=case,
            grid=grid,
            ct=None if ct is None else ct.path,
            labels=labels,
            left_out=case.left_out,
            files=[*([] if ct is None else [ct]), *masks],
        )
        content = provenance(exported, self._release, self._options.layout)
        self._folder.write_json(self._layout.provenance.format(case=case.case_id), content)
        _LOG.info("%s exported", case.case_id)

    def _write_ct(self, case: ReleasedCase) -> tuple[Grid, ExportedFile | None]:
        """Write the CT from the first of the case's files that is fit; return its grid."""
        if self._options.ct == "none":
            with self._store.read() as connection:
                return manifest_grid(self._store, case.prediction_id, connection), None
        fault = CaseError(Reason.MISSING_FILE, f"no file of {case.case_id} is known")
        for source in self._rows[case.case_id].files:
            try:
                limits = volume_limits(self._store.settings.intake)
                volume = Volume.open(source.path, limits=limits)
                return volume.grid, self._place_ct(case.case_id, source, volume)
            except CaseError as error:
                fault = error
        raise fault

    def _place_ct(self, case_id: str, source: CaseFile, volume: Volume) -> ExportedFile:
        path = self._layout.ct.format(case=case_id)
        if self._options.ct == "link" and is_packed(source):
            check_unchanged(source, volume)
            return self._folder.link(path, source.path, source.sha256)

        def write(file: BinaryIO) -> None:
            copy_ct(file, source, volume)

        return self._folder.write(path, write)

    def _write_labels(
        self, case: ReleasedCase, grid: Grid
    ) -> tuple[list[ExportedLabel], list[ExportedFile]]:
        """Paint the combined map in order of precedence, writing each mask on the way."""
        combined = np.zeros(grid.ras_shape, np.uint8)
        written: dict[str, ExportedFile] = {}
        order = load_layouts().painting_order
        labels = sorted(case.labels, key=lambda label: order.index(label.structure))
        for label in labels:
            mask = read_label(self._store.objects, label.mask, grid.ras_shape)
            combined[mask] = self._values[label.structure]
            path = self._layout.mask_path(case.case_id, label.structure)
            if path is not None:
                written[label.structure] = self._write_volume(path, mask, grid)
        written |= self._write_covered(case, combined, grid)
        path = self._layout.combined.format(case=case.case_id)
        files = [*written.values(), self._write_volume(path, combined, grid)]
        visible = _value_counts(combined)
        exported = [
            ExportedLabel(
                label=label,
                file=written[label.structure].path if label.structure in written else None,
                value=self._values[label.structure],
                visible=int(visible[self._values[label.structure]]),
            )
            for label in labels
        ]
        return exported, files

    def _write_covered(
        self, case: ReleasedCase, combined: npt.NDArray[np.uint8], grid: Grid
    ) -> dict[str, ExportedFile]:
        """Write the masks that an import of the combined map alone would not give back."""
        written: dict[str, ExportedFile] = {}
        if self._layout.covered is None:
            return written
        values = {label.structure: (self._values[label.structure],) for label in case.labels}
        labels = {label.structure: label for label in case.labels}
        for structure, back in unstack(combined, values, load_taxonomy()):
            mask = read_label(self._store.objects, labels[structure].mask, grid.ras_shape)
            path = self._layout.covered_path(case.case_id, structure)
            if path is not None and not np.array_equal(mask, back):
                written[structure] = self._write_volume(path, mask, grid)
        return written

    def _write_volume(self, path: str, array: npt.NDArray[np.generic], grid: Grid) -> ExportedFile:
        return self._folder.write(
            path, lambda file: write_uint8_nifti(file, grid.array_from_ras(array), grid)
        )


def _value_counts(combined: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return how many voxels carry each value, 0 to 255; slab by slab, since bincount widens."""
    counts = np.zeros(256, np.int64)
    for slab in combined:
        counts += np.bincount(slab.ravel(), minlength=256)
    return counts
