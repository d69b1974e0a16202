"""What the workspace holds and how far the work is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from configs.errors import ConfigError
from storage.cases import QuarantinedFile, all_cases, quarantined, twin_pairs, unfinished_cases
from storage.model_registry import configured_committee, registered_models
from storage.predictions import Failure, closed_predictions, open_failures
from storage.queue import queue_size, ranked_at
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of the workspace.

    Attributes:
        annotated: Cases that the configured committee has closed.
        unfinished: Cases that it has not; failed ones included.
        committee_fault: Why there is no committee yet, in words.
        queue: Entries of the current queue by kind.
    """

    cases: int
    patients: int
    quarantined: tuple[QuarantinedFile, ...]
    twins: tuple[tuple[str, str, float], ...]
    models: tuple[str, ...]
    committee_id: str | None
    committee_fault: str | None
    annotated: int
    unfinished: int
    failures: tuple[Failure, ...]
    queue: dict[str, int]
    ranked_at: datetime | None


def status(store: Store) -> Status:
    """Return the state of a workspace.

    Raises:
        StorageError: The workspace is damaged.
    """
    models = tuple(registered_models(store))
    committee_id, fault = _committee(store)
    with store.read() as connection:
        cases = all_cases(connection)
        known = committee_id or ""
        return Status(
            cases=len(cases),
            patients=len({case.patient_id for case in cases}),
            quarantined=tuple(quarantined(connection)),
            twins=tuple(twin_pairs(connection)),
            models=models,
            committee_id=committee_id,
            committee_fault=fault,
            annotated=len(closed_predictions(connection, known)),
            unfinished=len(unfinished_cases(connection, known, retry_failed=True)),
            failures=tuple(open_failures(connection, known)),
            queue=queue_size(connection),
            ranked_at=ranked_at(connection),
        )


def _committee(store: Store) -> tuple[str | None, str | None]:
    try:
        return configured_committee(store).committee_id, None
    except ConfigError as error:
        return None, str(error)
