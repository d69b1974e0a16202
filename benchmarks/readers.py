"""Ten readers at one queue in parallel, with forced collisions; every verdict is accounted for.

Run: python -m benchmarks.readers [--readers 10] [--verdicts 500] [--out FILE]

Processes with a store of their own choose items at random from a queue so small that they collide
all the time, claim, read the base, and judge. Compared: the verdicts that were acknowledged with
those in the index, the times at which items were held, `verify`, and the tables before and after
`rebuild`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from flows.init import init
from storage.claims import claim_items
from storage.corrections import put_mask, whole_box
from storage.grid import Grid
from storage.labels import base_of
from storage.masks import encode_mask
from storage.predictions import CONSENSUS, Manifest, StoredMask, close_case
from storage.queue import QueueEntry, write_queue
from storage.rebuild import rebuild
from storage.store import Store
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify

STRUCTURES = ("liver", "spleen", "stomach", "colon", "aorta", "pancreas")
CASES = ("c-000000000001", "c-000000000002")
KINDS = ("accept", "absent", "reject", "defer")
TABLES = ("verdicts", "label_versions", "current_verdicts", "current_labels")


def main() -> None:
    """Run the readers and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--verdicts", type=int, default=500)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atlasloop-readers-") as folder:
        found = run(Path(folder), arguments.readers, arguments.verdicts)
    lines = [describe("duckdb", "filelock"), *found]
    print("\n".join(lines))
    if arguments.out:
        command = f"python -m benchmarks.readers --verdicts {arguments.verdicts}"
        text = "\n".join(f"- {line}" for line in lines)
        arguments.out.write_text(f"# Readers in parallel\n\n`{command}`\n\n{text}\n")


def run(folder: Path, readers: int, verdicts: int) -> list[str]:
    """Return the result as lines."""
    store = prepare(folder / "workspace")
    share = verdicts // readers
    context = multiprocessing.get_context("spawn")
    started = time.monotonic()
    with context.Pool(readers) as pool:
        work = [(store.workspace.root, f"r{n}", n, share) for n in range(readers)]
        results = pool.starmap(read_items, work)
    seconds = time.monotonic() - started
    given = [fact for facts, _ in results for fact in facts]
    collisions = sum(count for _, count in results)
    before = tables(store)
    kept = {row[0] for row in ask(store, "SELECT request_id FROM verdicts")}
    findings = verify(store).findings
    store.workspace.database_path.unlink()
    rebuild(store)
    held = sorted((item, taken, left) for _, item, taken, left in given)
    shared = [1 for a, b in pairwise(held) if a[0] == b[0] and b[1] < a[2]]
    latency_ms = [1000 * (left - taken) for _, _, taken, left in given]
    return [
        f"{readers} processes, {len(given)} verdicts acknowledged in {seconds:.0f} s, "
        f"{collisions} claims refused because another reader held the item",
        f"verdicts lost: {len({fact[0] for fact in given} - kept)}; verdicts that nobody was told "
        f"of: {len(kept - {fact[0] for fact in given})}",
        f"items held by two readers at once: {len(shared)}",
        f"findings of verify: {len(findings)}; tables equal after rebuild: "
        f"{tables(store) == before}",
        f"from claim to giving the verdict, median {statistics.median(latency_ms):.0f} ms",
    ]


def read_items(
    root: Path, reader: str, seed: int, verdicts: int
) -> tuple[list[tuple[str, tuple[str, str], float, float]], int]:
    """Judge items; returns (request, item, claimed, before the verdict) of each, and collisions."""
    chance = random.Random(seed)
    store = Store.open(root)
    given: list[tuple[str, tuple[str, str], float, float]] = []
    collisions = 0
    while len(given) < verdicts:
        case_id, structure = chance.choice(CASES), chance.choice(STRUCTURES)
        lease = timedelta(minutes=5)
        held = claim_items(store, case_id, [structure], reader=reader, now=utc_now(), lease=lease)
        taken = time.monotonic()
        if structure not in held:
            collisions += 1
            continue
        with store.read() as connection:
            base = base_of(connection, case_id, structure)
        request_id = f"{reader}-{len(given)}"
        verdict = Verdict(
            case_id=case_id,
            structure=structure,
            verdict=chance.choice(KINDS),
            reader=reader,
            base_version=base[0] if base else None,
            request_id=request_id,
            opened_at=utc_now(),
            active_s=0.0,
        )
        left = time.monotonic()
        give_verdict(store, verdict, now=utc_now())
        given.append((request_id, (case_id, structure), taken, left))
    return given, collisions


def prepare(root: Path) -> Store:
    """Return a workspace with two annotated, queued cases."""
    store = init(root)
    grid = Grid.from_affine((12, 12, 12), np.eye(4))
    mask = np.zeros(grid.ras_shape, bool)
    mask[3:8, 3:8, 3:8] = True
    label = put_mask(store.objects, encode_mask(mask, whole_box(grid), grid))
    masks = tuple(
        StoredMask(CONSENSUS, name, str(label.object), label.box or (0,) * 6, label.voxels)
        for name in STRUCTURES
    )
    for case_id in CASES:
        manifest = Manifest(case_id, "k-1", (), grid, masks, (), ())
        close_case(store, manifest, run_id="r-1", seconds=1.0)
    entries = [
        QueueEntry(1 + n, "present", case_id, name, 0.5, "members disagree")
        for n, (case_id, name) in enumerate((c, s) for c in CASES for s in STRUCTURES)
    ]
    write_queue(store, entries, committee_id="k-1", policy="disagreement")
    return store


def tables(store: Store) -> list[list[tuple]]:
    """Return what the index says about verdicts and labels."""
    return [ask(store, f"SELECT * FROM {name} ORDER BY ALL") for name in TABLES]


def ask(store: Store, sql: str) -> list[tuple]:
    """Return the rows of a query."""
    with store.read() as connection:
        return connection.execute(sql).fetchall()


def utc_now() -> datetime:
    """Return the time as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


if __name__ == "__main__":
    main()
