"""Leases of one worker on the cases it computes, prolonged while it does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from configs.errors import StorageError
from storage.leases import Lease, Offer, lease_case, lease_next
from storage.store import Store

_LOG = logging.getLogger(__name__)

# The leases of a dead process are free at once; this is how long a stopped one keeps its case.
LEASE = timedelta(seconds=120)
RENEW_EVERY_S = 30.0


class CaseLeases:
    """The cases that a worker holds; the worker must be ``at_work``."""

    def __init__(self, store: Store, committee_id: str, worker: str) -> None:
        self._store, self._committee_id, self._worker = store, committee_id, worker
        self._held: set[str] = set()
        self._guard = threading.Lock()

    def take_next(self, case_ids: Sequence[str]) -> Offer:
        """Lease the first of some cases that is free."""
        offer = lease_next(
            self._store,
            case_ids,
            self._committee_id,
            run_id=self._worker,
            now=_now(),
            lease=LEASE,
        )
        if offer.case_id is not None:
            with self._guard:
                self._held.add(offer.case_id)
        return offer

    def forget(self, case_id: str) -> None:
        """Prolong a case's lease no longer; who closed the case or failed on it has dropped it."""
        with self._guard:
            self._held.discard(case_id)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Prolong all leases every ``RENEW_EVERY_S`` from a thread, while the block runs.

        A worker that was stopped for longer than the lease may have lost its cases. It goes on
        then, and whoever closes a case first has closed it.
        """
        done = threading.Event()
        thread = threading.Thread(target=self._prolong_until, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _prolong_until(self, done: threading.Event) -> None:
        while not done.wait(RENEW_EVERY_S):
            with self._guard:
                held = sorted(self._held)
            for case_id in held:
                self._prolong(case_id)

    def _prolong(self, case_id: str) -> None:
        # Under the guard: a case that is being given up must not be taken again behind it.
        with self._guard:
            if case_id not in self._held:
                return
            try:
                outcome = lease_case(
                    self._store,
                    case_id,
                    self._committee_id,
                    run_id=self._worker,
                    now=_now(),
                    lease=LEASE,
                )
            except StorageError as error:
                _LOG.warning("the lease on %s was not prolonged: %s", case_id, error)
                return
            if outcome is not Lease.TAKEN:
                _LOG.warning("the lease on %s was lost, it is %s elsewhere", case_id, outcome)
                self._held.discard(case_id)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
