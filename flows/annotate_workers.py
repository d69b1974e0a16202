"""Several processes that share the cases of one run; one that dies costs the case at hand."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from configs.errors import Reason, WorkerError
from configs.setting_sections import AnnotateSettings
from configs.settings import Settings
from flows.annotate import (
    AnnotateSummary,
    AnnotationRun,
    FailedCase,
    run_facts,
    selected_cases,
)
from flows.case_selection import Selection
from flows.devices import choose_device
from flows.process_pool import Workers
from flows.progress import Advance
from flows.runs import logged_run, recorded_run
from storage.cases import CaseRow
from storage.leases import at_work, end_leases, worker_id
from storage.model_registry import CommitteeRecord, configured_committee
from storage.predictions import closed_predictions, record_failure, run_outcomes
from storage.store import Store

# A case that ends its process twice, the second time alone, is what ends it.
_TRIES = 2
_LOOK_EVERY_S = 1.0


def annotate_with_workers(
    store: Store,
    selection: Selection,
    *,
    announce: Callable[[str], None],
    advance: Advance,
) -> AnnotateSummary:
    """Annotate with ``annotate.workers`` processes; see ``annotate`` of ``flows.annotate``.

    A worker that dies (killed by the system for memory, above all) is replaced, by one that takes a
    case at a time. A case that ended two of them is recorded as failed.

    Raises:
        WorkerError: Workers die before they take a case.
        AtlasLoopError: As ``annotate``.
    """
    committee = configured_committee(store)
    cases = selected_cases(store, committee, selection)
    settings = store.settings.annotate
    count = min(settings.workers, max(1, len(cases)))
    announce(f"{len(cases)} cases, {len(committee.members)} members, {count} processes")
    facts = run_facts(committee, len(cases), settings.device)
    with recorded_run(store, "annotate", {**facts, "workers": count}) as run_id:
        team = _Team(store, committee, run_id, cases, count)
        started = time.monotonic()
        if cases:
            team.run(advance)
        return team.summary(time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What one process is given.

    Attributes:
        overlap: Whether it may have several cases at work.
        threads: For PyTorch; None leaves it alone.
    """

    workspace: Path
    settings: Settings
    run_id: str
    worker: str
    device: str
    cases: tuple[CaseRow, ...]
    overlap: bool = True
    threads: int | None = None


def worker_devices(settings: AnnotateSettings) -> list[str]:
    """Return where workers compute in turn: on every GPU, unless one of them is named.

    Raises:
        ConfigError: The device is not there.
    """
    device = choose_device(settings.device)
    if device.type == "cuda" and device.index is None:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [str(device)]


def work(job: WorkerJob) -> None:
    """Annotate the cases that no other worker has; the whole life of a worker process."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    store = Store.open(job.workspace, job.settings)
    with logged_run(store, job.worker), at_work(store, job.worker):
        committee = configured_committee(store)
        run = AnnotationRun(store, committee, job.worker, choose_device(job.device), job.cases)
        run.annotate([case.case_id for case in job.cases], overlap=job.overlap)


@dataclass(slots=True)
class _Team:
    """The workers of a run."""

    store: Store
    committee: CommitteeRecord
    run_id: str
    cases: tuple[CaseRow, ...]
    count: int
    _deaths: Counter[str] = field(default_factory=Counter)
    _idle_deaths: int = 0
    _started: int = 0

    def run(self, advance: Advance) -> None:
        """Start the workers, replace those that die, and wait for all."""
        devices = worker_devices(self.store.settings.annotate)
        with Workers() as workers:
            jobs: dict[SpawnProcess, WorkerJob] = {}
            for number in range(self.count):
                job = self._job(devices[number % len(devices)])
                jobs[workers.start(work, job)] = job
            while workers:
                for process in workers.ended(_LOOK_EVERY_S):
                    job = jobs.pop(process)
                    if process.exitcode != 0:
                        self._note_death(job, process.exitcode)
                        again = self._job(job.device, overlap=False)
                        jobs[workers.start(work, again)] = again
                with self.store.read() as connection:
                    closed, failed = run_outcomes(connection, self.run_id)
                advance(len(closed) + len(failed), len(self.cases))
            advance(len(self.cases), len(self.cases))

    def summary(self, seconds: float) -> AnnotateSummary:
        """Return what became of the cases."""
        with self.store.read() as connection:
            closed, failures = run_outcomes(connection, self.run_id)
            elsewhere = closed_predictions(connection, self.committee.committee_id)
        failed = {one.case_id: one for one in failures if one.case_id not in closed}
        others = [case.case_id for case in self.cases if case.case_id not in {*closed, *failed}]
        return AnnotateSummary(
            self.run_id,
            self.committee.committee_id,
            closed=tuple(closed),
            closed_elsewhere=tuple(name for name in others if name in elsewhere),
            held_elsewhere=tuple(name for name in others if name not in elsewhere),
            failed=tuple(
                FailedCase(one.case_id, Reason(one.reason), one.message) for one in failed.values()
            ),
            seconds=seconds,
        )

    def _job(self, device: str, *, overlap: bool = True) -> WorkerJob:
        self._started += 1
        cores = os.cpu_count() or 1
        return WorkerJob(
            workspace=self.store.workspace.root,
            settings=self.store.settings,
            run_id=self.run_id,
            worker=worker_id(self.run_id, self._started),
            device=device,
            cases=self.cases,
            overlap=overlap,
            threads=max(1, cores // self.count) if device == "cpu" else None,
        )

    def _note_death(self, job: WorkerJob, exit_code: int | None) -> None:
        """Record the case that a worker died of, where that is clear."""
        held = end_leases(self.store, job.worker)
        self._idle_deaths = 0 if held else self._idle_deaths + 1
        if self._idle_deaths >= _TRIES:
            raise WorkerError(
                f"worker processes end with exit code {exit_code} before they take a case; see "
                f"runs/{job.worker}.jsonl, or try one process: annotate --workers 1"
            )
        for case_id in held:
            self._deaths[case_id] += 1
            if self._deaths[case_id] >= _TRIES and len(held) == 1:
                message = f"its process ended with exit code {exit_code}, {_TRIES} times"
                record_failure(
                    self.store,
                    case_id,
                    self.committee.committee_id,
                    run_id=job.worker,
                    failure=(Reason.WORKER_DIED, message),
                )
