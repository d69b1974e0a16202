from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import flows
from configs.errors import ConfigError, ConflictError
from flows.ranks import Ranks, joined_ranks
from flows.train import prepared_data, train_plan
from flows.training_plan import TrainingPlan
from model.batch_stream import batch_at
from model.checkpoint import load_checkpoint
from model.training import new_network, prepared_sampler
from model.training_engine import TrainingEngine
from model.training_patches import TrainingBatch
from storage.model_registry import registered_models
from storage.store import Store
from storage.training_runs import begin_run, training_run

ROOT = Path(flows.__file__).parents[1]
CPU = torch.device("cpu")

TRAINS = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from flows import training_curves
from flows.train import train_plan
from flows.training_plan import TrainingPlan
from storage.store import Store
training_curves.draw_curves = lambda path, *_: path.touch()
plan = TrainingPlan.from_description(json.loads(Path(sys.argv[2]).read_text()))
summary = train_plan(Store.open(Path(sys.argv[1])), plan)
print("wrote" if summary is not None else "computed")
"""


def sum_of_both(store: Store, plan: TrainingPlan) -> TrainingEngine:
    """One process that takes the batches of both ranks at once."""
    data = prepared_data(store, plan)
    settings, names = plan.settings, data.structures
    sampler = prepared_sampler(data.samples, settings, names)
    engine = TrainingEngine(new_network(settings, names), settings, device=CPU)
    for step in range(1, settings.steps + 1):
        parts = [
            batch_at(sampler, step=step, batch_size=1, seed=settings.seed, rank=rank)
            for rank in (0, 1)
        ]
        images = torch.cat([part.images for part in parts])
        engine.take([TrainingBatch(images, tuple(part.targets[0] for part in parts))])
    return engine


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(
    training_store: Store, tiny_plan: TrainingPlan, tmp_path: Path
) -> None:
    settings = replace(tiny_plan.settings, steps=3, average_decay=None)
    plan = replace(tiny_plan, settings=settings)
    script, file = tmp_path / "trains.py", tmp_path / "plan.json"
    script.write_text(TRAINS)
    file.write_text(json.dumps(plan.description(prepared_data(training_store, plan), processes=2)))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *(str(script), str(training_store.workspace.root), str(file)),
    ]

    finished = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )

    assert sorted(finished.stdout.split()) == ["computed", "wrote"], finished.stderr
    model = registered_models(training_store)["tiny"]
    together = load_checkpoint(training_store.objects.path(model.weights)).network
    alone = sum_of_both(training_store, plan)
    for name, weight in alone.network.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name], weight, rtol=0, atol=2e-4)
    run = training_run(training_store.workspace, "last")
    losses = [float(line.split(",")[1]) for line in run.steps_csv.read_text().splitlines()[1:]]
    assert losses == pytest.approx(alone.losses, rel=1e-3)


def test_alone_there_is_nothing_to_join(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    with joined_ranks(CPU) as ranks:
        assert ranks == Ranks(0, 1, CPU)
        assert ranks.writes
        assert ranks.told("x") == "x"
        assert ranks.largest(3) == 3


def test_nccl_on_the_cpu_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(ConfigError, match="nccl needs CUDA"), joined_ranks(CPU, "nccl"):
        pass


def test_a_run_is_not_resumed_with_another_number_of_processes(
    training_store: Store, tiny_plan: TrainingPlan
) -> None:
    data = prepared_data(training_store, tiny_plan)
    description = tiny_plan.description(data, processes=2)
    run = begin_run(training_store.workspace, "r-two", description)

    with pytest.raises(ConflictError, match=r"as many processes as it began with, 2; got 1"):
        train_plan(training_store, tiny_plan, resumed=run)
