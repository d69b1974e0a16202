"""Let simulated annotators correct the same few items at once, and check that no save is lost.

Run: python -m benchmarks.annotators [--annotators 20] [--saves 2000] [--processes 4] [--out FILE]

Every annotator draws over HTTP as the editor does: claim, document, draft, mask kept under a
receipt, verdict. Items are few, leases short and some annotators slow, so that they meet: an item
that another holds, a lease that ran out, a version that is no longer the newest. Then it is checked
that every acknowledged save is a version of its own with exactly the voxels that were drawn, that
each item's versions follow one another without a branch, that nobody ever held what another held,
and that journal, objects and index agree, also after a rebuild. Volumes are small.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from starlette.applications import Starlette
from starlette.testclient import TestClient

from benchmarks.machine import describe
from benchmarks.played_page import judge, packed, put
from configs.errors import ConflictError
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
from storage.label_masks import read_label
from storage.labels import label_history
from storage.masks import encode_mask
from storage.predictions import CONSENSUS, Manifest, StoredMask, close_case
from storage.queue import QueueEntry, write_queue
from storage.rebuild import rebuild
from storage.review_case import read_case
from storage.store import Store
from storage.verify import verify

SHAPE = (40, 36, 24)
STRUCTURES = ("liver", "spleen")
COMMITTEE = "k-000000000001"


def main():
    """Run the annotators, or one process's share of them, and print what came of it."""
    options = parsed()
    if options.part:
        annotate_part(Path(options.workspace), options)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        store = made_workspace(root, cases=options.cases)
        started = time.perf_counter()
        told = run_parts(root, options)
        seconds = time.perf_counter() - started
        counts = sum((Counter(part["counts"]) for part in told), Counter())
        faults = checked(store, [one for part in told for one in part["saves"]])
        counts["held by two"] = held_by_two([hold for part in told for hold in part["holds"]])
        if counts["held by two"]:
            faults.append("an item was held by two")
    text = report(options, told, counts, faults, seconds)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")
    sys.exit(1 if faults else 0)


def parsed():
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--annotators", type=int, default=20)
    parser.add_argument("--saves", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--lease", type=float, default=8.0, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    parser.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--workspace", help=argparse.SUPPRESS)
    return parser.parse_args()


def made_workspace(root, *, cases):
    """Return a workspace of small CTs, each with two structures to judge."""
    store = init(root)
    rng = np.random.default_rng(0)
    folder = root.parent / "cts"
    folder.mkdir()
    for number in range(cases):
        hu = rng.normal(40, 20, SHAPE)
        hu[:4] = hu[-4:] = -1000
        image = nibabel.Nifti1Image(hu.astype(np.int16), np.diag([-2.0, -2.0, 3.0, 1]))
        nibabel.save(image, folder / f"{number}.nii.gz")
    taken = intake(store, [folder]).taken
    entries = []
    for file in taken:
        image = nibabel.load(file.path)
        grid = Grid.from_affine(image.shape, image.affine)
        masks = []
        for number, structure in enumerate(STRUCTURES):
            mask = np.zeros(SHAPE, bool)
            mask[8 + 14 * number : 18 + 14 * number, 8:26, 5:18] = True
            stored = put_mask(store.objects, encode_mask(mask, tuple((0, n) for n in SHAPE), grid))
            masks.append(StoredMask(CONSENSUS, structure, stored.object, stored.box, stored.voxels))
            entries.append(
                QueueEntry(len(entries) + 1, "present", file.case_id, structure, 0.5, "disputed")
            )
        manifest = Manifest(file.case_id, COMMITTEE, (), grid, tuple(masks), (), ())
        close_case(store, manifest, run_id="r-1", seconds=1.0)
    write_queue(store, entries, committee_id=COMMITTEE, policy="disagreement")
    return store


def run_parts(root, options):
    """Start processes that share the annotators, and return what each tells."""
    children = []
    for part in range(1, options.processes + 1):
        command = [sys.executable, "-m", "benchmarks.annotators", "--part", str(part)]
        command += ["--workspace", str(root), "--seed", str(options.seed)]
        for name in ("annotators", "saves", "processes", "lease"):
            command += [f"--{name}", str(getattr(options, name))]
        children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    told = [json.loads(child.communicate()[0]) for child in children]
    failed = [child.returncode for child in children if child.returncode]
    if failed:
        raise SystemExit(f"{len(failed)} processes failed")
    return told


def annotate_part(root, options):
    """Be this process's share of the annotators, a thread each; tell what they did."""
    numbers = range(options.part - 1, options.annotators, options.processes)
    annotators = [Annotator(root, number, options) for number in numbers]
    threads = [threading.Thread(target=one.work) for one in annotators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failures = [one.failure for one in annotators if one.failure]
    if failures:
        raise SystemExit(failures[0])
    counts = sum((one.counts for one in annotators), Counter())
    saves = [save for one in annotators for save in one.saves]
    seconds = [s for one in annotators for s in one.seconds]
    holds = [hold for one in annotators for hold in one.holds]
    print(json.dumps({"counts": counts, "saves": saves, "seconds": seconds, "holds": holds}))


class Annotator:
    """One reader in one browser tab."""

    def __init__(self, root, number, options):
        self.reader, self.number = f"reader{number:02d}", number
        store = Store.open(root)
        review = store.settings.review.model_copy(
            update={"reader": self.reader, "lease_minutes": options.lease / 60}
        )
        settings = store.settings.model_copy(update={"review": review})
        self.here = Desk(replace(store, settings=settings), self.reader)
        self.rng = np.random.default_rng([options.seed, number])
        self.quota = len(range(number, options.saves, options.annotators))
        self.browser, self.tab = secrets.token_urlsafe(24), secrets.token_hex(4)
        self.counts, self.saves, self.seconds, self.failure = Counter(), [], [], None
        self.holds = []

    def work(self):
        """Work until the quota of acknowledged saves is reached."""
        try:
            self.client = TestClient(Starlette(routes=edit_routes()), base_url="http://127.0.0.1")
            self.client.cookies.set(COOKIE, self.browser)
            with self.here.store.read() as connection:
                rows = connection.execute("SELECT case_id FROM cases ORDER BY case_id").fetchall()
            self.cases = [row[0] for row in rows]
            while len(self.saves) < self.quota:
                self.visit()
        except (Exception, SystemExit) as error:  # noqa: BLE001 told to the process, which fails
            self.failure = f"{self.reader}: {type(error).__name__}: {error}"

    def visit(self):
        """Open some CT as its page does: read it, claim what nobody holds, correct that in turn.

        The second structure is corrected from what was read for the first, so it may be late.
        """
        here, case_id = self.here, str(self.rng.choice(self.cases))
        case = read_case(here.store, case_id, reader=self.reader, now=utc_now())
        lines = {line.structure: line for line in structure_lines(case, load_taxonomy())}
        wanted = [name for name in STRUCTURES if lines[name].can_claim]
        held = {}
        if wanted:
            held = claim_items(
                here.store, case_id, wanted, reader=self.reader, now=utc_now(), lease=here.lease
            )
        # From when the claims certainly stood.
        began = utc_now().timestamp()
        for name, until in held.items():
            self.holds.append([case_id, name, began, until.timestamp(), self.reader])
        self.counts["held by another"] += len(STRUCTURES) - len(held)
        if not held:
            # A reader reads who has it, and looks elsewhere; asking on at once would only keep the
            # lock from those who save.
            time.sleep(self.rng.uniform(0.5, 1.5) * self.here.lease.total_seconds() / 4)
        for name in self.rng.permutation(sorted(held)):
            if len(self.saves) < self.quota:
                self.one_item(case, lines[str(name)])

    def one_item(self, case, line):
        """Draw something into an item, now and then so slowly that the claim runs out."""
        region = tuple((0, n) for n in case.grid.ras_shape)
        document = DOCUMENTS.offer(
            self.here, item_of(case, line), browser=self.browser, tab=self.tab, region_ras=region
        )
        mask = self.drawn(document)
        if self.rng.random() < 0.05:
            time.sleep(self.here.lease.total_seconds() + 0.2)
        self.save(document, mask)

    def drawn(self, document):
        """Return the base mask with a small block turned over."""
        answer = self.client.get(f"/edit/{document.token}/layer/mask")
        mask = np.frombuffer(answer.content, np.uint8).reshape(SHAPE, order="F").copy()
        at = [int(self.rng.integers(2, n - 4)) for n in SHAPE]
        mask[at[0] : at[0] + 2, at[1] : at[1] + 2, at[2] : at[2] + 2] ^= 1
        return mask

    def save(self, document, mask):
        """Send a draft at times, then the mask, then give the verdict."""
        body = packed(mask)
        started = time.perf_counter()
        if self.rng.random() < 0.5:
            answer = put(self.client, document, "draft", body)
            expect(answer.status_code == 200, answer.text)
        request = secrets.token_hex(16)
        answer = put(self.client, document, "mask", body, request=request)
        if answer.status_code == 409:
            self.counts["refused before the verdict"] += 1
            return
        expect(answer.status_code == 200, answer.text)
        if self.rng.random() < 0.1:
            again = put(self.client, document, "mask", body, request=request)
            expect(again.json() == answer.json(), "a replay was answered otherwise")
            self.counts["replayed"] += 1
        self.let_go(document)
        try:
            version = judge(document, answer.json()["receipt"])
        except ConflictError:
            self.counts["refused at the verdict"] += 1
            return
        self.seconds.append(time.perf_counter() - started)
        case_id, structure = document.item.case.case_id, document.item.structure
        self.saves.append([version, case_id, structure, self.reader, digest(mask > 0)])

    def let_go(self, document):
        """Note that our claims on the item end here, as a verdict does it."""
        now, item = utc_now().timestamp(), [document.item.case.case_id, document.item.structure]
        for hold in self.holds:
            if hold[:2] == item:
                hold[3] = min(hold[3], now)


def expect(holds, words):
    """Fail the run with words unless something holds."""
    if not holds:
        raise SystemExit(words)


def checked(store, saves):
    """Return the faults that are found, in words."""
    faults = [] if verify(store).findings == () else ["verify finds faults"]
    before = histories(store, saves)
    store.workspace.database_path.unlink()
    rebuild(store)
    if histories(store, saves) != before:
        faults.append("a rebuilt index differs")
    known = {one[0]: one for versions in before.values() for one in versions}
    for version, case_id, structure, reader, drawn in saves:
        if version not in known:
            faults.append(f"version {version} of {reader} is lost")
        elif known[version][1:] != (f"reader:{reader}", known[version][2], drawn):
            faults.append(f"version {version} of {structure} of {case_id} is not what was drawn")
    for (case_id, structure), versions in before.items():
        parents = [one[2] for one in versions]
        if parents[1:] != [one[0] for one in versions[:-1]]:
            faults.append(f"the versions of {structure} of {case_id} branch")
    if len(known) != len(saves):
        faults.append(f"{len(known)} versions of {len(saves)} acknowledged saves")
    return faults


def held_by_two(holds):
    """Count the holds that began while another reader's of the same item lasted.

    Each is (case, structure, start, end, reader), by one clock, and lies within the time that its
    claim stood, so that two which overlap were there at once.
    """
    found, lasting = 0, []
    # One that ran out while its claim was waited for held nothing any more.
    for hold in sorted(one for one in holds if one[2] < one[3]):
        *item, start, _, reader = hold
        lasting = [one for one in lasting if one[:2] == item and one[3] > start]
        found += any(one[4] != reader for one in lasting)
        lasting.append(hold)
    return found


def histories(store, saves):
    """Item -> its versions, oldest first: id, source, parent and hash of the voxels."""
    found = {}
    with store.read() as connection:
        for item in sorted({(case_id, structure) for _, case_id, structure, _, _ in saves}):
            found[item] = [
                (
                    one.version_id,
                    one.source,
                    one.parent,
                    digest(read_label(store.objects, one.mask, SHAPE)),
                )
                for one in label_history(connection, *item)
            ]
    return found


def digest(mask):
    """Return the hash of a mask's bits."""
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()


def report(options, told, counts, faults, seconds):
    """Return the record in words."""
    saves = sum(len(part["saves"]) for part in told)
    times = sorted(s for part in told for s in part["seconds"])
    lines = [
        describe("starlette", "duckdb"),
        "",
        f"{options.annotators} annotators in {options.processes} processes, {options.cases} CTs of "
        f"{len(STRUCTURES)} structures, leases of {options.lease:g} s, {seconds:.0f} s.",
        "",
        f"- saves acknowledged: {saves}",
        *(f"- {name}: {counts[name]}" for name in sorted(counts) if name != "held by two"),
        f"- held by two: {counts['held by two']}",
        f"- draft, mask and verdict: median {statistics.median(times):.2f} s, 95 % under "
        f"{times[int(0.95 * (len(times) - 1))]:.2f} s, all waiting for one lock",
        f"- faults: {len(faults)}",
        *(f"  - {fault}" for fault in faults[:20]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
