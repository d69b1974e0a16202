from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import flows
from configs.errors import ConflictError, ModelError, StoppedError, UsageError, exit_code
from flows.train import resume, train_plan
from flows.train_loop import TrainingWatch
from flows.training_plan import TrainingPlan
from model.checkpoint import load_checkpoint
from model.training import TrainedMember
from storage.model_registry import register_model, registered_models
from storage.store import Store
from storage.training_runs import TrainingRun, training_run

ROOT = Path(flows.__file__).parents[1]


@pytest.fixture(autouse=True)
def _without_pictures(request, monkeypatch) -> None:
    """Drawing takes longer than all the steps; one test looks at a picture."""
    if not request.node.name.endswith("pictures"):
        monkeypatch.setattr("flows.training_curves.draw_curves", lambda path, *_: path.touch())


class BrokenOffError(Exception):
    """Ends a training in the middle of the loop, as no signal does."""


def breaking_at(step: int) -> TrainingWatch:
    def advance(done: int, total: int) -> None:
        if done == step:
            raise BrokenOffError

    return TrainingWatch(advance=advance)


def last_run(store: Store) -> TrainingRun:
    return training_run(store.workspace, "last")


def losses(store: Store) -> list[tuple[str, str]]:
    with last_run(store).steps_csv.open() as file:
        return [(row["step"], row["loss"]) for row in csv.DictReader(file)]


def test_a_training_leaves_a_model_and_states_and_curves_with_pictures(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    summary = train_plan(training_store, tiny_plan)

    assert summary is not None
    run = last_run(training_store)
    assert run.run_id == summary.run_id
    assert run.is_finished
    assert [path.name for path in run.checkpoints()] == [
        "step-00000008.safetensors",
        "step-00000007.safetensors",
    ]
    assert [step for step, _ in losses(training_store)] == [str(n) for n in range(1, 9)]
    assert run.curves_png.read_bytes().startswith(b"\x89PNG")
    events = EventAccumulator(str(run.tensorboard)).Reload()
    tags = {f"training/{name}" for name in ("loss", "learning_rate", "gradient_norm", "seconds")}
    assert set(events.Tags()["scalars"]) == tags
    assert len(events.Scalars("training/loss")) == 8
    model = registered_models(training_store)["tiny"]
    assert model.weights == summary.model.weights
    assert TrainingPlan.from_description(run.description) == tiny_plan


def test_an_interrupted_training_goes_on_by_itself_and_ends_alike(
    make_training_store, tiny_plan: TrainingPlan, tmp_path: Path
) -> None:
    undisturbed = make_training_store(tmp_path / "one")
    expected = train_plan(undisturbed, tiny_plan)
    store = make_training_store(tmp_path / "two")
    for step in (3, 5):
        with pytest.raises(BrokenOffError):
            train_plan(store, tiny_plan, watch=breaking_at(step))
    told: list[str] = []

    summary = train_plan(store, tiny_plan, watch=TrainingWatch(announce=told.append))

    assert expected is not None
    assert summary is not None
    assert summary.model.weights == expected.model.weights
    assert summary.final_loss == expected.final_loss
    assert losses(store) == losses(undisturbed)
    assert told == [f"run {summary.run_id} goes on after step 4"]
    assert len(list((store.workspace.runs_path / "train").iterdir())) == 1


def test_a_run_is_resumed_by_its_id_and_only_once(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    with pytest.raises(BrokenOffError):
        train_plan(training_store, tiny_plan, watch=breaking_at(4))
    run_id = last_run(training_store).run_id

    summary = resume(training_store, run_id)

    assert summary is not None
    assert (summary.run_id, summary.steps) == (run_id, 8)
    with pytest.raises(UsageError, match="that ended is not resumed"):
        resume(training_store, "last")
    with pytest.raises(UsageError, match="got 'r-none'; known are r-"):
        resume(training_store, "r-none")


def test_a_damaged_newest_state_is_left_out(training_store: Store, tiny_plan: TrainingPlan) -> None:
    with pytest.raises(BrokenOffError):
        train_plan(training_store, tiny_plan, watch=breaking_at(5))
    newest = last_run(training_store).checkpoints()[0]
    newest.write_bytes(newest.read_bytes()[:-100])
    told: list[str] = []

    resume(training_store, "last", watch=TrainingWatch(announce=told.append))

    assert told[0].endswith("goes on after step 3")


def test_other_data_are_refused_when_a_run_is_resumed(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    with pytest.raises(BrokenOffError):
        train_plan(training_store, tiny_plan, watch=breaking_at(2))
    index = tiny_plan.data[0] / "cohort.json"
    facts = json.loads(index.read_text())
    facts["cases"] = facts["cases"][:1]
    index.write_text(json.dumps(facts))

    with pytest.raises(ConflictError, match="cases were added, removed or changed"):
        resume(training_store, "last")


def test_a_second_process_in_a_run_is_refused(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    refused: list[str] = []

    def second(done: int, total: int) -> None:
        if done == 2:
            with pytest.raises(ConflictError) as caught:
                train_plan(training_store, tiny_plan)
            refused.append(str(caught.value))

    train_plan(training_store, tiny_plan, watch=TrainingWatch(advance=second))

    assert ["one process trains in a run at a time" in text for text in refused] == [True]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_state_and_has_an_exit_code(
    training_store: Store, tiny_plan: TrainingPlan, number: int, code: int
) -> None:
    before = signal.getsignal(number)

    def advance(done: int, total: int) -> None:
        if done == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(StoppedError, match=r"stopped after step 3.*--resume r-") as caught:
        train_plan(training_store, tiny_plan, watch=TrainingWatch(advance=advance))

    assert exit_code(caught.value) == code
    assert last_run(training_store).checkpoints()[0].name == "step-00000003.safetensors"
    assert signal.getsignal(number) == before


def test_the_best_validated_state_stays_beside_the_newest(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    asked: list[int] = []
    settings = training_store.settings
    settings = settings.model_copy(
        update={"train": settings.train.model_copy(update={"validate_every": 3})}
    )
    store = Store.open(training_store.workspace.root, settings)

    def validate(trained: TrainedMember, step: int) -> Mapping[str, float]:
        assert not trained.network.training
        asked.append(step)
        return {"macro": 1.0 / step, "liver": 0.5}

    train_plan(store, tiny_plan, watch=TrainingWatch(validate=validate))

    assert asked == [3, 6, 8]
    run = last_run(store)
    assert [int(path.stem.removeprefix("step-")) for path in run.checkpoints()] == [8, 7, 3]
    rows = run.validation_csv.read_text().splitlines()
    assert rows[:2] == ["step,figure,value", f"3,macro,{1 / 3}"]
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert [event.step for event in events.Scalars("validation/liver")] == [3, 6, 8]


def test_a_loss_that_is_not_finite_keeps_the_state_before_it(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    settings = replace(tiny_plan.settings, learning_rate=1e30, warmup=0.0, average_decay=None)
    told: list[str] = []

    with pytest.raises(ModelError, match=r"did not at step \d+ .cases (a-1|b-1)"):
        train_plan(
            training_store,
            replace(tiny_plan, settings=settings),
            watch=TrainingWatch(announce=told.append),
        )

    run = last_run(training_store)
    assert run.checkpoints()
    assert not run.is_finished
    assert f"--init {run.run_id}" in told[-1]


def test_first_weights_come_from_a_model_or_a_run(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    first = train_plan(training_store, tiny_plan)
    assert first is not None
    quarter = replace(tiny_plan.settings, steps=1, learning_rate=1e-9, average_decay=None)
    weights = load_checkpoint(training_store.objects.path(first.model.weights)).network

    for source in ("tiny", first.run_id):
        told: list[str] = []
        plan = replace(tiny_plan, name="next", settings=quarter, init=source)
        summary = train_plan(training_store, plan, watch=TrainingWatch(announce=told.append))

        assert summary is not None
        after = load_checkpoint(training_store.objects.path(summary.model.weights)).network
        assert told[0].startswith("first weights matched: ")
        if source == "tiny":
            for name, value in after.state_dict().items():
                torch.testing.assert_close(value, weights.state_dict()[name])
    with pytest.raises(UsageError, match="models are next, tiny"):
        train_plan(training_store, replace(tiny_plan, init="nobody"))


KILLED = """
import os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from flows import training_curves
from flows.train import train_plan
from flows.training_plan import TrainingPlan
from storage.store import Store
from storage.training_runs import training_run
import json
import torch.utils.tensorboard.writer
training_curves.draw_curves = lambda path, *_: path.touch()
store, description = Store.open(Path(sys.argv[1])), json.loads(Path(sys.argv[2]).read_text())
for kill_at in (2, 5, None):
    child = os.fork()
    if child == 0:
        train_plan(store, TrainingPlan.from_description(description))
        os._exit(0)
    folder = store.workspace.runs_path / "train"
    deadline = time.monotonic() + 60
    while kill_at is not None and time.monotonic() < deadline:
        if any(int(path.stem[5:]) >= kill_at for path in folder.glob("*/checkpoints/step-*")):
            os.kill(child, signal.SIGKILL)
            break
        time.sleep(0.002)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.slow
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    make_training_store, tiny_plan: TrainingPlan, tmp_path: Path
) -> None:
    plan = replace(tiny_plan, settings=replace(tiny_plan.settings, steps=20))
    undisturbed = make_training_store(tmp_path / "undisturbed")
    expected = train_plan(undisturbed, plan)
    store = make_training_store(tmp_path / "killed")
    description = tmp_path / "plan.json"
    description.write_text(json.dumps(last_run(undisturbed).description))

    finished = subprocess.run(
        [sys.executable, "-P", "-c", KILLED, str(store.workspace.root), str(description)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )

    assert finished.stdout.split() == ["9", "9", "0"], finished.stderr
    assert expected is not None
    assert registered_models(store)["tiny"].weights == expected.model.weights
    assert losses(store) == losses(undisturbed)


def test_a_model_inherits_the_licences_of_its_first_weights(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    trained = train_plan(training_store, tiny_plan)
    assert trained is not None
    source = training_store.objects.path(trained.model.weights)
    bound = {"from": "published", "flag": "nc-nd", "licence": "CC BY-NC-ND 4.0"}
    card = {**trained.model.card, "licences": {"flags": ["nc-nd"], "inherited": [bound]}}
    register_model(training_store, "published", source.read_bytes(), card)

    after = train_plan(training_store, replace(tiny_plan, name="after", init="published"))
    from_file = train_plan(training_store, replace(tiny_plan, name="file", init=str(source)))

    assert after is not None
    assert from_file is not None
    assert bound in after.model.card["licences"]["inherited"]
    assert after.model.card["licences"]["flags"][0] == "nc-nd"
    assert from_file.model.card["licences"]["flags"][0] == "unknown"
