"""Time what the editor waits for on the server: regions of small and large CTs, drafts, saves.

Run: python -m benchmarks.edit_server [--repeats 5] [--out FILE]

CTs are made of smooth tissue and noise, packed as .nii.gz, and taken in; a block is judged in each.
Everything goes through the editor's own routes, without a network. "first" is the first opening of
a CT, which makes its blocks; the app does that ahead for the next item of the queue.
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
from scipy import ndimage
from starlette.applications import Starlette
from starlette.testclient import TestClient

from benchmarks.machine import describe
from benchmarks.played_page import packed, put
from configs.taxonomy import load_taxonomy
from flows.init import init
from flows.intake import intake
from review_app.browser_session import COOKIE
from review_app.edit_item import item_of
from review_app.edit_routes import edit_routes
from review_app.open_documents import DOCUMENTS
from review_app.session import Desk, utc_now
from review_app.view_models import structure_lines
from storage.claims import claim_items
from storage.corrections import put_mask
from storage.grid import Grid
from storage.mask_file import write_int16_nifti
from storage.masks import encode_mask
from storage.predictions import CONSENSUS, Manifest, StoredMask, close_case
from storage.queue import QueueEntry, write_queue
from storage.review_case import read_case

SHAPES = ((256, 256, 200), (512, 512, 824))
SPACING_MM = (0.75, 0.75, 0.8)
COMMITTEE = "k-000000000001"


def main():
    """Make the CTs, time the routes on both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in SHAPES:
            rows += measured(Path(folder), shape, options.repeats)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    load = f"load average {os.getloadavg()[0]:.1f}"
    lines = [
        f"{describe('starlette', 'duckdb', 'numpy')}, {load}",
        "",
        "| CT | what | median s | slowest s | MB |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"Highest memory of the process, the making of the CTs included: {peak_mb:.0f} MB.",
    ]
    text = "\n".join(lines)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")


def measured(folder, shape, repeats):
    """Return the table's rows of one CT."""
    here, case_id = workspace(folder, shape)
    name = " x ".join(map(str, shape))
    client = TestClient(Starlette(routes=edit_routes()), base_url="http://127.0.0.1")
    browser = secrets.token_urlsafe(24)
    client.cookies.set(COOKIE, browser)
    rows = []

    def row(what, seconds, size=None):
        shown = "" if size is None else f"{size / 1e6:.2f}"
        rows.append(
            f"| {name} | {what} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | {shown} |"
        )

    for side in (100, 200):
        document = opened(here, case_id, side, browser)
        if side == 100:
            row("first region, blocks made", [timed(client, document, "ct")[0]])
            (blocks,) = here.store.workspace.regions_path.iterdir()
            rows.append(f"| {name} | blocks on disk | | | {blocks.stat().st_size / 1e6:.2f} |")
        for path in ("document", "ct", "layer/mask", "body"):
            found = [timed(client, document, path) for _ in range(repeats)]
            row(f"{side}^3 {path}", [one[0] for one in found], found[0][1])
        for what in ("draft", "mask"):
            row(
                f"{side}^3 put {what}", [kept(client, document, what, side) for _ in range(repeats)]
            )
    return rows


def workspace(folder, shape):
    """Return a desk in a workspace of one CT, and the id of its case."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(0, 300, [n // 16 + 1 for n in shape])
    tissue = ndimage.zoom(coarse, 16, order=1)[tuple(slice(n) for n in shape)].astype(np.int16)
    for plane in tissue:
        plane += rng.integers(-15, 16, plane.shape, dtype=np.int16)
    i, j, k = SPACING_MM
    grid = Grid.from_affine(shape, np.diag([-i, -j, k, 1.0]))
    path = folder / f"{shape[2]}.nii.gz"
    with path.open("wb") as file:
        write_int16_nifti(file, tissue, grid)
    store = init(folder / f"workspace {shape[2]}")
    (taken,) = intake(store, [path]).taken
    # What intake laid in blocks goes: making them at the first opening is measured.
    shutil.rmtree(store.workspace.regions_path, ignore_errors=True)
    mask = np.zeros(shape, bool)
    mask[tuple(slice(n // 2 - 40, n // 2 + 40) for n in shape)] = True
    stored = put_mask(store.objects, encode_mask(mask, tuple((0, n) for n in shape), grid))
    masks = (StoredMask(CONSENSUS, "liver", stored.object, stored.box, stored.voxels),)
    manifest = Manifest(taken.case_id, COMMITTEE, (), grid, masks, (), ())
    close_case(store, manifest, run_id="r-1", seconds=1.0)
    entry = QueueEntry(1, "present", taken.case_id, "liver", 0.5, "disputed")
    write_queue(store, [entry], committee_id=COMMITTEE, policy="disagreement")
    review = store.settings.review.model_copy(update={"reader": "anna"})
    settings = store.settings.model_copy(update={"review": review})
    return Desk(replace(store, settings=settings), "anna"), taken.case_id


def opened(here, case_id, side, browser):
    """Return a document in a cube round the middle of the CT."""
    now = utc_now()
    claim_items(here.store, case_id, ["liver"], reader="anna", now=now, lease=timedelta(minutes=30))
    case = read_case(here.store, case_id, reader="anna", now=now)
    (line,) = (one for one in structure_lines(case, load_taxonomy()) if one.structure == "liver")
    region = tuple((n // 2 - side // 2, n // 2 + side // 2) for n in case.grid.ras_shape)
    return DOCUMENTS.offer(here, item_of(case, line), browser=browser, tab="tab", region_ras=region)


def timed(client, document, path):
    """Return the seconds of a GET and the bytes that travelled."""
    started = time.perf_counter()
    answer = client.get(f"/edit/{document.token}/{path}")
    seconds = time.perf_counter() - started
    answer.raise_for_status()
    return seconds, int(answer.headers.get("content-length", 0))


def kept(client, document, what, side):
    """Return the seconds of a PUT of a ball."""
    axes = np.ogrid[:side, :side, :side]
    body = packed(sum((axis - side / 2) ** 2 for axis in axes) < (side / 3) ** 2)
    started = time.perf_counter()
    answer = put(client, document, what, body)
    seconds = time.perf_counter() - started
    answer.raise_for_status()
    return seconds


if __name__ == "__main__":
    main()
