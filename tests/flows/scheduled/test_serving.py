"""The flows on a real server of Prefect: they fire, are tried again and survive kills."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from configs.errors import SchedulerError
from flows.prefect_server import check_api, serve_lock_path
from flows.status import status
from storage.process_lock import is_held
from storage.verify import verify

ROOT = Path(__file__).resolve().parents[3]
EVERY_SECONDS = "* * * * * */15"
AT_ONCE = "* * * * * */5"
PATIENT = "Doe^Jane"
GONE = "its process is gone; the next run goes on with the rest"
POOL_SETTINGS = """
[schedule]
watch = ["in box", "away"]
settle_s = 1
devices = ["cpu", "cpu"]
pool_limit = 2
dead_after_s = 15
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_served_flow_fires_retries_and_finishes_what_a_killed_run_left(
    store, take_in, lines_of, tmp_path, served
):
    take_in(tmp_path / PATIENT, range(3))
    (tmp_path / PATIENT / "0.nii.gz").rename(tmp_path / "away.nii.gz")
    api = served(store, "--annotate-every", EVERY_SECONDS)

    wait_until(lambda: lines_of(store, "case.failed"), "a scheduled run reaches the lost file")
    (tmp_path / "away.nii.gz").rename(tmp_path / PATIENT / "0.nii.gz")
    wait_until(lambda: api.runs("COMPLETED", "3 cases closed"), "the chunk is tried again")
    first, second = api.post("task_runs", {"task_runs": {"name": {"like_": "annotate-chunk"}}})
    assert first["run_count"] > 1
    assert second["run_count"] == 1
    assert api.runs("COMPLETED", "3 cases closed")[0]["auto_scheduled"] is True

    take_in(tmp_path / PATIENT, range(3, 12))
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
    store, take_in, lines_of, tmp_path, served, judge_livers
):
    take_in(tmp_path / PATIENT, range(2))
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
    store, write_ct, lines_of, served, worker
):
    with store.workspace.settings_path.open("a") as file:
        file.write(POOL_SETTINGS)
    inbox = store.workspace.root / "in box" / PATIENT
    for seed in range(12):
        write_ct(inbox / f"{seed}.nii.gz", seed=seed)
    (inbox / "bad.nii.gz").write_text("no image")
    # Processes that start are what takes time here: one look will do.
    flags = ("--work-pool", "gpus", "--annotate-every", EVERY_SECONDS, "--watch-every")

    api = served(store, *flags, AT_ONCE)
    looks = lambda: api.runs("RUNNING") + api.runs("COMPLETED")  # noqa: E731
    (looking, *_) = wait_until(looks, "the watched folders are looked at")
    api.pause(looking["deployment_id"])
    first_worker = worker(api)
    wait_until(lambda: api.artifacts("intake-quarantined"), "the look leaves its table")
    amid = (lambda: len(lines_of(store, "case.annotated")) > 2, "a worker is amid the cases")
    wait_until(*amid, every_s=0.1)
    killed = flow_runs_at_work(store)
    die_together([*runs_at_work(store), first_worker.pid])
    served.kill()
    left = 12 - len(lines_of(store, "case.annotated"))
    wait_until(lambda: not api.answers(), "the killed server is gone")

    api = served(store, *flags, "")
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


@pytest.fixture(scope="session")
def server_state(tmp_path_factory):
    """The folder of a server that nobody asked anything yet; making its tables takes longest."""
    folder = tmp_path_factory.mktemp("prefect") / "home"
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    environment = {**serving_environment(), "PREFECT_HOME": str(folder), "DO_NOT_TRACK": "1"}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return folder


@pytest.fixture
def served(store, server_state, tmp_path):
    shutil.copytree(server_state, store.workspace.runs_path / "prefect")
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
            "PREFECT_WORKER_QUERY_SECONDS": "1",
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
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_RUNNER_PROCESS_LIMIT": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1",
        "ATLASLOOP_SCHEDULE__CHUNK_SIZE": "2",
        "ATLASLOOP_SCHEDULE__RETRIES": "10",
        "ATLASLOOP_SCHEDULE__RETRY_DELAY_S": "3",
        "ATLASLOOP_RETRAIN__STEPS": "2",
    }
