"""Take CTs in: a readable file becomes a case, any other one is quarantined with its reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from configs.errors import CaseError, Reason, SomeCasesFailedError, UsageError
from flows.intake_blocks import BlockKeeper, BlocksMade
from flows.limits import volume_limits
from flows.patients import PatientTable, patient_of, read_patients
from flows.progress import Advance, silent
from flows.runs import recorded_run
from storage.cases import Registration, fingerprints, quarantine_file, record_twins, register_file
from storage.find_images import FoundImages, SkippedPath, find_images
from storage.fingerprint import TwinPair, find_twins
from storage.image_faults import VolumeLimits
from storage.intake_record import IntakeRecord, Use, inspect_file
from storage.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A readable file and what became of it."""

    path: Path
    case_id: str
    registration: Registration


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that was quarantined."""

    path: Path
    file_id: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class IntakeSummary:
    """What came in.

    Attributes:
        taken: Readable files in the order of their paths; new, duplicate or known.
        refused: Quarantined files.
        skipped: Paths that are no CT by their place or name, and why.
        twins: Pairs with a new case that may be one scan, to be kept in one split.
        warnings: What the user should know about patients.
        blocks: What was laid in blocks for the editor.
    """

    run_id: str
    taken: tuple[TakenFile, ...]
    refused: tuple[RefusedFile, ...]
    skipped: tuple[SkippedPath, ...]
    twins: tuple[TwinPair, ...]
    warnings: tuple[str, ...]
    blocks: BlocksMade

    def count(self, registration: Registration) -> int:
        """Return how many files were registered this way."""
        return sum(1 for file in self.taken if file.registration is registration)

    def raise_for_refusals(self) -> None:
        """Raise SomeCasesFailedError when a file was quarantined."""
        if self.refused:
            raise SomeCasesFailedError(f"{len(self.refused)} files were quarantined")


def intake(
    store: Store,
    paths: Sequence[Path],
    *,
    patients_csv: Path | None = None,
    workers: int = 2,
    advance: Advance = silent,
) -> IntakeSummary:
    """Register every CT under some paths.

    Args:
        store: The workspace.
        paths: Files and folders.
        patients_csv: Table with the columns path and patient.
        workers: Files read at a time; each needs memory for one volume as int16.
        advance: Told how many files are done.

    Raises:
        UsageError: A path is missing, nothing was found, or the CSV is not usable.
        StorageError: The workspace cannot be written to.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist")
    table = read_patients(patients_csv) if patients_csv is not None else None
    found = find_images([path.resolve() for path in paths])
    if not found.images and not found.refused:
        raise UsageError(f"no .nii or .nii.gz file lies under {', '.join(map(str, paths))}")
    with recorded_run(store, "intake", {"files": len(found.images)}) as run_id:
        return Intake(store, run_id, table=table).take_in(found, workers=workers, advance=advance)


class Intake:
    """One run over found files; its patients come from a table, a pattern or nowhere."""

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        table: PatientTable | None = None,
        is_settled: Callable[[Path], bool] = lambda _: True,
    ) -> None:
        """Prepare a run.

        Args:
            store: The workspace.
            run_id: The recorded run that this belongs to.
            table: Patients by path.
            is_settled: Asked about a file after it was read; one of which it says no may have been
                read half written, so nothing is made of it.
        """
        self._store = store
        self._table = table
        self._run_id = run_id
        self._is_settled = is_settled
        self._taken: list[TakenFile] = []
        self._refused: list[RefusedFile] = []
        self._unsettled: list[SkippedPath] = []
        self._warnings: list[str] = []
        self._unknown_patients = 0

    def take_in(
        self, found: FoundImages, *, workers: int = 2, advance: Advance = silent
    ) -> IntakeSummary:
        """Inspect the files side by side and commit them one by one, in order; to be called once.

        Args:
            found: The files.
            workers: Files read at a time.
            advance: Told how many files are done.
        """
        for path, error in found.refused:
            self._refuse(path, error)
        limits = volume_limits(self._store.settings.intake)
        keeper = BlockKeeper.of(self._store)
        inspected = _inspected(found.images, limits, workers, keeper and keeper.keep)
        for number, (path, outcome) in enumerate(inspected, 1):
            if not self._is_settled(path):
                self._unsettled.append(SkippedPath(path, "it was changed while it was read"))
            elif isinstance(outcome, CaseError):
                self._refuse(path, outcome)
            else:
                self._register(path, outcome)
            advance(number, len(found.images))
        return IntakeSummary(
            run_id=self._run_id,
            taken=tuple(self._taken),
            refused=tuple(self._refused),
            skipped=(*found.skipped, *self._unsettled),
            twins=tuple(self._twins()),
            warnings=tuple(self._all_warnings()),
            blocks=keeper.made if keeper else BlocksMade(),
        )

    def _register(self, path: Path, record: IntakeRecord) -> None:
        pattern = self._store.settings.intake.patient_pattern
        patient = patient_of(path, record.content_id, table=self._table, pattern=pattern)
        outcome = register_file(self._store, path, record, patient)
        self._taken.append(TakenFile(path, outcome.case_id, outcome.registration))
        self._unknown_patients += patient.assigned_by == "none"
        if outcome.patient_changed:
            self._warnings.append(
                f"{outcome.case_id} was tied to another patient before; the newest one counts"
            )
        _LOG.info("%s: %s", outcome.case_id, outcome.registration)

    def _refuse(self, path: Path, error: CaseError) -> None:
        file_id = quarantine_file(self._store, path, error)
        self._refused.append(RefusedFile(path, file_id, error.reason, str(error)))
        _LOG.warning("%s quarantined: %s", file_id, error.reason)

    def _twins(self) -> list[TwinPair]:
        new = {f.case_id for f in self._taken if f.registration is Registration.NEW}
        if not new:
            return []
        with self._store.read() as connection:
            known = fingerprints(connection)
        threshold = self._store.settings.intake.twin_similarity
        pairs = find_twins(known, among=new, threshold=threshold)
        record_twins(self._store, [(pair.first, pair.second, pair.similarity) for pair in pairs])
        return pairs

    def _all_warnings(self) -> Iterator[str]:
        yield from self._warnings
        if self._unknown_patients:
            yield (
                f"{self._unknown_patients} files name no patient, so each scan counts as a patient "
                "of its own; scans of one patient may then meet in training and test. Give "
                "--patients CSV or set intake.patient_pattern"
            )
        if self._table is not None and (unused := self._table.unused()):
            yield f"{len(unused)} rows of the patients CSV met no file, the first: {unused[0]}"


def _inspected(
    images: Sequence[Path], limits: VolumeLimits, workers: int, use: Use | None
) -> Iterator[tuple[Path, IntakeRecord | CaseError]]:
    """Yield each file's record or fault, in order; at most ``workers`` volumes are in memory."""

    def inspect(path: Path) -> IntakeRecord | CaseError:
        try:
            return inspect_file(path, limits, use=use)
        except CaseError as error:
            return error
        except MemoryError:
            return CaseError(
                Reason.OUT_OF_MEMORY, f"{path.name} does not fit into memory; use fewer --workers"
            )

    with ThreadPoolExecutor(max_workers=workers) as pool:
        yield from zip(images, pool.map(inspect, images), strict=True)
