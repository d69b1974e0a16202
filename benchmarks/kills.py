"""Kill `annotate` at random instants, let it finish, and compare with an undisturbed run.

Run: python -m benchmarks.kills [--kills 100] [--cases 200] [--workers 2] [--seed 0] [--out FILE]

A committee of two tiny networks with random weights annotates small CTs made here. Workers are
forked (Linux) from a process that has the libraries loaded, so that a kill strikes the work and not
the imports. While they share the cases, one of them, drawn at random, is killed with SIGKILL after
a random time of up to four cases and replaced; when all cases are closed before the kills are used
up, the next round begins with a fresh copy. Compared: the set of all objects (masks, maps,
manifests), every score, the number of closed cases, `verify`, and the views before and after
`rebuild`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch

from benchmarks.machine import describe
from flows.annotate import annotate
from flows.init import init
from flows.intake import intake
from model.checkpoint import save_checkpoint
from model.inference_settings import InferenceSettings
from model.universal import build_network
from storage.model_registry import register_model
from storage.rebuild import rebuild
from storage.store import Store
from storage.verify import verify

STRUCTURES = ("spleen", "kidney_right", "liver", "liver_tumor")
SHAPE = (30, 28, 26)
VIEWS = ("closed_cases", "scores", "masks", "maps", "open_failures")


def main() -> None:
    """Run the benchmark and print its table."""
    arguments = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="atlasloop-kills-") as folder:
        lines = [describe("torch", "duckdb", "numpy"), *run(Path(folder), arguments)]
    print("\n".join(lines))
    if arguments.out:
        text = "\n".join(f"- {line}" for line in lines)
        arguments.out.write_text(
            f"# Kills of annotate\n\n`python -m benchmarks.kills --kills {arguments.kills} "
            f"--cases {arguments.cases} --workers {arguments.workers}`\n\n{text}\n"
        )


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def run(folder: Path, arguments: argparse.Namespace) -> list[str]:
    """Return the result as lines."""
    undisturbed = prepare(folder, arguments.cases)
    shutil.copytree(undisturbed.workspace.root, folder / "start")
    started = time.monotonic()
    annotate_in_child(undisturbed).join()
    case_s = (time.monotonic() - started) / arguments.cases

    chance = random.Random(arguments.seed)
    totals = {"kills": 0, "rounds": 0, "struck a torn journal line": 0}
    faults: list[str] = []
    while totals["kills"] < arguments.kills:
        totals["rounds"] += 1
        remaining = arguments.kills - totals["kills"]
        disturbed = folder / f"round-{totals['rounds']}"
        shutil.copytree(folder / "start", disturbed)
        store = Store.open(disturbed)
        totals["kills"] += kill_until_done(
            store, chance, 4 * case_s, workers=arguments.workers, most=remaining
        )
        totals["struck a torn journal line"] += len(list(disturbed.glob("journal.torn-*")))
        faults += differences(store, undisturbed, arguments.cases)
        shutil.rmtree(disturbed)
    counts = ", ".join(f"{name} {count}" for name, count in totals.items())
    return [
        f"{counts}; {arguments.cases} cases a round, {case_s:.2f} s a case undisturbed",
        f"differences from the undisturbed run: {len(faults)}",
        *faults,
    ]


def kill_until_done(
    store: Store, chance: random.Random, longest_s: float, *, workers: int, most: int
) -> int:
    """Kill and replace workers until all cases are closed; returns the number of kills."""
    kills = 0
    team = [annotate_in_child(store) for _ in range(workers)]
    while any(child.is_alive() for child in team):
        time.sleep(chance.uniform(0, longest_s))
        number = chance.randrange(workers)
        if kills < most and team[number].is_alive():
            team[number].kill()
            team[number].join()
            team[number] = annotate_in_child(store)
            kills += 1
    faults = [child.exitcode for child in team if child.exitcode != 0]
    if faults:
        raise RuntimeError(f"workers ended with exit codes {faults}")
    return kills


def annotate_in_child(store: Store) -> multiprocessing.process.BaseProcess:
    """Start annotate in a forked process."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=annotate_workspace, args=(store.workspace.root,))
    child.start()
    return child


def annotate_workspace(root: Path) -> None:
    """Annotate what is unfinished."""
    annotate(Store.open(root))


def differences(store: Store, undisturbed: Store, cases: int) -> list[str]:
    """Return in words what differs between a disturbed and an undisturbed workspace."""
    found = []
    if set(store.objects.digests()) != set(undisturbed.objects.digests()):
        found.append("objects differ")
    if scores(store) != scores(undisturbed):
        found.append("scores differ")
    closed = rows(store, "SELECT count(*), count(DISTINCT case_id) FROM predictions")
    if closed != [(cases, cases)]:
        found.append(f"closed cases (lines, distinct): {closed}")
    found += [str(finding) for finding in verify(store).findings]
    before = {view: rows(store, f"SELECT * FROM {view} ORDER BY ALL") for view in VIEWS}
    store.workspace.database_path.unlink()
    rebuild(store)
    after = {view: rows(store, f"SELECT * FROM {view} ORDER BY ALL") for view in VIEWS}
    return found + [
        f"view {view} differs after rebuild" for view in VIEWS if before[view] != after[view]
    ]


def scores(store: Store) -> list[tuple]:
    """Return all score values without the ids that a run gives."""
    return rows(
        store,
        """SELECT c.case_id, s.* EXCLUDE (prediction_id)
           FROM closed_cases c JOIN scores s USING (prediction_id) ORDER BY ALL""",
    )


def rows(store: Store, sql: str) -> list[tuple]:
    """Return the rows of a query."""
    with store.read() as connection:
        return connection.execute(sql).fetchall()


def prepare(folder: Path, cases: int) -> Store:
    """Make a workspace with a committee and CTs."""
    store = init(folder / "undisturbed")
    with store.workspace.settings_path.open("a") as file:
        file.write('[annotate]\ndevice = "cpu"\nautocast = "off"\n')
        for number in range(2):
            torch.manual_seed(number)
            network = build_network(
                "small_unet", {"widths": (16, 16)}, encoding="learned", structures=STRUCTURES
            )
            inference = InferenceSettings(spacing_mm=(6.0, 6.0, 6.0), patch=(16, 16, 16))
            register_model(store, f"w{number}", save_checkpoint(network, inference, {}), {})
            file.write(
                f'[[committee]]\nname = "m{number}"\nfamily = "f{number}"\nweights = "w{number}"\n'
            )
    store = Store.open(store.workspace.root)
    for seed in range(cases):
        write_ct(folder / "cts" / f"{seed}.nii.gz", seed)
    intake(store, [folder / "cts"])
    return store


def write_ct(path: Path, seed: int) -> None:
    """Write a small body-like CT that no other seed gives."""
    path.parent.mkdir(exist_ok=True)
    i, j, _ = np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij")
    radius = i**2 + j**2
    hu = np.where(radius < 0.8, np.random.default_rng(seed).normal(40, 60, SHAPE), -1000)
    hu[(radius < 0.8) & (radius > 0.6)] = -110
    nibabel.save(nibabel.Nifti1Image(hu.astype(np.int16), np.diag([6.0, 6.0, 6.0, 1.0])), path)


if __name__ == "__main__":
    main()
