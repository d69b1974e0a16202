"""Give every patient a role: train, gate or report."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

from storage.splits import Role, effective_roles, freeze_roles, patient_groups, patient_roles
from storage.store import Store


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """Roles of all patients.

    Attributes:
        added: Patients that had none before.
        patients: Role -> number of patients.
        leaked: Patients who judge or are reported by their role, but whose scan trains under
            another name; nothing is measured on them.
    """

    added: int
    patients: dict[Role, int]
    leaked: int = 0


def split(store: Store) -> SplitSummary:
    """Freeze the role of every patient that has none.

    A hash of the patient and the seed decides, so that the roles of a growing workspace do not
    depend on the order of arrival. Patients whose scans look like one, or are one by their names in
    public datasets, share a role; where one of them has it already, the others follow, and train if
    any of them does.

    Raises:
        StorageError: The workspace cannot be written to.
    """
    with store.read() as connection:
        known = patient_roles(connection)
        groups = patient_groups(connection)
    roles: dict[str, Role] = {}
    for group in groups:
        role: Role = _role(store, group[0])
        for patient in group:
            role = known.get(patient, role)
        if any(known.get(patient) == "train" for patient in group):
            role = "train"
        for patient in group:
            if patient not in known:
                roles[patient] = role
    added = freeze_roles(store, roles)
    counted = Counter({**known, **roles}.values())
    order: tuple[Role, ...] = ("train", "gate", "report")
    with store.read() as connection:
        frozen, effective = patient_roles(connection), effective_roles(connection)
    leaked = sum(1 for patient, role in frozen.items() if effective[patient] != role)
    return SplitSummary(added, {role: counted[role] for role in order}, leaked)


def _role(store: Store, patient_id: str) -> Role:
    settings = store.settings.retrain
    digest = hashlib.sha256(f"{settings.split_seed}/{patient_id}".encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < settings.gate_share:
        return "gate"
    return "report" if place < settings.gate_share + settings.report_share else "train"
