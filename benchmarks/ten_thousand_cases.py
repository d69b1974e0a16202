"""Time what a run and its watchers ask of an index of 10,000 cases.

Run: python -m benchmarks.ten_thousand_cases [--cases 10000] [--repeats 30] [--out FILE]

The index is filled by SQL: half of the cases closed by the committee with 32 structures and three
voters each, 200 leased by a living worker, 50 failed, and a queue over the closed ones. Timed from
opening the database file: `status`, the next lease (of a run that has all cases before it, and of
one that has only the last), prolonging a lease, the list of unfinished cases with which a run
begins, the queue page, and the figures of the progress page.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.synthetic_index import fill_index
from configs.taxonomy import load_taxonomy
from flows.init import init
from flows.status import status
from storage.cases import unfinished_cases
from storage.desk_figures import desk_figures
from storage.leases import at_work, end_leases, lease_case, lease_next
from storage.review_queue import QueueFilter, queue_page
from storage.store import Store

NOW = datetime(2026, 1, 5, 12, 0)
COMMITTEE = "k"
LEASE = timedelta(minutes=2)

FILL = """
INSERT INTO predictions SELECT prediction_id, case_id, 'k', 'r-old', 'm', 1.0, i,
       TIMESTAMP '2026-01-01' FROM c WHERE i % 2 = 0;
INSERT INTO scores BY NAME SELECT prediction_id, m AS member, structure, 9.0 AS volume_ml
       FROM c, s, (SELECT unnest(['committee', 'a', 'b', 'd']) AS m) WHERE i % 2 = 0;
INSERT INTO queue_items BY NAME SELECT 'q' AS snapshot_id, i * {count} + n + 1 AS position,
       i * {count} + 1 AS case_place,
       'present' AS kind, case_id, structure, 0.5 AS risk,
       '3 of 3 members see it' AS reason, prediction_id FROM c, s WHERE i % 2 = 0;
INSERT INTO case_leases SELECT case_id, 'k', 'r-alive', TIMESTAMP '2027-01-01'
       FROM c WHERE i % 2 = 1 AND i < 400;
INSERT INTO failures SELECT case_id, 'k', 'r-old', 'unreadable', 'it cannot be read', i,
       TIMESTAMP '2026-01-01' FROM c WHERE i % 2 = 1 AND i >= {cases} - 100;
"""


def main() -> None:
    """Fill, time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atlasloop-cases-") as folder:
        store = filled(Path(folder) / "workspace", arguments.cases)
        with at_work(store, "r-alive"), at_work(store, "r-asks"):
            rows = [row(name, act, arguments.repeats) for name, act in acts(store).items()]
    lines = [
        "# What is asked of 10,000 cases",
        "",
        f"`python -m benchmarks.ten_thousand_cases --cases {arguments.cases} --repeats "
        f"{arguments.repeats}`; {describe('duckdb')}, load average {os.getloadavg()[0]:.1f}.",
        "",
        "| what | median ms | p95 ms |",
        "|---|---|---|",
        *rows,
    ]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


def filled(root: Path, cases: int) -> Store:
    """Return a workspace whose index holds synthetic cases."""
    store = init(root)
    structures = load_taxonomy().names
    text = FILL.format(cases=cases, count=len(structures))
    fill_index(store, text, cases=cases, structures=structures)
    return store


def acts(store: Store) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    with store.read() as connection:
        unfinished = [
            case.case_id for case in unfinished_cases(connection, COMMITTEE, retry_failed=True)
        ]
        every = [row[0] for row in connection.execute("SELECT case_id FROM cases").fetchall()]

    def lease(case_ids: list[str]) -> Callable[[], object]:
        def act() -> object:
            return lease_next(
                store, case_ids, COMMITTEE, run_id="r-asks", now=NOW, lease=LEASE
            ).case_id

        return act

    def prolong() -> object:
        return lease_case(store, unfinished[-1], COMMITTEE, run_id="r-asks", now=NOW, lease=LEASE)

    def list_unfinished() -> object:
        with store.read() as connection:
            return unfinished_cases(connection, COMMITTEE, retry_failed=False)

    def page() -> object:
        with store.read() as connection:
            return queue_page(connection, QueueFilter(), reader="r1", now=NOW, limit=8, offset=0)

    def figures() -> object:
        with store.read() as connection:
            return desk_figures(connection, now=NOW)

    return {
        "status": lambda: status(store),
        "next lease, all cases in question": lease(every),
        "next lease, one case in question": lease(unfinished[-1:]),
        "prolong a lease": prolong,
        "give leases back": lambda: end_leases(store, "r-asks"),
        "list the unfinished cases": list_unfinished,
        "queue page": page,
        "progress page": figures,
    }


def row(name: str, act: Callable[[], object], repeats: int) -> str:
    """Time one act, after once to warm up."""
    act()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        act()
        times.append(1000 * (time.perf_counter() - started))
    times.sort()
    late = times[min(len(times) - 1, round(0.95 * len(times)))]
    return f"| {name} | {statistics.median(times):.0f} | {late:.0f} |"


if __name__ == "__main__":
    main()
