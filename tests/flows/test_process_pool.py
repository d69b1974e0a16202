"""Nobody is left behind: by an error, by Ctrl-C on a terminal, by a kill of the one in charge."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.intake import intake
from flows.process_pool import side_by_side

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120
# A command of ours, cut down to the pool: each worker says who it is, then works until told to end.
COMMAND = """
import os
import sys
import time
from pathlib import Path

import typer

from flows.boundary import guarded
from flows.process_pool import side_by_side


def work(folder):
    (Path(folder) / str(os.getpid())).touch()
    while not (Path(folder).parent / "enough").exists():
        time.sleep(0.05)


@guarded
def command(folder: str):
    side_by_side(work, [folder] * 2, workers=2)


if __name__ == "__main__":
    typer.run(command)
"""


def double(number):
    return 2 * number


def fail_once_the_other_works(job):
    folder, fails = job
    if fails:
        wait_until(lambda: list(folder.iterdir()), "the other works")
        raise ValueError("this one fails")
    (folder / str(os.getpid())).touch()
    time.sleep(600)


@pytest.fixture
def workers(tmp_path):
    folder = tmp_path / "workers"
    folder.mkdir()
    return folder


@pytest.fixture
def started(tmp_path):
    """A starter of a command in a session of its own, as a shell gives it its own group."""
    children = []

    def start(*command):
        with (tmp_path / "errors").open("wb") as errors:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            children.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    cwd=ROOT,
                    env={**environment, "ATLASLOOP_RETRAIN__STEPS": "1000000"},
                    stdout=errors,
                    stderr=errors,
                    start_new_session=True,
                )
            )
        return children[-1]

    yield start
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(PATIENCE_S)


def test_results_come_in_the_jobs_order():
    assert side_by_side(double, [3, 1, 2], workers=2) == [6, 2, 4]


def test_what_one_raises_ends_the_others(workers):
    with pytest.raises(ValueError, match="this one fails"):
        side_by_side(fail_once_the_other_works, [(workers, False), (workers, True)], workers=2)

    assert gone(workers)


def test_ctrl_c_ends_all_with_one_line(started, workers, tmp_path):
    command = started(command_file(tmp_path), workers)
    wait_until(lambda: len(list(workers.iterdir())) == 2, "both work")

    os.killpg(command.pid, signal.SIGINT)

    assert command.wait(PATIENCE_S) == 130
    assert said(tmp_path) == [
        "error: interrupted; what was finished is kept, run the same command to go on"
    ]
    assert gone(workers)


def test_ctrl_c_is_the_commands_alone_to_answer(started, workers, tmp_path):
    command = started(command_file(tmp_path), workers)
    wait_until(lambda: len(list(workers.iterdir())) == 2, "both work")

    for worker in workers.iterdir():
        os.kill(int(worker.name), signal.SIGINT)
    (tmp_path / "enough").touch()

    assert command.wait(PATIENCE_S) == 0
    assert said(tmp_path) == []


def test_workers_of_a_killed_command_end_too(started, workers, tmp_path):
    command = started(command_file(tmp_path), workers)
    wait_until(lambda: len(list(workers.iterdir())) == 2, "both work")

    os.kill(command.pid, signal.SIGKILL)

    wait_until(lambda: gone(workers), "the workers end")
    assert gone(workers)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_while_a_committee_learns_leaves_no_process_and_no_traceback(
    store, write_ct, judge_livers, started, tmp_path
):
    for seed in range(2):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    intake(store, [tmp_path / "cts"])
    judge_livers(store)
    lines = len(store.journal.path.read_text().splitlines())
    command = started("-m", "flows.cli", "retrain", "-w", store.workspace.root)
    members = wait_until(lambda: loading_torch(command.pid), "both members begin")

    os.killpg(command.pid, signal.SIGINT)

    assert command.wait(PATIENCE_S) == 130
    assert said(tmp_path) == [
        "error: interrupted; what was finished is kept, run the same command to go on"
    ]
    assert [pid for pid in members if is_alive(pid)] == []
    added = store.journal.path.read_text().splitlines()[lines:]
    assert len(added) == 1
    assert '"verb":"retrain"' in added[0]


def command_file(folder):
    path = folder / "command.py"
    path.write_text(COMMAND)
    return path


def said(folder):
    return (folder / "errors").read_text().splitlines()


def gone(workers):
    return not [path for path in workers.iterdir() if is_alive(int(path.name))]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    # Where process 1 of a container reaps no orphans, their entry stays although they ended.
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def loading_torch(pid):
    """The two children that have begun to load PyTorch: the worst time for Ctrl-C."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    maps = {int(child): Path(f"/proc/{child}/maps").read_text() for child in children}
    loading = [child for child, mapped in maps.items() if "libtorch" in mapped]
    return loading if len(loading) == 2 else None


def wait_until(condition, what):
    """What the condition gives once it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain until {what}"
        time.sleep(0.05)
    return found
