"""What the workspace holds and how far the work is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from configs.errors import ConfigError
from storage.approvals import approval_counts
from storage.cases import QuarantinedFile, case_counts, quarantined, twin_pairs
from storage.leases import running_cases
from storage.model_registry import RegisteredModel, configured_committee, known_models
from storage.predictions import Failure, closing_rate, open_failures
from storage.queue import queue_size, ranked_at
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Status:
    """A snapshot of the workspace.

    Attributes:
        annotated: Cases that the configured committee has closed.
        unfinished: Cases that it has not; failed ones included.
        committee_fault: Why there is no committee yet, in words.
        running: Cases that living runs compute now, by run.
        cases_per_hour: How fast these runs close cases; None before the second.
        seconds_left: For the cases that have not failed, at that rate.
        queue: Entries of the current queue by kind.
        to_approve: Verdicts that wait for a second reader; None where none is asked for.
        returned: Verdicts that a second reader returned and that were not given again.
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
    running: dict[str, list[str]]
    cases_per_hour: float | None
    seconds_left: float | None
    queue: dict[str, int]
    ranked_at: datetime | None
    to_approve: int | None
    returned: int


def status(store: Store) -> Status:
    """Return the state of a workspace.

    Raises:
        StorageError: The workspace is damaged.
    """
    with store.read() as connection:
        models = known_models(store, connection)
        committee_id, fault = _committee(store, models)
        at_work = running_cases(store, connection)
        counts = case_counts(connection, committee_id or "")
        failures = tuple(open_failures(connection, committee_id or ""))
        verdicts = approval_counts(connection)
        rate = closing_rate(connection, at_work)
        unfinished = counts.cases - counts.closed
        return Status(
            cases=counts.cases,
            patients=counts.patients,
            quarantined=tuple(quarantined(connection)),
            twins=tuple(twin_pairs(connection)),
            models=tuple(models),
            committee_id=committee_id,
            committee_fault=fault,
            annotated=counts.closed,
            unfinished=unfinished,
            failures=failures,
            running=at_work,
            cases_per_hour=None if rate is None else 3600 * rate,
            seconds_left=None if rate is None else (unfinished - len(failures)) / rate,
            queue=queue_size(connection),
            ranked_at=ranked_at(connection),
            to_approve=verdicts.to_approve if store.settings.review.four_eyes else None,
            returned=verdicts.returned,
        )


def _committee(
    store: Store, models: Mapping[str, RegisteredModel]
) -> tuple[str | None, str | None]:
    try:
        return configured_committee(store, models).committee_id, None
    except ConfigError as error:
        return None, str(error)
