"""Annotate every unfinished case with the committee: masks, maps and scores, closed once each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import torch

from configs.errors import CaseError, Reason, SomeCasesFailedError
from configs.taxonomy import load_taxonomy
from flows.case_leases import CaseLeases
from flows.case_selection import Selection, check_known
from flows.case_stages import CaseStages, OpenedCase, PredictedCase
from flows.devices import choose_device
from flows.member_networks import annotate_options, load_members
from flows.overlapped import Done, Stages, overlapped
from flows.plausibility import check_closed_case
from flows.progress import Advance, duration, silent
from flows.runs import recorded_run
from model.memory_fault import is_out_of_memory
from model.test_time import alone_with
from model.throughput import seconds_for, seconds_per_window
from storage.cases import CaseRow, unfinished_cases
from storage.leases import at_work
from storage.model_registry import CommitteeRecord, configured_committee
from storage.predictions import record_failure
from storage.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FailedCase:
    """A case that could not be annotated."""

    case_id: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class AnnotateSummary:
    """What a run did.

    Attributes:
        run_id: None when there was nothing to do and no run was recorded.
        closed: Cases closed by this run.
        closed_elsewhere: Cases that another process closed first.
        held_elsewhere: Cases left alone, since another living run computes them.
        failed: Cases recorded with a reason.
        seconds: Wall time of the cases, without loading the networks.
    """

    run_id: str | None
    committee_id: str
    closed: tuple[str, ...]
    closed_elsewhere: tuple[str, ...]
    held_elsewhere: tuple[str, ...]
    failed: tuple[FailedCase, ...]
    seconds: float

    def raise_for_failures(self) -> None:
        """Raise SomeCasesFailedError when a case failed, listing ids and reasons."""
        if self.failed:
            listed = ", ".join(f"{case.case_id} ({case.reason})" for case in self.failed)
            raise SomeCasesFailedError(f"{len(self.failed)} cases failed: {listed}")


def annotate(
    store: Store,
    selection: Selection | None = None,
    *,
    announce: Callable[[str], None] = _LOG.info,
    advance: Advance = silent,
) -> AnnotateSummary:
    """Annotate the cases that the configured committee has not closed.

    Each case is read once and closed by one manifest, one journal line and one transaction, so that
    a kill at any instant loses the cases at hand and nothing else. ``annotate.workers`` of the
    settings says how many processes share the work.

    Args:
        store: The workspace.
        selection: Which cases; all that are unfinished and have not failed when None.
        announce: Told the time estimate before the first case.
        advance: Told how many cases are done.

    Raises:
        ConfigError: The committee is not complete, or the precision that is set is not within its
            tolerance.
        UsageError: A case is not known.
        ModelError: A checkpoint does not fit.
        StorageError: The workspace cannot be written to.
    """
    chosen = selection or Selection()
    if store.settings.annotate.workers > 1:
        from flows.annotate_workers import annotate_with_workers

        return annotate_with_workers(store, chosen, announce=announce, advance=advance)
    with annotation_run(store, chosen) as run:
        if run.cases:
            announce(run.estimate())
        return run.annotate([case.case_id for case in run.cases], advance)


def empty_summary(store: Store) -> AnnotateSummary:
    """Return what there is to say when no case is unfinished and no run was recorded."""
    committee_id = configured_committee(store).committee_id
    return AnnotateSummary(None, committee_id, (), (), (), (), 0.0)


def selected_cases(
    store: Store, committee: CommitteeRecord, selection: Selection
) -> tuple[CaseRow, ...]:
    """Return the cases of a run, in the order of registration.

    Raises:
        UsageError: A case that is asked for is not known.
    """
    with store.read() as connection:
        cases = unfinished_cases(
            connection, committee.committee_id, retry_failed=selection.retry_failed
        )
        known = {row[0] for row in connection.execute("SELECT case_id FROM cases").fetchall()}
    if selection.case_ids is not None:
        check_known(selection.case_ids, known)
        cases = [case for case in cases if case.case_id in selection.case_ids]
    return tuple(cases[: selection.limit])


def run_facts(committee: CommitteeRecord, cases: int, device: str) -> dict[str, object]:
    """Return what the journal says of a run when it starts."""
    return {
        "committee": committee.committee_id,
        "members": [member.to_json() for member in committee.members],
        "cases": cases,
        "device": device,
        "torch": torch.__version__,
    }


@contextmanager
def annotation_run(store: Store, selection: Selection | None = None) -> Iterator[AnnotationRun]:
    """Open a run over the unfinished cases in this process, with the committee loaded once.

    Takes and raises what ``annotate`` does.
    """
    committee = configured_committee(store)
    cases = selected_cases(store, committee, selection or Selection())
    device = choose_device(store.settings.annotate.device)
    facts = run_facts(committee, len(cases), device.type)
    with recorded_run(store, "annotate", facts) as run_id, at_work(store, run_id):
        yield AnnotationRun(store, committee, run_id, device, cases)


@dataclass(slots=True)
class _Outcomes:
    """What became of the cases so far."""

    closed: dict[str, None] = field(default_factory=dict)
    closed_elsewhere: dict[str, None] = field(default_factory=dict)
    held: dict[str, None] = field(default_factory=dict)
    failed: dict[str, FailedCase] = field(default_factory=dict)


class AnnotationRun:
    """Loaded networks, the cases they are for, and where their results go."""

    def __init__(
        self,
        store: Store,
        committee: CommitteeRecord,
        worker: str,
        device: torch.device,
        cases: Sequence[CaseRow],
    ) -> None:
        """Load the networks.

        Args:
            store: The workspace.
            committee: Who votes.
            worker: The run's id, or that of one of its workers; it is ``at_work``.
            device: Where to compute.
            cases: What there is to do, for all workers of the run.
        """
        settings = store.settings.annotate
        self.run_id = worker
        self.cases = tuple(cases)
        self._outcomes = _Outcomes()
        self._seconds = 0.0
        self._store = store
        self._committee = committee
        self._device = device
        self._members = load_members(committee, settings, device)
        self._leases = CaseLeases(store, committee.committee_id, worker)
        self._stages = CaseStages(
            store,
            committee,
            self._members,
            device=device,
            options=annotate_options(settings, device, committee.rules),
        )

    def estimate(self) -> str:
        """Return how long the cases will take at most, from the measured time of one window."""
        precision = self._stages.options.network.precision
        per_window = [
            seconds_per_window(member, self._device, precision=precision)
            for member in self._members
        ]
        alone = alone_with(self._members, load_taxonomy().names)
        passes = {name: 1 + len(self._stages.options.changes) for name in alone}
        total = sum(
            passes.get(member.name, 1) * seconds_for(case.shape, case.spacing_mm, member, window_s)
            for case in self.cases
            for member, window_s in zip(self._members, per_window, strict=True)
        )
        return (
            f"{len(self.cases)} cases, {len(self._members)} members on {self._device}: the "
            f"networks need at most about {duration(total)}; windows without body are skipped"
        )

    def annotate(
        self, case_ids: Collection[str], advance: Advance = silent, *, overlap: bool = True
    ) -> AnnotateSummary:
        """Annotate these of the run's cases in order; a failing one is recorded and the next comes.

        Calling it again with the same cases tries those again that it has not closed.

        Args:
            case_ids: The cases.
            advance: Told how many are done.
            overlap: Read and write cases while the networks are at others.
        """
        started = time.monotonic()
        wanted = set(case_ids) - self._outcomes.closed.keys()
        todo = {case.case_id: case for case in self.cases if case.case_id in wanted}
        advance(0, total := len(todo))
        # Closed before the leases are given back: a case that is being written is finished first.
        work = overlapped(self._work(todo, overlap=overlap))
        with self._leases.kept(), closing(work):
            for number, done in enumerate(work, start=1):
                self._note(done)
                advance(number, total)
        advance(total, total)
        self._seconds += time.monotonic() - started
        return self.summary(case_ids)

    def summary(self, case_ids: Collection[str] | None = None) -> AnnotateSummary:
        """Return what became of these cases so far, or of all when None."""

        def asked(found: Collection[str]) -> tuple[str, ...]:
            return tuple(one for one in found if case_ids is None or one in case_ids)

        outcomes = self._outcomes
        return AnnotateSummary(
            self.run_id,
            self._committee.committee_id,
            closed=asked(outcomes.closed),
            closed_elsewhere=asked(outcomes.closed_elsewhere),
            held_elsewhere=asked(outcomes.held),
            failed=tuple(outcomes.failed[name] for name in asked(outcomes.failed)),
            seconds=self._seconds,
        )

    def _work(
        self, todo: dict[str, CaseRow], *, overlap: bool
    ) -> Stages[CaseRow, OpenedCase, PredictedCase, bool]:
        def take() -> CaseRow | None:
            offer = self._leases.take_next(list(todo))
            for name in (*offer.closed, *offer.held, *offer.failed):
                todo.pop(name)
            self._outcomes.closed_elsewhere.update(dict.fromkeys(offer.closed))
            self._outcomes.held.update(dict.fromkeys(offer.held))
            return None if offer.case_id is None else todo.pop(offer.case_id)

        def alone(opened: OpenedCase) -> bool:
            # Two cases' probabilities at once, of which the second is about to be made.
            return 2 * self._stages.probability_bytes(opened.case) > self._memory_bytes

        return Stages(
            take=take,
            read=self._stages.read,
            compute=self._stages.predict,
            finish=self._finish,
            alone=alone,
            overlap=overlap,
        )

    def _finish(self, predicted: PredictedCase) -> bool:
        closed = self._stages.close(predicted, self._leases, self.run_id)
        if closed:
            check_closed_case(self._store, predicted.case.case_id)
        return closed

    @property
    def _memory_bytes(self) -> float:
        return self._store.settings.annotate.memory_gb * 1e9

    def _note(self, done: Done[CaseRow, bool]) -> None:
        """Keep what became of a case, or raise what no other case would fare better with."""
        case_id, outcomes = done.item.case_id, self._outcomes
        outcomes.failed.pop(case_id, None)
        outcomes.held.pop(case_id, None)
        try:
            closed = done.result()
        except (CaseError, RuntimeError, MemoryError) as error:
            outcomes.failed[case_id] = self._failed(done.item, error)
            return
        found = outcomes.closed if closed else outcomes.closed_elsewhere
        found[case_id] = None

    def _failed(self, case: CaseRow, error: CaseError | RuntimeError | MemoryError) -> FailedCase:
        if isinstance(error, CaseError):
            reason, message = error.reason, str(error)
        elif is_out_of_memory(error):
            reason, message = Reason.OUT_OF_MEMORY, str(error) or "the host's memory is full"
        else:
            _LOG.error("%s failed", case.case_id, exc_info=error)
            reason, message = Reason.INFERENCE_FAILED, str(error)
        _LOG.warning("%s failed: %s", case.case_id, reason)
        self._leases.forget(case.case_id)
        record_failure(
            self._store,
            case.case_id,
            self._committee.committee_id,
            run_id=self.run_id,
            failure=(reason, message),
        )
        return FailedCase(case.case_id, reason, message)
