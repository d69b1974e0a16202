from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import ConflictError, StorageError, UsageError
from storage.durable_file import UNFINISHED, durable
from storage.training_runs import TrainingRun, begin_run, training_run, unfinished_run
from storage.workspace import Workspace, create_workspace

PLAN = {"steps": 3}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create_workspace(tmp_path / "w")


def with_states(workspace: Workspace, *steps: int) -> TrainingRun:
    run = begin_run(workspace, "r-1", PLAN)
    for step in steps:
        with run.new_checkpoint(step) as path:
            path.write_text(str(step))
    return run


def steps_of(run: TrainingRun) -> list[int]:
    return [int(path.read_text()) for path in run.checkpoints()]


def test_states_come_newest_first_and_the_rule_keeps_newest_and_best(workspace: Workspace) -> None:
    run = with_states(workspace, 9, 10, 100, 8)

    assert steps_of(run) == [100, 10, 9, 8]
    run.prune_checkpoints(keep=2, best_step=8)
    assert steps_of(run) == [100, 10, 8]


def test_an_unfinished_run_is_found_by_what_it_trains(workspace: Workspace) -> None:
    run = begin_run(workspace, "r-1", PLAN)
    begin_run(workspace, "r-2", {"steps": 4})

    assert unfinished_run(workspace, {"steps": 3}) == run
    assert unfinished_run(workspace, {"steps": 5}) is None
    run.finish({})
    assert unfinished_run(workspace, PLAN) is None
    assert training_run(workspace, "last").run_id == "r-2"


def test_one_process_holds_a_run_and_clears_what_a_killed_one_left(workspace: Workspace) -> None:
    run = with_states(workspace, 1)
    leftover = run.root / "checkpoints" / f".step-2{UNFINISHED}"
    leftover.touch()

    with run.held():
        assert not leftover.exists()
        with pytest.raises(ConflictError, match="another is at r-1"), run.held():
            pass


def test_runs_that_are_not_there_or_cannot_be_read_are_refused(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="known are none"):
        training_run(workspace, "last")
    (begin_run(workspace, "r-1", PLAN).root / "run.json").write_text("{")
    with pytest.raises(StorageError, match="cannot be read"):
        training_run(workspace, "r-1")


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")

    with pytest.raises(TypeError), durable(path) as temporary:
        temporary.write_text(1)  # type: ignore[arg-type]

    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    assert path.read_text() == "old"


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    blocked = durable(tmp_path / "file" / "state")
    with pytest.raises(StorageError, match="could not be written"), blocked as temporary:
        temporary.touch()
