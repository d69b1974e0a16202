"""Kill a training at random steps, let it finish, and compare with an undisturbed one.

Run: python -m benchmarks.train_kills [--kills 10] [--steps 60] [--seed 0] [--out FILE]

A tiny network trains on two tiny cases made here, with a running mean of its weights and a state
every 0.1 s. Children are forked (Linux) from a process that has the libraries loaded, so that a
kill strikes the work and not the imports. Each is killed with SIGKILL after a random number of
further steps; the last one goes to the end. Compared: the SHA-256 of the registered weights, and
every loss of every step.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.utils.tensorboard.writer

from benchmarks.machine import describe
from configs.taxonomy import load_taxonomy
from flows.chosen_encoding import ChosenEncoding
from flows.init import init
from flows.train import train_plan
from flows.training_plan import TrainingPlan
from model.inference_settings import InferenceSettings
from model.training_settings import TrainingSettings
from storage.cohort import CaseRecord, begin_cohort, finish_cohort, write_case
from storage.model_registry import registered_models
from storage.store import Store
from storage.training_runs import training_run


def main() -> None:
    """Run the benchmark and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="atlasloop-kills-") as folder:
        lines = [describe("torch", "numpy"), *run(Path(folder), arguments)]
    print("\n".join(lines))
    if arguments.out:
        text = "\n".join(f"- {line}" for line in lines)
        command = f"python -m benchmarks.train_kills --kills {arguments.kills}"
        arguments.out.write_text(
            f"# Kills of train\n\n`{command} --steps {arguments.steps}`\n\n{text}\n"
        )


def run(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Return the result as lines."""
    plan = tiny_plan(tiny_cohort(folder / "cohort"), arguments.steps)
    undisturbed, disturbed = workspace(folder / "one"), workspace(folder / "two")
    in_child(undisturbed, plan).join()
    chance = random.Random(arguments.seed)
    killed_at = []
    while len(killed_at) < arguments.kills:
        killed_at.append(kill_once(disturbed, plan, chance, arguments))
    in_child(disturbed, plan).join()
    first, second = (registered_models(store)["tiny"].weights for store in (undisturbed, disturbed))
    equal_losses = losses(undisturbed) == losses(disturbed)
    taken = f"{len(losses(disturbed))} of {arguments.steps}"
    return [
        f"killed {len(killed_at)} times, after steps {killed_at}; steps in the curve: {taken}",
        f"undisturbed weights {first[:16]}, killed {second[:16]}: "
        f"{'equal' if first == second else 'DIFFERENT'}",
        f"losses of all steps: {'equal' if equal_losses else 'DIFFERENT'}, bit by bit",
    ]


def kill_once(
    store: Store, plan: TrainingPlan, chance: random.Random, arguments: argparse.Namespace
) -> int:
    """Start a training, kill it some steps later, and return the last step of its curve."""
    before = len(losses(store))
    wanted = before + chance.randint(1, max(1, arguments.steps // arguments.kills))
    wanted = min(wanted, arguments.steps - 1)
    child = in_child(store, plan)
    while child.exitcode is None and len(losses(store)) < wanted:
        time.sleep(0.003)
    # Not always just after a step: in the middle of one, or of writing a state.
    time.sleep(chance.uniform(0, 0.05))
    child.kill()
    child.join()
    if child.exitcode == 0:
        raise RuntimeError("the training ended before it could be killed; take more --steps")
    return len(losses(store))


def losses(store: Store) -> list[tuple[str, str]]:
    """Return step and loss of every row of the curve."""
    if not list((store.workspace.runs_path / "train").glob("*/run.json")):
        return []
    path = training_run(store.workspace, "last").steps_csv
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [(row[0], row[1]) for row in csv.reader(file) if len(row) > 1 and row[0].isdigit()]


def in_child(store: Store, plan: TrainingPlan) -> multiprocessing.process.BaseProcess:
    """Start or go on with the training in a forked process."""
    child = multiprocessing.get_context("fork").Process(target=train_plan, args=(store, plan))
    child.start()
    return child


def workspace(root: Path) -> Store:
    """Make a workspace that keeps a state ten times a second."""
    store = init(root)
    with store.workspace.settings_path.open("a") as file:
        file.write('[annotate]\ndevice = "cpu"\n[train]\ncheckpoint_every_s = 0.1\n')
    return Store.open(root)


def tiny_plan(cohort: Path, steps: int) -> TrainingPlan:
    """Return a training of a few hundredths of a second a step."""
    settings = TrainingSettings(
        backbone_options={"widths": (8, 16), "fold": 2, "out_channels": 8},
        head="query_dot",
        encoding="one_hot",
        inference=InferenceSettings(spacing_mm=(6.0, 6.0, 6.0), patch=(16, 16, 16)),
        steps=steps,
        average_decay=0.9,
        autocast=None,
    )
    return TrainingPlan(
        name="tiny",
        family="tiny",
        preset="",
        data=(cohort,),
        own_labels=False,
        settings=settings,
        encoding=ChosenEncoding("one_hot"),
    )


def tiny_cohort(out: Path) -> Path:
    """Write two cases of 20 x 20 x 20 voxels."""
    begin_cohort(out, seed=0, sites_digest="tiny")
    places = [("aspen", "a-1"), ("birch", "b-1")]
    for number, (site, case) in enumerate(places):
        hu = np.random.default_rng(number).normal(0, 50, (20, 20, 20)).astype(np.int16)
        masks = {name: np.zeros(hu.shape, np.bool_) for name in ("spleen", "liver")}
        masks["spleen"][2:9, 5:15, 5:15] = masks["liver"][11:18, 5:15, 3 + number : 15] = True
        facts = {"role": "train", "patient": f"p-{case}", "seed": number, "facts": {}}
        record = CaseRecord(
            site=site, case=case, annotated=load_taxonomy().names, lesions=(), **facts
        )
        write_case(out, record, hu=hu, spacing_mm=(6.0, 6.0, 6.0), masks=masks)
    finish_cohort(out, seed=0, cases=places)
    return out


if __name__ == "__main__":
    main()
