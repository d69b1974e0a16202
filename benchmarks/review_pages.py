"""Time what the review pages read and work out on a queue of 100,000 items.

Run: python -m benchmarks.review_pages [--items 100000] [--repeats 40] [--out FILE]

The index is filled by SQL with synthetic cases of 25 structures, four masks and two maps each, a
fifth of them judged, 200 claims. Timed from opening the database file to the rows of a page: the
queue page (first page, one structure, text in the reason, everything that is done, a late page),
the case page and the list of readings. Pictures are timed apart, on a CT of 512 x 512 x 300.
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

import numpy as np

from benchmarks.machine import describe
from benchmarks.synthetic_index import fill_index
from configs.taxonomy import load_taxonomy
from flows.init import init
from review_app.queue_lines import case_blocks, progress
from review_app.slice_picture import Contour, MaskCrop, SliceView, slice_png
from review_app.view_models import structure_lines
from storage.grid import Grid
from storage.open_readings import open_readings
from storage.review_case import read_case
from storage.review_queue import QueueFilter, queue_page
from storage.store import Store

NOW = datetime(2026, 1, 5, 12, 0)
STRUCTURES_A_CASE = 25
LIMIT = 12

FILL = """
INSERT INTO predictions SELECT prediction_id, case_id, 'k', 'r', '{manifest}', 1.0, i,
       TIMESTAMP '2026-01-01' FROM c;
INSERT INTO masks SELECT prediction_id, m, structure, repeat('0', 64), [0, 9, 0, 9, 0, 9], 9
       FROM c, s, (SELECT unnest(['committee', 'a', 'b', 'd']) AS m);
INSERT INTO maps SELECT prediction_id, m, structure, repeat('0', 64), [0, 9, 0, 9, 0, 9]
       FROM c, s, (SELECT unnest(['uncertainty', 'disagreement']) AS m);
INSERT INTO queue_items BY NAME SELECT 'q' AS snapshot_id, i * {count} + n + 1 AS position,
       i * {count} + 1 AS case_place,
       'present' AS kind, case_id, structure, 0.5 AS risk,
       '3 of 3 members see it, they agree by 0.' || (i % 100)::VARCHAR
       || ' (pairwise Dice)' AS reason,
       prediction_id FROM c, s;
INSERT INTO verdicts SELECT md5(case_id || structure), case_id, structure, 'review',
       ['accept', 'correct', 'absent', 'reject', 'defer'][1 + i % 5], 'r' || (i % 10)::VARCHAR, [],
       prediction_id, md5(case_id || structure), TIMESTAMP '2026-01-02', 10.0, 0, 10 + i,
       TIMESTAMP '2026-01-02', false, NULL FROM c, s WHERE n < {judged};
INSERT INTO label_versions SELECT 'v-' || md5(case_id || structure)[:16], 'x', case_id, structure,
       'reader:r1', 'review', false, repeat('0', 64), [0, 9, 0, 9, 0, 9], 9, prediction_id, 10 + i,
       TIMESTAMP '2026-01-02' FROM c, s WHERE n < {judged} AND i % 5 < 3;
INSERT INTO claims SELECT case_id, structure, 'r' || (i % 10)::VARCHAR, TIMESTAMP '2026-01-05',
       TIMESTAMP '2026-01-06' FROM c, s WHERE n = {judged} AND i < 200;
INSERT INTO assignments SELECT 'a', case_id, structure, 'r1', i, TIMESTAMP '2026-01-02'
       FROM c, s WHERE n = {judged} + 1 AND i < 100;
"""


def main() -> None:
    """Fill, time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="atlasloop-pages-") as folder:
        store = filled(Path(folder) / "workspace", arguments.items)
        size_mb = store.workspace.database_path.stat().st_size / 1e6
        table = [row(name, act, arguments.repeats) for name, act in acts(store).items()]
    lines = [
        f"{describe('duckdb', 'numpy', 'streamlit')}; {arguments.items} items, database "
        f"{size_mb:.0f} MB, {arguments.repeats} repeats, load average {os.getloadavg()[0]:.1f}",
        "",
        "| what | median ms | p95 ms | median CPU ms, all threads |",
        "|---|---|---|---|",
        *table,
    ]
    print("\n".join(lines))
    if arguments.out:
        command = f"`python -m benchmarks.review_pages --items {arguments.items}`"
        arguments.out.write_text(
            "# Reads and view models of the review pages\n\n"
            f"{command}\n\n" + "\n".join(lines) + "\n"
        )


def filled(root: Path, items: int) -> Store:
    """Return a workspace whose index holds a synthetic queue."""
    store = init(root)
    grid = Grid.from_affine((512, 512, 300), np.diag([-0.8, -0.8, 1.5, 1]))
    structures = load_taxonomy().names[:STRUCTURES_A_CASE]
    text = FILL.format(
        count=len(structures),
        manifest=store.put_json({"grid": grid.to_json()}),
        judged=len(structures) // 5,
    )
    fill_index(store, text, cases=items // STRUCTURES_A_CASE, structures=structures)
    return store


def acts(store: Store) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    taxonomy = load_taxonomy()
    last = store_size(store) // STRUCTURES_A_CASE * 4 // 5 - LIMIT

    def queue(offset: int = 0, **changes: object) -> Callable[[], object]:
        wanted = QueueFilter(**changes)  # pyright: ignore[reportArgumentType]

        def act() -> object:
            with store.read() as connection:
                page = queue_page(
                    connection, wanted, reader="r1", now=NOW, limit=LIMIT, offset=offset
                )
            return case_blocks(page, taxonomy), progress(page)

        return act

    def case() -> object:
        found = read_case(store, "c-000000000100", reader="r1", now=NOW + timedelta(seconds=1))
        return structure_lines(found, taxonomy)

    def readings() -> object:
        with store.read() as connection:
            return open_readings(connection, reader="r1")

    return {
        "queue, first page": queue(),
        "queue, one structure": queue(structures=("liver",)),
        "queue, text in the reason": queue(reason="by 0.42"),
        "queue, done items": queue(statuses=("done",)),
        "queue, a late page": queue(max(0, last - 48)),
        "case page, 25 structures": case,
        "reading list": readings,
        **pictures(),
    }


def pictures() -> dict[str, Callable[[], object]]:
    """Return the drawing of one slice, large and small, with six contours."""
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 1000, (512, 512, 300), dtype=np.int16)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in (200, 200, 150)), indexing="ij")
    ball = (axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2 < 0.8).astype(np.uint8)
    crops = [MaskCrop(ball, ((n, n + 200), (150, 350), (70, 220))) for n in range(100, 220, 20)]
    view = SliceView(
        hu_ras=hu,
        spacing_mm=(0.8, 0.8, 1.5),
        view_ras=((0, 512), (0, 512), (0, 300)),
        cursor=(250, 250, 140),
        window_hu=(-160.0, 240.0),
        contours=[Contour(crop, (200, 80, 10)) for crop in crops],
    )
    return {
        "picture, axial, 640 px": lambda: slice_png(view, "axial", panel_px=640),
        "picture, sagittal, 340 px": lambda: slice_png(view, "sagittal", panel_px=340),
    }


def store_size(store: Store) -> int:
    """Return the number of queued items."""
    with store.read() as connection:
        found = connection.execute("SELECT count(*) FROM queue_items").fetchone()
    return int(found[0]) if found else 0


def row(name: str, act: Callable[[], object], repeats: int) -> str:
    """Return a line of the table; the first call warms up and does not count."""
    act()
    times_ms, cpu_ms = [], []
    for _ in range(repeats):
        started, busy = time.perf_counter(), time.process_time()
        act()
        times_ms.append((time.perf_counter() - started) * 1000)
        cpu_ms.append((time.process_time() - busy) * 1000)
    p95 = statistics.quantiles(times_ms, n=20)[-1]
    median, busy_ms = statistics.median(times_ms), statistics.median(cpu_ms)
    return f"| {name} | {median:.0f} | {p95:.0f} | {busy_ms:.0f} |"


if __name__ == "__main__":
    main()
