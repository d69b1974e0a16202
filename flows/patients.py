"""Who a CT belongs to: a CSV, a pattern over the path, or nobody known."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from configs.errors import ConfigError, UsageError
from storage.cases import PatientKey

_COLUMNS = ("path", "patient")


@dataclass(slots=True)
class PatientTable:
    """File -> patient, from a CSV with the columns ``path`` and ``patient``.

    A path is absolute, or relative to the CSV's folder; a bare file name serves for every folder.
    """

    by_path: dict[Path, str] = field(default_factory=dict)
    by_name: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def find(self, path: Path) -> str | None:
        """Return a file's patient, or ``None``."""
        for key, table in (
            (str(path), self.by_path.get(path)),
            (path.name, self.by_name.get(path.name)),
        ):
            if table is not None:
                self.used.add(key)
                return table
        return None

    def unused(self) -> list[str]:
        """Return the CSV's entries that met no file."""
        entries = [*(str(path) for path in self.by_path), *self.by_name]
        return [entry for entry in entries if entry not in self.used]


def read_patients(csv_path: Path) -> PatientTable:
    """Read a patient table.

    Raises:
        UsageError: The file is missing, lacks a column, or gives one file two patients.
    """
    table = PatientTable()
    try:
        with csv_path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
            if missing:
                raise UsageError(
                    f"{csv_path} needs the columns path and patient; it has {reader.fieldnames}"
                )
            for row in reader:
                _add(table, row, csv_path, reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{csv_path} cannot be read as a CSV: {error}") from error
    return table


def patient_of(
    path: Path, content_id: str, *, table: PatientTable | None, pattern: str | None
) -> PatientKey:
    """Return a file's patient key: from the table, else the pattern, else the scan itself."""
    if table is not None and (patient := table.find(path)) is not None:
        return PatientKey(patient, "csv")
    if pattern is not None:
        match = _compiled(pattern).search(path.as_posix())
        if match is not None and match[1]:
            return PatientKey(match[1], "pattern")
    return PatientKey(content_id, "none")


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"intake.patient_pattern is no regular expression: {error}") from error
    if compiled.groups < 1:
        raise ConfigError(f"intake.patient_pattern needs a group (...), got {pattern!r}")
    return compiled


def _add(table: PatientTable, row: dict[str, str], csv_path: Path, line: int) -> None:
    name, patient = (row["path"] or "").strip(), (row["patient"] or "").strip()
    if not name or not patient:
        raise UsageError(f"{csv_path}, line {line}: path and patient must both be given")
    path = Path(name)
    if len(path.parts) == 1 and not (csv_path.parent / path).exists():
        known, key = table.by_name.get(name), name
        table.by_name[name] = patient
    else:
        resolved = (csv_path.parent / path).resolve()
        known, key = table.by_path.get(resolved), str(resolved)
        table.by_path[resolved] = patient
    if known is not None and known != patient:
        raise UsageError(f"{csv_path}, line {line}: {key} already has another patient")
