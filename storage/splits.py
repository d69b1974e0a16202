"""Which patients train, which decide at the gate and which are only reported; frozen once made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import duckdb

from configs.errors import UsageError
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


def patient_groups(connection: Connection) -> list[tuple[str, ...]]:
    """Return groups of patients that must share a role: those whose cases may be one scan."""
    patients = [
        row[0]
        for row in connection.execute(
            "SELECT DISTINCT patient_id FROM current_patients ORDER BY patient_id"
        ).fetchall()
    ]
    pairs = connection.execute(
        """SELECT a.patient_id, b.patient_id FROM twins t
           JOIN current_patients a ON a.case_id = t.case_a
           JOIN current_patients b ON b.case_id = t.case_b ORDER BY 1, 2"""
    ).fetchall()
    leader = {patient: patient for patient in patients}
    for first, second in pairs:
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
