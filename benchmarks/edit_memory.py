"""Show that the server's memory stays flat while a reader edits hundreds of items.

Run: python -m benchmarks.edit_memory [--items 500] [--cases 25] [--out FILE]

Small CTs, each with twenty structures, are opened one after the other as the app does it: the case
is read and claimed, a document is made, its facts, CT, body and layers go over the editor's routes,
drafts go back, and every second item is saved and judged, the others are left. One process, and
every item in a region of its own, so that whatever is kept of an item adds up.
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage
from starlette.applications import Starlette
from starlette.testclient import TestClient

from benchmarks.machine import describe
from benchmarks.own_process import resident_bytes
from benchmarks.played_page import judge, packed, put
from configs.taxonomy import load_taxonomy
from flows.init import init
from flows.intake import intake
from review_app.browser_session import COOKIE
from review_app.edit_item import item_of, regions_to_edit
from review_app.edit_routes import edit_routes
from review_app.open_documents import DOCUMENTS
from review_app.session import Desk, utc_now
from review_app.view_models import structure_lines, to_claim
from storage.claims import claim_items, release_claims
from storage.corrections import put_mask
from storage.drafts import Drafts
from storage.grid import Grid
from storage.masks import encode_mask
from storage.predictions import CONSENSUS, Manifest, StoredMask, close_case
from storage.queue import QueueEntry, write_queue
from storage.review_case import read_case

SHAPE, SPACING_MM = (160, 160, 100), (1.5, 1.5, 2.0)
STRUCTURES = 20
COMMITTEE, READER = "k-000000000001", "anna"
EVERY, SETTLED = 50, 100


def main():
    """Make the workspace, edit, print memory by items done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--cases", type=int, default=25)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not EVERY + SETTLED <= options.items <= options.cases * STRUCTURES:
        parser.error(f"--items must be {EVERY + SETTLED} to {STRUCTURES} times --cases")
    with tempfile.TemporaryDirectory() as folder:
        here, case_ids = workspace(Path(folder), options.cases)
        started = time.perf_counter()
        memory = edited(here, case_ids, options.items)
        seconds = time.perf_counter() - started
    text = report(memory, seconds)
    print(text)
    if options.out:
        command = f"`python -m benchmarks.edit_memory --items {options.items}`"
        title = "# The server's memory while items are edited\n\n"
        options.out.write_text(f"{title}{command}\n\n{text}\n", encoding="utf-8")


def workspace(folder, cases):
    """Return a desk in a workspace of noisy CTs with boxes as structures, and the cases' ids."""
    store, rng, cts = init(folder / "workspace"), np.random.default_rng(0), folder / "cts"
    cts.mkdir()
    for number in range(cases):
        coarse = rng.normal(0, 300, [n // 16 + 2 for n in SHAPE])
        tissue = ndimage.zoom(coarse, 16, order=1)[tuple(slice(n) for n in SHAPE)]
        tissue += rng.integers(-15, 16, SHAPE)
        affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1])
        nibabel.save(nibabel.Nifti1Image(tissue.astype(np.int16), affine), cts / f"{number}.nii.gz")
    taken, entries = intake(store, [cts]).taken, []
    structures = load_taxonomy().names[:STRUCTURES]
    for file in taken:
        image = nibabel.load(file.path)
        grid = Grid.from_affine(image.shape, image.affine)
        masks = []
        for structure in structures:
            stored = put_mask(store.objects, block(rng, grid))
            masks.append(StoredMask(CONSENSUS, structure, stored.object, stored.box, stored.voxels))
            place = len(entries) + 1
            entries.append(QueueEntry(place, "present", file.case_id, structure, 0.5, "disputed"))
        manifest = Manifest(file.case_id, COMMITTEE, (), grid, tuple(masks), (), ())
        close_case(store, manifest, run_id="r-1", seconds=1.0)
    write_queue(store, entries, committee_id=COMMITTEE, policy="disagreement")
    review = store.settings.review.model_copy(update={"reader": READER})
    settings = store.settings.model_copy(update={"review": review})
    return Desk(replace(store, settings=settings), READER), [file.case_id for file in taken]


def block(rng, grid):
    """Return an encoded block of 30 to 60 voxels a side, somewhere in the CT."""
    mask = np.zeros(grid.ras_shape, bool)
    sides = rng.integers(30, 61, 3)
    starts = [int(rng.integers(0, n - side)) for n, side in zip(grid.ras_shape, sides, strict=True)]
    mask[tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))] = True
    return encode_mask(mask, tuple((0, n) for n in grid.ras_shape), grid)


def edited(here, case_ids, items):
    """Edit items, case by case; returns (items done, resident MB)."""
    browser, done, memory = secrets.token_urlsafe(24), 0, []
    with TestClient(Starlette(routes=edit_routes()), base_url="http://127.0.0.1") as client:
        client.cookies.set(COOKIE, browser)
        for case_id in case_ids:
            case = read_case(here.store, case_id, reader=READER, now=utc_now())
            wanted = to_claim(structure_lines(case, load_taxonomy()))
            claim_items(here.store, case_id, wanted, reader=READER, now=utc_now(), lease=here.lease)
            for structure in wanted[: items - done]:
                edit(here, client, browser, (case_id, structure), is_saved=done % 2 == 0)
                done += 1
                if done % EVERY == 0 or done == 1:
                    memory.append((done, resident_bytes() / 1e6))
            release_claims(here.store, case_id, reader=READER)
    return memory


def edit(here, client, browser, of, *, is_saved):
    """Open one item as the page does on a rerun, draw, and save it or leave it."""
    case_id, structure = of
    case = read_case(here.store, case_id, reader=READER, now=utc_now())
    lines = structure_lines(case, load_taxonomy())
    line = next(one for one in lines if one.structure == structure)
    (region, *_) = regions_to_edit(
        case, structure, margin_mm=here.settings.region_margin_mm, wider_mm=0.0, most_side=200
    )
    document = DOCUMENTS.offer(
        here, item_of(case, line), browser=browser, tab="tab", region_ras=region
    )
    facts = got(client.get(f"/edit/{document.token}/document")).json()
    for path in ("ct", "body", *(f"layer/{layer['id']}" for layer in facts["layers"])):
        got(client.get(f"/edit/{document.token}/{path}"))
    shape = tuple(hi - lo for lo, hi in region)
    answer = got(client.get(f"/edit/{document.token}/layer/mask"))
    mask = np.frombuffer(answer.content, np.uint8).reshape(shape, order="F").copy()
    mask[tuple(slice(n // 2 - 3, n // 2 + 3) for n in shape)] ^= 1
    got(put(client, document, "draft", packed(mask)))
    if is_saved:
        judge(document, got(put(client, document, "mask", packed(mask))).json()["receipt"])
    else:
        Drafts(here.store.workspace.drafts_path).drop(document.draft_key)


def got(answer):
    """Return an answer that is as wanted."""
    answer.raise_for_status()
    return answer


def report(memory, seconds):
    """Return memory by items done, and its slope once everything bounded is full."""
    counts, sizes = (
        np.array(values)
        for values in zip(*(one for one in memory if one[0] >= SETTLED), strict=True)
    )
    slope_kb = np.polyfit(counts, sizes, 1)[0] * 1e3
    shape = " x ".join(map(str, SHAPE))
    lines = [
        f"{describe('starlette', 'duckdb', 'numpy')}; CTs of {shape}, {seconds:.0f} s, load "
        f"average {os.getloadavg()[0]:.1f}",
        "",
        "| items edited | resident MB |",
        "|---|---|",
        *(f"| {done} | {size:.0f} |" for done, size in memory),
        "",
        f"From item {counts[0]} to {counts[-1]}: {slope_kb:+.1f} kB an item by a straight line, "
        f"between {sizes.min():.0f} and {sizes.max():.0f} MB.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
