"""Which patients train, which decide at the gate and which are only reported; frozen once made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, get_args

import duckdb

from configs.errors import UsageError
from storage.dataset_cases import dataset_cases, overlapping_cases
from storage.store import Store

Connection = duckdb.DuckDBPyConnection

Role = Literal["train", "gate", "report"]


def freeze_roles(store: Store, roles: Mapping[str, Role]) -> int:
    """Give patients their role for good; returns how many had none before.

    Raises:
        UsageError: A role is unknown, or a patient has another one already: what trained a model
            must never judge it.
    """
    for patient_id, role in roles.items():
        if role not in get_args(Role):
            raise UsageError(f"a role is one of {get_args(Role)}, {patient_id} got {role!r}")
    with store.transaction() as transaction:
        known = patient_roles(transaction.connection)
        for patient_id, role in roles.items():
            if known.get(patient_id, role) != role:
                raise UsageError(
                    f"the role of a patient is frozen: {patient_id} is in {known[patient_id]}, not "
                    f"{role}"
                )
        new = {patient: role for patient, role in roles.items() if patient not in known}
        if new:
            transaction.record("split.frozen", {"roles": new})
    return len(new)


def patient_roles(connection: Connection) -> dict[str, Role]:
    """Return patient id -> role."""
    return dict(connection.execute("SELECT patient_id, role FROM current_splits").fetchall())


def effective_roles(connection: Connection) -> dict[str, Role]:
    """Return patient id -> role, where ``train`` holds for all whose scan trains under any name.

    A role may have been frozen before a scan's name in a dataset was known, which says that it is
    another patient's scan. Whoever judges or is reported, but is one with somebody who trains, is
    counted as trained on: nothing may be measured there. Twins by content are known when they
    arrive, before they have a role, so they follow the first one's.
    """
    roles = patient_roles(connection)
    patients = dict.fromkeys([*_all_patients(connection), *roles])
    for group in _joined(patients, _overlapping_patients(connection)):
        if any(roles.get(patient) == "train" for patient in group):
            roles.update({patient: "train" for patient in group if patient in roles})
    return roles


def patient_groups(connection: Connection) -> list[tuple[str, ...]]:
    """Return groups of patients that must share a role: those whose cases may be one scan.

    Twins by content come together, and cases that are one scan by their names in datasets.
    """
    pairs = connection.execute(
        """SELECT a.patient_id, b.patient_id FROM twins t
           JOIN current_patients a ON a.case_id = t.case_a
           JOIN current_patients b ON b.case_id = t.case_b ORDER BY 1, 2"""
    ).fetchall()
    return _joined(_all_patients(connection), [*pairs, *_overlapping_patients(connection)])


def case_groups(connection: Connection) -> dict[str, int]:
    """Return case id -> a number that the cases of one ``patient_groups`` share."""
    numbers = {
        patient: number
        for number, group in enumerate(patient_groups(connection))
        for patient in group
    }
    rows = connection.execute("SELECT case_id, patient_id FROM current_patients").fetchall()
    return {case_id: numbers[patient_id] for case_id, patient_id in rows}


def _all_patients(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT patient_id FROM current_patients ORDER BY patient_id"
    ).fetchall()
    return [row[0] for row in rows]


def _overlapping_patients(connection: Connection) -> list[tuple[str, str]]:
    owners = dict(connection.execute("SELECT case_id, patient_id FROM current_patients").fetchall())
    pairs = overlapping_cases(dataset_cases(connection))
    return [(owners[a], owners[b]) for a, b in pairs if a in owners and b in owners]


def _joined(patients: Iterable[str], pairs: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Return the groups that pairs make of patients; a pair with anybody else says nothing."""
    leader = {patient: patient for patient in patients}
    for first, second in pairs:
        if first in leader and second in leader:
            one, other = sorted((_leader(leader, first), _leader(leader, second)))
            leader[other] = one
    return list(_grouped(leader))


def frozen_cases(connection: Connection) -> set[str]:
    """Return the cases of patients who judge or are reported: no model may be trained on them."""
    rows = connection.execute(
        """SELECT p.case_id FROM current_patients p
           JOIN current_splits s ON s.patient_id = p.patient_id WHERE s.role <> 'train'"""
    ).fetchall()
    return {row[0] for row in rows}


def _leader(leader: Mapping[str, str], patient: str) -> str:
    while leader[patient] != patient:
        patient = leader[patient]
    return patient


def _grouped(leader: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for patient in leader:
        groups.setdefault(_leader(leader, patient), []).append(patient)
    for members in groups.values():
        yield tuple(members)
