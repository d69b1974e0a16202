"""Time a triage run over a million scores, and the queue page over what it wrote.

Run: python -m benchmarks.triage_million [--cases 10000] [--repeats 5] [--out FILE]

The index is filled by SQL: every case closed, with 32 structures and a row of scores for each of
three members and the consensus; volumes and agreements drawn by a hash, and a hundredth judged.
Timed: reading the columns, the whole ranking with its snapshot, and what the review app reads of
the index for the queue page, filtered too, and for the next case.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.synthetic_index import fill_index
from configs.setting_sections import TriageSettings
from configs.taxonomy import load_taxonomy
from flows.init import init
from flows.triage import write_ranking
from storage.review_queue import QueueFilter, next_open_case, queue_page
from storage.score_columns import score_columns
from storage.store import Store

COMMITTEE = "k"
NOW = datetime(2026, 1, 5, 12, 0)

FILL = """
INSERT INTO predictions SELECT prediction_id, case_id, 'k', 'r-old', '{manifest}', 1.0, i,
       TIMESTAMP '2026-01-01' FROM c;
INSERT INTO scores BY NAME
SELECT prediction_id, m AS member, structure,
       CASE WHEN drawn % 20 = 0 THEN 0 ELSE 5.0 + drawn % 900 END AS volume_ml,
       0.5 + (drawn % 500) / 1000.0 AS pairwise_dice,
       0.8 + (drawn % 190) / 1000.0 AS self_consistency,
       (drawn % 300) / 1000.0 AS entropy_mean, (drawn % 700) / 1000.0 AS entropy_border,
       (drawn % 100) / 1000.0 AS inconsistency, (drawn % 1000) / 1000.0 AS max_probability
FROM (SELECT *, hash(i, n, m) AS drawn
      FROM c, s, (SELECT unnest(['committee', 'a', 'b', 'd']) AS m));
INSERT INTO verdicts BY NAME
SELECT md5(case_id || structure) AS verdict_id, case_id, structure, 'review' AS reading,
       ['accept', 'absent', 'defer'][1 + i % 3] AS verdict, 'r' || (i % 9)::VARCHAR AS reader,
       [] AS tags, prediction_id AS base_version, md5(case_id || structure) AS request_id,
       TIMESTAMP '2026-01-02' AS opened_at, 10.0 AS active_s, 0 AS voxels_changed, 10 + i AS seq,
       TIMESTAMP '2026-01-02' AS recorded_at
FROM c, s WHERE hash(i, n) % 100 = 0;
"""


def main() -> None:
    """Fill, time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atlasloop-triage-") as folder:
        store = init(Path(folder) / "workspace")
        names = load_taxonomy().names
        manifest = store.put_json({"members": []})
        fill_index(store, FILL.format(manifest=manifest), cases=arguments.cases, structures=names)
        rows = [row(name, act, arguments.repeats) for name, act in acts(store).items()]
        size = max(path.stat().st_size for path in store.objects.root.rglob("*") if path.is_file())
    scores = arguments.cases * len(names) * 4
    lines = [
        f"# Triage of {scores:,} scores",
        "",
        f"`python -m benchmarks.triage_million --cases {arguments.cases} --repeats "
        f"{arguments.repeats}`; {describe('duckdb', 'numpy')}, load average "
        f"{os.getloadavg()[0]:.1f}. The snapshot's object has {size / 1e6:.1f} MB.",
        "",
        "| what | median s | slowest s |",
        "|---|---|---|",
        *rows,
    ]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


def acts(store: Store) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""

    def read() -> object:
        with store.read() as connection:
            return score_columns(connection, COMMITTEE)

    def page(wanted: QueueFilter) -> object:
        with store.read() as connection:
            return queue_page(connection, wanted, reader="r1", now=NOW, limit=8, offset=0)

    def following() -> object:
        with store.read() as connection:
            return next_open_case(connection, reader="r1", now=NOW)

    return {
        "read the columns": read,
        "rank and write the snapshot": lambda: write_ranking(store, COMMITTEE, TriageSettings()),
        "queue page": lambda: page(QueueFilter()),
        "queue page of one structure": lambda: page(QueueFilter(structures=("pancreas",))),
        "the next case": following,
    }


def row(name: str, act: Callable[[], object], repeats: int) -> str:
    """Time one act, after once to warm up."""
    act()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        times.append(time.perf_counter() - started)
    return f"| {name} | {statistics.median(times):.2f} | {max(times):.2f} |"


if __name__ == "__main__":
    main()
