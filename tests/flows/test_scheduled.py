"""The flows under Prefect: their plain parts without a server, the whole on a real one."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from configs.errors import NothingToLearnError, SchedulerError, UsageError
from configs.settings import ScheduleSettings
from flows.annotate import annotation_run
from flows.flow_pages import annotation_page, failure_rows
from flows.intake import intake
from flows.prefect_server import (
    check_api,
    local_server,
    prepare_environment,
    serve_lock_path,
)
from flows.retrain import RetrainSummary
from flows.status import status
from flows.train_request import TrainOverrides, TrainRequest
from model.gate import GateDecision
from storage.model_registry import registered_models
from storage.process_lock import is_held, process_lock
from storage.verify import verify

ROOT = Path(__file__).resolve().parents[2]
EVERY_SECONDS = "* * * * * */15"
TWICE_A_MINUTE = "* * * * * */30"
PATIENT = "Doe^Jane"
GONE = "its process is gone; the next run goes on with the rest"
POOL_SETTINGS = """
[schedule]
watch = ["in box", "away"]
settle_s = 1
devices = ["cpu", "cpu"]
pool_limit = 2
dead_after_s = 30
"""


@pytest.fixture
def scheduled(monkeypatch):
    """The module that imports Prefect."""
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    return pytest.importorskip("flows.scheduled")


def take_in(store, write_ct, folder, seeds):
    for seed in seeds:
        write_ct(folder / f"{seed}.nii.gz", seed=seed)
    intake(store, [folder])


def lines_of(store, kind):
    lines = [json.loads(line) for line in store.journal.path.read_text().splitlines()]
    return [line["data"] for line in lines if line["kind"] == kind]


def case_ids(run):
    return [case.case_id for case in run.cases]


def test_chunk_with_a_failed_case_is_failed_and_names_no_file(scheduled, store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / PATIENT, range(2))
    (tmp_path / PATIENT / "0.nii.gz").unlink()

    with annotation_run(store) as run:
        state = scheduled.annotate_chunk.fn(run, case_ids(run))

    assert state.is_failed()
    assert "(missing_file)" in state.message
    assert PATIENT not in state.message + str(state.result(raise_on_failure=False))
    assert len(scheduled.outcome(state).closed) == 1


def test_chunk_tried_again_closes_what_failed_and_nothing_twice(
    scheduled, store, write_ct, tmp_path
):
    take_in(store, write_ct, tmp_path / "cts", range(2))
    (tmp_path / "cts" / "0.nii.gz").rename(tmp_path / "away.nii.gz")

    with annotation_run(store) as run:
        scheduled.annotate_chunk.fn(run, case_ids(run))
        (tmp_path / "away.nii.gz").rename(tmp_path / "cts" / "0.nii.gz")
        state = scheduled.annotate_chunk.fn(run, case_ids(run))

    assert state.is_completed()
    assert len(scheduled.outcome(state).closed) == 2
    assert len(lines_of(store, "case.annotated")) == 2


def test_fault_of_ours_reaches_prefect_without_its_words(
    scheduled, store, write_ct, tmp_path, monkeypatch
):
    take_in(store, write_ct, tmp_path / "cts", range(1))

    def break_down(*_):
        raise KeyError(PATIENT)

    monkeypatch.setattr("flows.annotate.AnnotationRun.annotate", break_down)
    with annotation_run(store) as run, pytest.raises(SchedulerError) as caught:
        scheduled.annotate_chunk.fn(run, case_ids(run))

    assert "KeyError" in str(caught.value)
    assert PATIENT not in str(caught.value)


def test_page_lists_failures_by_id_and_reason(scheduled, store, write_ct, tmp_path):
    take_in(store, write_ct, tmp_path / PATIENT, range(2))
    (tmp_path / PATIENT / "0.nii.gz").unlink()

    with annotation_run(store) as run:
        summary = run.annotate(case_ids(run))
    page, rows = annotation_page(summary), failure_rows(summary)

    assert rows == [{"case": summary.failed[0].case_id, "reason": "missing_file"}]
    assert "| closed | 1 |" in page
    assert "| failed | 1 |" in page
    assert PATIENT not in page + str(rows)


def crons(deployment):
    return [entry.schedule.cron for entry in deployment.schedules]


def test_every_flow_is_deployed_and_an_empty_cron_is_never(scheduled, tmp_path):
    schedule = ScheduleSettings(annotate_every="0 6 * * *", timezone="Europe/Berlin")

    made = scheduled.deployments(tmp_path / "w", schedule)

    intake, triage, annotate, retrain = made.served
    names = [deployment.flow_name for deployment in made.served]
    assert names == ["intake", "triage", "annotate", "retrain"]
    assert annotate.schedules[0].schedule.timezone == "Europe/Berlin"
    assert crons(annotate) == ["0 6 * * *"]
    assert crons(triage) == []
    assert crons(intake) == [], "no folder is watched"
    assert retrain.parameters["only_if_new"] is True
    assert annotate.name != scheduled.deployments(tmp_path / "v" / "w", schedule).served[0].name


def test_by_default_nights_annotate_weeks_retrain_and_watched_folders_are_looked_at(
    scheduled, tmp_path
):
    made = scheduled.deployments(tmp_path, ScheduleSettings(watch=("in box",)))

    assert [crons(deployment) for deployment in made.served] == [
        ["*/15 * * * *"],
        [],
        ["0 1 * * *"],
        ["0 6 * * 6"],
    ]
    assert "in box" not in str(made.served[0].parameters)


def test_each_device_is_a_run_of_its_own_and_a_pool_takes_only_what_computes(scheduled, tmp_path):
    schedule = ScheduleSettings(devices=("cuda:0", "cuda:1"), run_limit=2)

    made = scheduled.deployments(tmp_path, schedule, work_pool="gpus")

    assert [deployment.flow_name for deployment in made.served] == ["intake", "triage"]
    annotate, retrain = made.pooled
    assert [entry.parameters for entry in annotate.schedules] == [
        {"device": "cuda:0", "place": 0},
        {"device": "cuda:1", "place": 1},
    ]
    assert annotate.concurrency_limit == 2
    assert retrain.flow_name == "retrain"


def test_retraining_without_a_verdict_fails_with_our_own_words_where_it_was_asked_for(
    scheduled, store, write_ct, tmp_path, monkeypatch
):
    monkeypatch.setattr(scheduled, "challenge", scheduled.challenge.fn)
    take_in(store, write_ct, tmp_path / "cts", range(1))

    with pytest.raises(NothingToLearnError):
        scheduled.retrain.fn(store.workspace.root)


def test_scheduled_retraining_without_a_label_is_completed_and_freezes_no_role(
    scheduled, store, write_ct, tmp_path
):
    take_in(store, write_ct, tmp_path / "cts", range(1))

    state = scheduled.retrain.fn(store.workspace.root, only_if_new=True)

    assert state.is_completed()
    assert state.message.startswith("nothing to learn")
    assert lines_of(store, "split.frozen") == []


def test_scheduled_retraining_without_a_label_to_train_on_is_completed(
    scheduled, store, write_ct, tmp_path, monkeypatch, judge_livers
):
    monkeypatch.setattr(scheduled, "challenge", scheduled.challenge.fn)
    monkeypatch.setattr("flows.retrain.stored_labels", lambda store: [])
    take_in(store, write_ct, tmp_path / "cts", range(2))
    judge_livers(store)

    state = scheduled.retrain.fn(store.workspace.root, only_if_new=True)

    assert state.message == "nothing to learn: no label is of a patient who trains"


def test_retraining_tells_what_the_gate_decided(scheduled, store, monkeypatch):
    decision = GateDecision("promoted", rows=(), needed=None, reason="all hold")
    summary = RetrainSummary("g-1", decision, labels=3, gate_patients=9, members=("m0",))
    pages = []
    monkeypatch.setattr(scheduled, "challenge", scheduled.challenge.fn)
    monkeypatch.setattr("flows.retrain.retrain", lambda store, options: summary)
    monkeypatch.setattr(
        scheduled, "create_markdown_artifact", lambda page, key: pages.append((key, page))
    )

    state = scheduled.retrain.fn(store.workspace.root)

    assert state.message == "promoted"
    assert scheduled.outcome(state) == summary
    assert pages == [("retrain", "Gate g-1: promoted, 3 labels, 9 gate patients")]


def test_only_a_run_that_twice_holds_no_lock_for_long_is_marked_as_crashed(
    scheduled, store, monkeypatch
):
    long_ago = datetime.now(UTC) - timedelta(seconds=301)
    dead, alive, young = (
        SimpleNamespace(id=uuid4(), state=SimpleNamespace(timestamp=at))
        for at in (long_ago, long_ago, datetime.now(UTC))
    )
    marked = []

    class Client(contextlib.AbstractAsyncContextManager):
        async def __aexit__(self, *_):
            return None

        async def read_flow_runs(self, **_):
            return [dead, alive, young]

        async def set_flow_run_state(self, run_id, state, *, force):
            marked.append((run_id, state.name, force))

    monkeypatch.setattr(scheduled, "get_client", Client)
    with process_lock(scheduled._life_mark(store, alive.id)):
        look = scheduled._mark_dead_runs_once
        suspects = asyncio.run(look("w-1", store, frozenset()))
        after_one_look = list(marked)
        asyncio.run(look("w-1", store, suspects))

    assert suspects == {dead.id}
    assert after_one_look == []
    assert marked == [(dead.id, "Crashed", True)]


def test_training_as_a_flow_registers_a_model_and_says_so(
    scheduled, training_store, tiny_cohort, monkeypatch
):
    pages: list[tuple[str, str]] = []
    monkeypatch.setattr(
        scheduled, "create_markdown_artifact", lambda page, key: pages.append((key, page))
    )
    preset = TrainOverrides(preset="small", steps=1)
    request = TrainRequest(folders=(tiny_cohort,), name="first", overrides=preset, device="cpu")

    state = scheduled.train.fn(training_store.workspace.root, request=request)

    assert state.is_completed()
    assert list(registered_models(training_store)) == ["first"]
    ((key, page),) = pages
    assert key == "train"
    assert page.startswith("Model first: loss ")
    assert str(tiny_cohort) not in page


def test_training_flow_checks_what_it_is_asked_for(scheduled, training_store):
    request = TrainRequest(resume="last", name="first")

    with pytest.raises(UsageError, match="leave out data, name"):
        scheduled.train.fn(training_store.workspace.root, request=request)


def test_broken_cron_is_named(scheduled, tmp_path):
    with pytest.raises(scheduled.ConfigError, match=r"schedule\.triage_every .* 'at noon'"):
        scheduled.deployments(tmp_path, ScheduleSettings(triage_every="at noon"))


def test_server_that_does_not_answer_is_a_clear_error():
    with pytest.raises(SchedulerError, match="none answers"):
        check_api("http://127.0.0.1:9/api")


def test_local_server_keeps_leases_where_they_outlive_it_and_calls_nobody(store, monkeypatch):
    monkeypatch.setattr("os.environ", {})

    prepare_environment(store.workspace)

    assert os.environ["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_HOME"] == str(store.workspace.runs_path / "prefect")


def test_workspace_is_served_once(store):
    with (
        process_lock(serve_lock_path(store.workspace)),
        local_server(store.workspace, 4200) as url,
    ):
        assert url is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_served_flow_fires_retries_and_finishes_what_a_killed_run_left(
    store, write_ct, tmp_path, served
):
    take_in(store, write_ct, tmp_path / PATIENT, range(3))
    (tmp_path / PATIENT / "0.nii.gz").rename(tmp_path / "away.nii.gz")
    api = served(store, "--annotate-every", EVERY_SECONDS)

    wait_until(lambda: lines_of(store, "case.failed"), "a scheduled run reaches the lost file")
    (tmp_path / "away.nii.gz").rename(tmp_path / PATIENT / "0.nii.gz")
    wait_until(lambda: api.runs("COMPLETED", "3 cases closed"), "the chunk is tried again")
    first, second = api.post("task_runs", {"task_runs": {"name": {"like_": "annotate-chunk"}}})
    assert first["run_count"] > 1
    assert second["run_count"] == 1
    assert api.runs("COMPLETED", "3 cases closed")[0]["auto_scheduled"] is True

    take_in(store, write_ct, tmp_path / PATIENT, range(3, 12))
    amid = (lambda: len(lines_of(store, "case.annotated")) > 4, "a run is amid the new cases")
    wait_until(*amid, every_s=0.1)
    os.kill(process_at_work(store), signal.SIGKILL)
    left = status(store).unfinished
    wait_until(lambda: api.runs("CRASHED"), "Prefect sees that the run died")
    wait_until(lambda: status(store).unfinished == 0, "the next run finishes the rest")

    command = [*command_line(store, "triage"), "--prefect", "--json"]
    ranked = subprocess.run(
        command, cwd=ROOT, env=serving_environment(), capture_output=True, check=True
    )
    assert json.loads(ranked.stdout)["present"] == len(view_queue(store, "present"))
    assert any(run["state"]["message"].startswith("queue: ") for run in api.runs("COMPLETED"))

    assert left > 0, "the kill came too late to matter"
    closed = [line["case_id"] for line in lines_of(store, "case.annotated")]
    assert len(closed) == len(set(closed)) == 12
    starters = {
        json.dumps(line["facts"]["started_by"])
        for line in lines_of(store, "run.started")
        if line["verb"] == "annotate"
    }
    assert len(starters) >= 3
    assert verify(store).findings == ()
    assert [
        path.name for path in prefect_files(store) if PATIENT.encode() in path.read_bytes()
    ] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_served_retraining_fires_and_ends_with_the_gates_word_in_the_journal(
    store, write_ct, tmp_path, served, judge_livers
):
    take_in(store, write_ct, tmp_path / PATIENT, range(2))
    judge_livers(store)
    api = served(store, "--annotate-every", "", "--retrain-every", EVERY_SECONDS)

    (fired,) = wait_until(lambda: api.runs("RUNNING"), "a scheduled retraining begins")
    api.pause(fired["deployment_id"])
    wait_until(lambda: api.runs("COMPLETED", "underpowered"), "it ends with the gate's word")
    command = [*command_line(store, "retrain"), "--prefect", "--json", "--member", "m1"]
    asked = subprocess.run(
        command, cwd=ROOT, env=serving_environment(), capture_output=True, check=True
    )

    assert fired["auto_scheduled"] is True
    started = {
        line["facts"]["started_by"]["prefect_flow_run"]: line["facts"]["members"]
        for line in lines_of(store, "run.started")
        if line["verb"] == "retrain"
    }
    assert started[fired["id"]] == ["m0", "m1"]
    decided = lines_of(store, "gate.decided")
    assert decided[0]["outcome"] == "underpowered"
    assert [entry["name"] for entry in decided[0]["members"]] == ["m0", "m1"]
    by_hand = [run for run in api.runs("COMPLETED") if not run["auto_scheduled"]]
    assert [started[run["id"]] for run in by_hand] == [["m1"]]
    assert json.loads(asked.stdout)["decision"]["outcome"] == "underpowered"
    assert verify(store).findings == ()
    assert [
        path.name for path in prefect_files(store) if PATIENT.encode() in path.read_bytes()
    ] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pool_finishes_what_a_watched_folder_brought_though_worker_and_server_were_killed(
    store, write_ct, tmp_path, served, worker
):
    with store.workspace.settings_path.open("a") as file:
        file.write(POOL_SETTINGS)
    inbox = store.workspace.root / "in box" / PATIENT
    for seed in range(12):
        write_ct(inbox / f"{seed}.nii.gz", seed=seed)
    (inbox / "bad.nii.gz").write_text("no image")
    flags = ("--annotate-every", TWICE_A_MINUTE, "--watch-every", TWICE_A_MINUTE)

    api = served(store, *flags, "--work-pool", "gpus")
    first_worker = worker(api)
    amid = (lambda: len(lines_of(store, "case.annotated")) > 2, "a worker is amid the cases")
    wait_until(*amid, every_s=0.1)
    killed = flow_runs_at_work(store)
    die_together([*runs_at_work(store), first_worker.pid])
    served.kill()
    left = 12 - len(lines_of(store, "case.annotated"))
    wait_until(lambda: not api.answers(), "the killed server is gone")

    api = served(store, *flags, "--work-pool", "gpus")
    worker(api)
    found = lambda: killed <= {run["id"] for run in api.runs("CRASHED", GONE)}  # noqa: E731
    wait_until(found, "the dead runs are found")
    wait_until(lambda: status(store).unfinished == 0, "the next runs finish the rest")
    wait_until(lambda: api.artifacts("annotate-report"), "a run leaves its report")

    assert left > 0, "the kill came too late to matter"
    assert killed
    closed = [line["case_id"] for line in lines_of(store, "case.annotated")]
    assert len(closed) == len(set(closed)) == 12
    (bad,) = lines_of(store, "file.quarantined")
    (table, *_) = api.artifacts("intake-quarantined")
    assert json.loads(table["data"]) == [{"file": bad["file_id"], "reason": "not_an_image"}]
    looks = [run["state"]["message"] for run in api.runs("COMPLETED")]
    assert "nothing new; of 2 watched folders away or emptied: 2" in looks
    assert api.artifacts("annotate-report")[0]["data"].startswith("[r-")
    dead = {run["id"]: run["work_pool_name"] for run in api.runs("CRASHED", GONE)}
    assert {dead[run_id] for run_id in killed} == {"gpus"}
    assert verify(store).findings == ()
    assert [
        path.name for path in prefect_files(store) if PATIENT.encode() in path.read_bytes()
    ] == []


def wait_until(condition, what, *, timeout_s=240, every_s=0.5):
    """What the condition gives once it holds; asked seldom, since the server has to answer."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain until {what}"
        time.sleep(every_s)
    return found


def process_at_work(store):
    """The process of the run that holds a lease mark now."""
    (process,) = runs_at_work(store)
    return process


def runs_at_work(store):
    """The processes of the runs that hold a lease mark now."""
    marks = [path for path in store.workspace.runs_path.glob("r-*.lock") if is_held(path)]
    return [int(mark.read_text()) for mark in marks]


def flow_runs_at_work(store):
    """Ids of the flow runs whose processes live and compute."""
    marks = [path for path in store.workspace.runs_path.glob("flow-*.lock") if is_held(path)]
    return {path.stem.removeprefix("flow-") for path in marks}


def die_together(processes):
    """Kill processes of which none can see another one die first."""
    for strength in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            os.kill(process, strength)


def view_queue(store, kind):
    with store.read() as connection:
        return connection.execute("SELECT * FROM current_queue WHERE kind = ?", [kind]).fetchall()


def prefect_files(store):
    files = [path for path in (store.workspace.runs_path / "prefect").rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files)
    return files


class Api:
    """The few questions that the test asks the server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def answers(self) -> bool:
        try:
            check_api(self.url)
        except SchedulerError:
            return False
        return True

    def post(self, what: str, question: dict) -> list[dict]:
        """What a filter finds, oldest first."""
        sort = {"sort": "EXPECTED_START_TIME_ASC"}
        return json.loads(self.send(f"{what}/filter", {**question, **sort}))

    def pause(self, deployment_id: str) -> None:
        """Let a deployment fire no more."""
        self.send(f"deployments/{deployment_id}/pause_deployment", {})

    def send(self, path: str, body: dict) -> bytes:
        request = urllib.request.Request(
            f"{self.url}/{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.read()

    def artifacts(self, key: str) -> list[dict]:
        """What runs left under a key."""
        question = {"artifacts": {"key": {"any_": [key]}}}
        return json.loads(self.send("artifacts/filter", question))

    def runs(self, kind: str, message: str | None = None) -> list[dict]:
        """Flow runs in a state, oldest first."""
        found = self.post("flow_runs", {"flow_runs": {"state": {"type": {"any_": [kind]}}}})
        return [run for run in found if message in (None, run["state"]["message"])]


class Served:
    """A starter of `atlasloop serve` with a server of its own."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._started: list[tuple[subprocess.Popen[bytes], Path]] = []

    def __call__(self, store, *flags: str) -> Api:
        process = start([*command_line(store, "serve"), *flags], self._log, serving_environment())
        lock = serve_lock_path(store.workspace)
        self._started.append((process, lock))
        wait_until(lambda: is_held(lock) and lock.read_text(), "the server has a port")
        api = Api(lock.read_text())
        wait_until(api.answers, "the server answers")
        return api

    def kill(self) -> None:
        """Let the last one die at once; what it started is left to itself."""
        process, _ = self._started.pop()
        process.kill()
        process.wait(timeout=30)

    def end(self) -> None:
        """End those that live, and check that they end well."""
        for process, lock in self._started:
            url = lock.read_text()
            process.send_signal(signal.SIGTERM)
            try:
                assert process.wait(timeout=90) == 0, self._log.read_text()[-3000:]
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            assert not is_held(lock)
            assert not Api(url).answers()


@pytest.fixture
def served(tmp_path):
    starter = Served(tmp_path / "serve.log")
    yield starter
    starter.end()


@pytest.fixture
def worker(tmp_path):
    """A starter of Prefect's own worker of the pool `gpus`."""
    started = []

    def work(api):
        environment = {
            **serving_environment(),
            "PREFECT_API_URL": api.url,
            "PREFECT_HOME": str(tmp_path / "home of a worker"),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "DO_NOT_TRACK": "1",
        }
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpus"]
        started.append(start([*command, "--limit", "2"], tmp_path / "worker.log", environment))
        return started[-1]

    yield work
    for process in started:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def start(command, log, environment):
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def command_line(store, verb):
    return [sys.executable, "-m", "flows.cli", verb, "-w", store.workspace.root]


def serving_environment():
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "ATLASLOOP"))}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "PREFECT_RUNNER_PROCESS_LIMIT": "1",
        "ATLASLOOP_SCHEDULE__CHUNK_SIZE": "2",
        "ATLASLOOP_SCHEDULE__RETRIES": "10",
        "ATLASLOOP_SCHEDULE__RETRY_DELAY_S": "3",
        "ATLASLOOP_RETRAIN__STEPS": "2",
    }
