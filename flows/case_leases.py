"""Leases of one run on the cases it computes, prolonged while it does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from configs.errors import StorageError
from storage.leases import Lease, lease_case
from storage.store import Store

_LOG = logging.getLogger(__name__)

# The leases of a dead process are free at once; this is how long a stopped one keeps its case.
LEASE = timedelta(seconds=120)
RENEW_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class CaseLeases:
    """What a run needs to lease cases; the run must be ``at_work``."""

    store: Store
    committee_id: str
    run_id: str

    def take(self, case_id: str) -> Lease:
        """Take or prolong the lease on a case."""
        return lease_case(
            self.store,
            case_id,
            self.committee_id,
            run_id=self.run_id,
            now=datetime.now(UTC).replace(tzinfo=None),
            lease=LEASE,
        )

    @contextmanager
    def kept(self, case_id: str) -> Iterator[None]:
        """Prolong the lease on a case every ``RENEW_EVERY_S`` from a thread, while the block runs.

        A run that was stopped for longer than the lease may have lost its case. It goes on then,
        and whoever closes the case first has closed it.
        """
        done = threading.Event()
        thread = threading.Thread(target=self._prolong, args=(case_id, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _prolong(self, case_id: str, done: threading.Event) -> None:
        while not done.wait(RENEW_EVERY_S):
            try:
                outcome = self.take(case_id)
            except StorageError as error:
                _LOG.warning("the lease on %s was not prolonged: %s", case_id, error)
                continue
            if outcome is not Lease.TAKEN:
                _LOG.warning("the lease on %s was lost, it is %s elsewhere", case_id, outcome)
                return
