"""Several processes that share one run, and what becomes of the case of one that dies."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from configs.errors import ModelError, Reason, StorageError, WorkerError
from configs.settings import load_settings
from flows import annotate_workers, case_leases
from flows.annotate import annotate
from flows.annotate_workers import WorkerJob
from flows.case_selection import Selection
from flows.case_stages import CaseStages
from flows.intake import intake
from flows.status import status
from storage.cases import all_cases
from storage.leases import running
from storage.store import Store
from storage.verify import verify

FATAL_CASE = "TEST_FATAL_CASE"
WRITES_LEFT = "TEST_WRITES_LEFT"

pytestmark = pytest.mark.slow


def shared(store: Store, workers: int = 2) -> Store:
    flags = {"annotate": {"workers": workers}}
    return Store.open(
        store.workspace.root, load_settings(store.workspace.settings_path, flags).settings
    )


def take_in(store: Store, write_ct, folder: Path, count: int) -> list[str]:
    for seed in range(count):
        write_ct(folder / f"{seed}.nii.gz", seed=seed)
    intake(store, [folder])
    with store.read() as connection:
        return [case.case_id for case in all_cases(connection)]


def lines(store: Store) -> tuple[int, int]:
    with store.read() as connection:
        row = connection.execute("SELECT count(*), count(DISTINCT case_id) FROM predictions")
        return row.fetchone()  # type: ignore[return-value]


def dying_of_a_case(job: WorkerJob) -> None:
    """A worker's life that one case ends, as the system does when memory is full."""
    predict = CaseStages.predict

    def deadly(stages: CaseStages, opened):
        if opened.case.case_id == os.environ[FATAL_CASE]:
            os.kill(os.getpid(), signal.SIGKILL)
        return predict(stages, opened)

    CaseStages.predict = deadly
    annotate_workers.work(job)


def dying_at_once(job: WorkerJob) -> None:
    os._exit(7)


def refusing(job: WorkerJob) -> None:
    raise ModelError("the checkpoint does not fit")


def fill_disk(writes: int) -> None:
    """Make the disk full after some flushes, as a file system says it that allocates late."""
    flush, count = os.fsync, itertools.count()

    def flush_or_fail(descriptor: int) -> None:
        if next(count) >= writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    os.fsync = flush_or_fail


def on_a_full_disk(job: WorkerJob) -> None:
    fill_disk(int(os.environ[WRITES_LEFT]))
    annotate_workers.work(job)


def with_a_stepping_clock(job: WorkerJob) -> None:
    """Every look at the clock is an hour before or after the one before."""
    now, steps = case_leases._now, itertools.cycle((timedelta(), timedelta(hours=1)))
    case_leases._now = lambda: now() + next(steps)
    annotate_workers.work(job)


@pytest.mark.parametrize(("workers", "writes"), [(1, 0), (1, 60), (2, 60)])
def test_a_disk_that_fills_up_ends_the_run_and_the_next_one_finishes(
    store, write_ct, tmp_path, monkeypatch, workers, writes
) -> None:
    take_in(store, write_ct, tmp_path / "cts", 4)
    with monkeypatch.context() as full:
        if workers == 1:
            full.setattr(os, "fsync", os.fsync)
            fill_disk(writes)
        full.setenv(WRITES_LEFT, str(writes))
        full.setattr(annotate_workers, "work", on_a_full_disk)

        with pytest.raises(StorageError, match="No space left"):
            annotate(shared(store, workers))
    closed, _ = lines(store)
    assert running(store) == {}
    assert status(store).failures == ()

    assert len(annotate(store).closed) == 4 - closed

    assert lines(store) == (4, 4)
    assert verify(store).findings == ()


def test_a_clock_that_steps_by_an_hour_closes_no_case_twice(
    store, write_ct, tmp_path, monkeypatch
) -> None:
    """A step forward frees a living worker's cases: both compute them, and one closes them."""
    cases = take_in(store, write_ct, tmp_path / "cts", 6)
    monkeypatch.setattr(annotate_workers, "work", with_a_stepping_clock)

    summary = annotate(shared(store))

    assert sorted((*summary.closed, *summary.closed_elsewhere)) == sorted(cases)
    assert summary.failed == ()
    assert lines(store) == (6, 6)
    assert verify(store).findings == ()


def test_workers_share_the_cases_and_close_each_once(store, write_ct, tmp_path) -> None:
    cases = take_in(store, write_ct, tmp_path / "cts", 6)

    summary = annotate(shared(store), Selection(limit=5))

    assert sorted(summary.closed) == sorted(cases[:5])
    assert summary.failed == summary.held_elsewhere == summary.closed_elsewhere == ()
    assert lines(store) == (5, 5)
    logs = list(store.workspace.runs_path.glob(f"{summary.run_id}.w*.jsonl"))
    assert len(logs) == 2
    assert running(store) == {}
    assert verify(store).findings == ()


def test_a_case_that_ends_its_workers_is_recorded_and_the_others_are_closed(
    store, write_ct, tmp_path, monkeypatch
) -> None:
    cases = take_in(store, write_ct, tmp_path / "cts", 5)
    monkeypatch.setenv(FATAL_CASE, cases[2])
    monkeypatch.setattr(annotate_workers, "work", dying_of_a_case)

    summary = annotate(shared(store))

    assert [(case.case_id, case.reason) for case in summary.failed] == [
        (cases[2], Reason.WORKER_DIED)
    ]
    assert "exit code -9" in summary.failed[0].message
    assert sorted(summary.closed) == sorted(set(cases) - {cases[2]})
    assert lines(store) == (4, 4)
    assert [failure.case_id for failure in status(store).failures] == [cases[2]]
    monkeypatch.undo()
    assert annotate(store, Selection(retry_failed=True)).closed == (cases[2],)


def test_a_killed_worker_is_replaced_and_nothing_is_lost(store, write_ct, tmp_path) -> None:
    cases = take_in(store, write_ct, tmp_path / "cts", 8)
    killed: list[int] = []
    thread = threading.Thread(target=kill_a_holder, args=(store, killed))
    thread.start()

    summary = annotate(shared(store))

    thread.join()
    assert len(killed) == 1
    assert sorted(summary.closed) == sorted(cases)
    assert lines(store) == (8, 8)
    assert verify(store).findings == ()


def kill_a_holder(store: Store, killed: list[int]) -> None:
    """Kill the first worker that holds a case; its mark says its process id."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if running(store):
            for mark in store.workspace.runs_path.glob("*.w*.lock"):
                pid = int(mark.read_text() or 0)
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("life", "error"),
    [(dying_at_once, WorkerError), (refusing, ModelError)],
)
def test_workers_that_cannot_start_end_the_run(
    store, write_ct, tmp_path, monkeypatch, life, error
) -> None:
    take_in(store, write_ct, tmp_path / "cts", 2)
    monkeypatch.setattr(annotate_workers, "work", life)

    with pytest.raises(error):
        annotate(shared(store))

    assert lines(store) == (0, 0)


def test_each_worker_gets_a_gpu_in_turn(store, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    settings = shared(store, workers=4).settings
    auto = settings.model_copy(update={"annotate": replace_device(settings, "auto")})
    named = settings.model_copy(update={"annotate": replace_device(settings, "cuda:1")})

    assert annotate_workers.worker_devices(auto.annotate) == ["cuda:0", "cuda:1", "cuda:2"]
    assert annotate_workers.worker_devices(named.annotate) == ["cuda:1"]


def replace_device(settings, device: str):
    return settings.annotate.model_copy(update={"device": device})
