"""Cases, the files they came from, their patients, and files that were quarantined."""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from configs.errors import CaseError, Reason, UsageError
from storage.intake_record import IntakeRecord
from storage.store import Store, Transaction

Connection = duckdb.DuckDBPyConnection


class Registration(StrEnum):
    """What intake made of a readable file."""

    NEW = "new"
    DUPLICATE = "duplicate"
    KNOWN = "known"


@dataclass(frozen=True, slots=True)
class RegisteredFile:
    """Outcome of one registered file.

    Attributes:
        patient_changed: The same scan was tied to another patient before.
    """

    case_id: str
    registration: Registration
    patient_changed: bool


@dataclass(frozen=True, slots=True)
class PatientKey:
    """Who a case belongs to, before it becomes a pseudonymous id.

    Attributes:
        key: The name in a CSV or file name; the content id when nothing is known.
        assigned_by: ``csv``, ``pattern`` or ``none``.
    """

    key: str
    assigned_by: str


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file that holds a case, as intake saw it."""

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class CaseCounts:
    """How much there is; ``closed`` is of one committee."""

    cases: int
    patients: int
    closed: int


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One case as the index knows it."""

    case_id: str
    content_id: str
    patient_id: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    files: tuple[CaseFile, ...]

    @property
    def voxels(self) -> int:
        """Number of voxels of the file's grid."""
        return self.shape[0] * self.shape[1] * self.shape[2]


@dataclass(frozen=True, slots=True)
class QuarantinedFile:
    """A file that was refused."""

    file_id: str
    path: Path
    reason: str
    message: str


def register_file(
    store: Store, path: Path, record: IntakeRecord, patient: PatientKey
) -> RegisteredFile:
    """Commit a readable CT: a new case, or another file of a case that is known by its voxels."""
    fingerprint = store.objects.put(record.fingerprint)
    patient_id = pseudonym(store.settings.identity.key, patient.key)
    with store.transaction() as transaction:
        registration = _registration(transaction.connection, path, record)
        if registration is Registration.NEW:
            transaction.record("case.registered", _case_facts(record, fingerprint))
        if registration is not Registration.KNOWN:
            _record_file(transaction, path, record)
        changed = _assign_patient(transaction, record.case_id, patient_id, patient.assigned_by)
    return RegisteredFile(record.case_id, registration, changed)


def quarantine_file(store: Store, path: Path, error: CaseError) -> str:
    """Commit that a file was refused, once per file and reason; returns the file's id."""
    source = {"path": str(path), "message": str(error)}
    file_id = "f-" + pseudonym(store.settings.identity.key, str(path)).removeprefix("p-")
    with store.transaction() as transaction:
        known = transaction.connection.execute(
            "SELECT count(*) FROM quarantined_files WHERE file_id = ? AND reason = ?",
            [file_id, error.reason],
        ).fetchone()
        if not known or known[0] == 0:
            transaction.record_with_object(
                "file.quarantined",
                {"file_id": file_id, "reason": str(error.reason)},
                key="source",
                content=source,
            )
    return file_id


def record_twins(store: Store, twins: Sequence[tuple[str, str, float]]) -> int:
    """Commit candidate pairs of cases that may be one scan; returns how many were new."""
    new = 0
    with store.transaction() as transaction:
        known = set(transaction.connection.execute("SELECT case_a, case_b FROM twins").fetchall())
        for first, second, similarity in twins:
            pair = (min(first, second), max(first, second))
            if pair not in known:
                transaction.record(
                    "twins.found",
                    {"case_a": pair[0], "case_b": pair[1], "similarity": round(similarity, 4)},
                )
                new += 1
    return new


def pseudonym(key: str, name: str) -> str:
    """Return ``p-`` + 12 hex digits that stand for a name and cannot be guessed without the key."""
    return "p-" + hmac.new(key.encode(), name.encode(), hashlib.sha256).hexdigest()[:12]


def all_cases(connection: Connection) -> list[CaseRow]:
    """Return every case in the order of registration."""
    return _cases(connection, "TRUE", {})


def case_row(connection: Connection, case_id: str) -> CaseRow:
    """Return one case.

    Raises:
        UsageError: No such case.
    """
    found = _cases(connection, "c.case_id = $case", {"case": case_id})
    if not found:
        raise UsageError(f"no case {case_id!r} is known; `atlasloop queue` lists what waits")
    return found[0]


def existing_file(case: CaseRow) -> CaseFile:
    """Return the first of a case's files that is still there.

    Raises:
        CaseError: All files of the case are gone.
    """
    for file in case.files:
        if file.path.exists():
            return file
    raise CaseError(
        Reason.MISSING_FILE,
        f"the {len(case.files)} files of this case are gone; bring them back, or run "
        "`atlasloop intake` on where they are now",
    )


def unfinished_cases(
    connection: Connection, committee_id: str, *, retry_failed: bool
) -> list[CaseRow]:
    """Return the cases that this committee has not closed, in the order of registration.

    Args:
        connection: An open index.
        committee_id: The committee that is to annotate.
        retry_failed: Whether cases that failed before are tried again.
    """
    where = """NOT EXISTS (SELECT 1 FROM predictions p
                           WHERE p.case_id = c.case_id AND p.committee_id = $committee)
               AND ($retry OR NOT EXISTS (SELECT 1 FROM failures f
                           WHERE f.case_id = c.case_id AND f.committee_id = $committee))"""
    return _cases(connection, where, {"committee": committee_id, "retry": retry_failed})


def case_counts(connection: Connection, committee_id: str) -> CaseCounts:
    """Return how many cases and patients there are, and how many a committee has closed."""
    cases = "SELECT count(*) FROM cases"
    patients = "SELECT count(DISTINCT patient_id) FROM current_patients"
    closed = "SELECT count(DISTINCT case_id) FROM predictions WHERE committee_id = ?"
    row = connection.execute(f"SELECT ({cases}), ({patients}), ({closed})", [committee_id])
    return CaseCounts(*(row.fetchone() or (0, 0, 0)))


def is_closed(connection: Connection, case_id: str, committee_id: str) -> bool:
    """Whether a committee has closed a case."""
    row = connection.execute(
        "SELECT count(*) FROM predictions WHERE case_id = ? AND committee_id = ?",
        [case_id, committee_id],
    ).fetchone()
    return row is not None and row[0] > 0


def quarantined(connection: Connection) -> list[QuarantinedFile]:
    """Return the refused files in the order in which they were met."""
    rows = connection.execute(
        "SELECT file_id, path, reason, message FROM quarantined_files ORDER BY seq"
    ).fetchall()
    return [QuarantinedFile(row[0], Path(row[1]), row[2], row[3]) for row in rows]


def fingerprints(connection: Connection) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the fingerprint of every case, flat, as stored."""
    rows = connection.execute("SELECT case_id, fingerprint FROM cases ORDER BY seq").fetchall()
    return {case_id: np.frombuffer(blob, np.uint8) for case_id, blob in rows}


def twin_pairs(connection: Connection) -> list[tuple[str, str, float]]:
    """Return the candidate pairs found so far."""
    return connection.execute(
        "SELECT case_a, case_b, similarity FROM twins ORDER BY seq"
    ).fetchall()


def _registration(connection: Connection, path: Path, record: IntakeRecord) -> Registration:
    rows = connection.execute(
        "SELECT path, file_sha256 FROM case_files WHERE case_id = ?", [record.case_id]
    ).fetchall()
    if not rows:
        return Registration.NEW
    known = (str(path), record.file_sha256) in rows
    return Registration.KNOWN if known else Registration.DUPLICATE


def _case_facts(record: IntakeRecord, fingerprint: str) -> dict[str, object]:
    grid = record.grid
    return {
        "case_id": record.case_id,
        "content_id": record.content_id,
        "shape": list(grid.shape),
        "spacing_mm": [float(value) for value in grid.spacing_mm],
        "orientation": grid.orientation,
        "affine": [float(value) for value in np.asarray(grid.affine).ravel()],
        "hu_percentiles": [float(value) for value in record.hu_percentiles],
        "fingerprint": fingerprint,
    }


def _record_file(transaction: Transaction, path: Path, record: IntakeRecord) -> None:
    transaction.record_with_object(
        "file.found",
        {"case_id": record.case_id},
        key="source",
        content={
            "path": str(path),
            "file_sha256": record.file_sha256,
            "file_bytes": record.file_bytes,
        },
    )


def _assign_patient(
    transaction: Transaction, case_id: str, patient_id: str, assigned_by: str
) -> bool:
    """Tie a case to a patient unless that is known; a real name replaces a made-up one."""
    row = transaction.connection.execute(
        "SELECT patient_id, assigned_by FROM current_patients WHERE case_id = ?", [case_id]
    ).fetchone()
    if row is not None and (row[0] == patient_id or assigned_by == "none"):
        return False
    transaction.record(
        "patient.assigned",
        {"case_id": case_id, "patient_id": patient_id, "assigned_by": assigned_by},
    )
    return row is not None and row[1] != "none"


def _cases(connection: Connection, where: str, parameters: dict[str, object]) -> list[CaseRow]:
    # Two plain queries: planned together, they take twice as long.
    rows = connection.execute(
        f"""SELECT c.case_id, c.content_id, p.patient_id, c.shape, c.spacing_mm, c.orientation
            FROM cases c LEFT JOIN current_patients p ON p.case_id = c.case_id
            WHERE {where} ORDER BY c.seq""",  # noqa: S608 the conditions are literals of this module
        parameters,
    ).fetchall()
    listed = connection.execute(
        f"SELECT c.case_id, c.path, c.file_sha256 FROM case_files c WHERE {where} ORDER BY c.seq",  # noqa: S608 as above
        parameters,
    ).fetchall()
    files: defaultdict[str, list[CaseFile]] = defaultdict(list)
    for case_id, path, sha256 in listed:
        files[case_id].append(CaseFile(Path(path), sha256))
    return [_case_row(row, files[row[0]]) for row in rows]


def _case_row(row: tuple[object, ...], files: Sequence[CaseFile]) -> CaseRow:
    case_id, content_id, patient_id, shape, spacing_mm, orientation = row
    return CaseRow(
        case_id=str(case_id),
        content_id=str(content_id),
        patient_id=str(patient_id),
        shape=tuple(shape),  # pyright: ignore[reportArgumentType]  three numbers by the schema
        spacing_mm=tuple(spacing_mm),  # pyright: ignore[reportArgumentType]
        orientation=str(orientation),
        files=tuple(files),
    )
