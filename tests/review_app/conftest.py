"""Workspaces for the pages: real CTs with the labels that came with them, no network needed."""

from __future__ import annotations

import gzip
import os
import secrets
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from starlette.applications import Starlette
from starlette.testclient import TestClient

from benchmarks.chromium import CHROMIUM, chromium
from configs.taxonomy import load_taxonomy
from flows.init import init
from flows.intake import intake
from review_app.browser_session import COOKIE
from review_app.edit_document import EditDocument
from review_app.edit_item import item_of
from review_app.edit_routes import edit_routes
from review_app.open_documents import DOCUMENTS
from review_app.session import Desk, utc_now
from review_app.view_models import structure_lines
from storage.claims import claim_items
from storage.corrections import put_mask, whole_box
from storage.grid import Grid
from storage.labels import ABSENT
from storage.masks import encode_map, encode_mask
from storage.predictions import (
    CONSENSUS,
    Manifest,
    StoredMap,
    StoredMask,
    close_case,
    flat_box,
)
from storage.queue import QueueEntry, write_queue
from storage.review_case import read_case
from storage.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium

COMMITTEE = "k-000000000001"

# TotalSegmentator v2 value -> our structure.
LABELS = {
    "spleen": (1,),
    "kidney_right": (2,),
    "kidney_left": (3,),
    "gall_bladder": (4,),
    "liver": (5,),
    "stomach": (6,),
    "aorta": (52,),
    "pancreas": (7,),
    "duodenum": (19,),
    "colon": (20,),
    "lung_right": (12, 13, 14),
    "lung_left": (10, 11),
}


@pytest.fixture(scope="session")
def real_review(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two annotated real CTs and a queue; copy it before changing it."""
    root = tmp_path_factory.mktemp("real review") / "workspace"
    make_real_review(root, real_data)
    return root


@pytest.fixture
def real_store(real_review: Path, tmp_path: Path) -> Store:
    """A copy of ``real_review`` of the test's own."""
    return Store.open(Path(shutil.copytree(real_review, tmp_path / "workspace")))


@pytest.fixture(autouse=True)
def open_in_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open items in slices, which every browser draws alike; tests of the editor ask for it."""
    monkeypatch.setenv("ATLASLOOP_REVIEW__OPEN_IN", "pictures")


@pytest.fixture(scope="session")
def needs_chromium() -> None:
    """Skips without Chromium, or fails where ATLASLOOP_REQUIRE names browser."""
    missing = None if CHROMIUM.exists() else f"needs Chromium at {CHROMIUM}"
    try:
        import playwright.sync_api  # noqa: F401 looked for, not used
    except ImportError:
        missing = "needs the package playwright"
    if missing and "browser" in os.environ.get("ATLASLOOP_REQUIRE", ""):
        pytest.fail(f"{missing}, since ATLASLOOP_REQUIRE names browser")
    if missing:
        pytest.skip(missing)


@pytest.fixture(scope="module")
def browser(needs_chromium: None) -> Iterator[Chromium]:
    """One headless Chromium for all tests of a file; a test makes contexts or pages of its own.

    No longer: while it is there, its event loop runs in this thread, and no other may.
    """
    del needs_chromium
    with chromium() as opened:
        yield opened


def make_real_review(root: Path, data: Path) -> Store:
    """Make the workspace: the whole example and the aorta, each a case of two members."""
    store = init(root)
    names = ("example_ct", "aorta_crop")
    taken = intake(store, [data / "ct" / name / "ct.nii.gz" for name in names])
    entries: list[QueueEntry] = []
    for file in taken.taken:
        folder = Path(file.path).parent
        masks = _masks_beside(folder)
        image = nibabel.load(file.path)
        grid = Grid.from_affine(image.shape, image.affine)
        manifest = _manifest(store, file.case_id, grid, masks)
        close_case(store, manifest, run_id="r-1", seconds=1.0)
        for structure in masks:
            entries.append(_entry(len(entries) + 1, file.case_id, structure))
    missed = QueueEntry(
        position=1,
        kind="possibly_missed",
        case_id=taken.taken[0].case_id,
        structure="pancreas_tumor",
        risk=0.41,
        reason="no member has a mask, but a probability reaches 0.41",
    )
    write_queue(store, [*entries, missed], committee_id=COMMITTEE, policy="disagreement")
    return store


def _masks_beside(folder: Path) -> dict[str, np.ndarray]:
    if (folder / "aorta.nii.gz").exists():
        image = nibabel.as_closest_canonical(nibabel.load(folder / "aorta.nii.gz"))
        return {"aorta": np.asarray(image.dataobj) > 0}
    image = nibabel.as_closest_canonical(nibabel.load(folder / "totalseg_v2.nii.gz"))
    values = np.asarray(image.dataobj)
    found = {name: np.isin(values, numbers) for name, numbers in LABELS.items()}
    return {name: mask for name, mask in found.items() if mask.any()}


def _entry(position: int, case_id: str, structure: str) -> QueueEntry:
    return QueueEntry(
        position=position,
        kind="present",
        case_id=case_id,
        structure=structure,
        risk=round(0.62 / position**0.5, 3),
        reason=(
            f"2 of 2 members see it, they agree by {1 - 0.62 / position**0.5:.2f} (pairwise Dice); "
            "volumes differ by 31 %"
        ),
    )


def _manifest(store: Store, case_id: str, grid: Grid, truth: dict[str, np.ndarray]) -> Manifest:
    """Members stand on either side of the truth: one too generous, one moved to the side."""
    masks, maps, scores = [], [], []
    for structure, mask in truth.items():
        wide = ndimage.binary_dilation(mask, iterations=1)
        moved = np.roll(mask, 2, axis=0)
        drawn = {CONSENSUS: mask, "query-dot": wide, "small-unet": moved}
        for member, voxels in drawn.items():
            stored = put_mask(store.objects, encode_mask(voxels, whole_box(grid), grid))
            assert stored != ABSENT
            assert stored.object is not None
            assert stored.box is not None
            masks.append(StoredMask(member, structure, stored.object, stored.box, stored.voxels))
            scores.append(_score(member, structure, stored.voxels, grid))
        heat = (ndimage.gaussian_filter((wide ^ moved).astype(float), 1) * 255).astype(np.uint8)
        for kind in ("uncertainty", "disagreement"):
            encoded = encode_map(heat, whole_box(grid), grid)
            assert encoded.data is not None
            assert encoded.box is not None
            digest = store.objects.put(encoded.data)
            maps.append(StoredMap(kind, structure, digest, flat_box(encoded.box)))
    members = tuple(
        {"name": name, "family": name, "weights": "0" * 64} for name in ("query-dot", "small-unet")
    )
    return Manifest(case_id, COMMITTEE, members, grid, tuple(masks), tuple(maps), tuple(scores))


def _score(member: str, structure: str, voxels: int, grid: Grid) -> dict[str, object]:
    return {
        "member": member,
        "structure": structure,
        "volume_ml": voxels * float(np.prod(grid.spacing_mm)) / 1000,
        "entropy_mean": 0.3,
        "entropy_border": 0.6,
        "self_consistency": 0.9,
        "pairwise_dice": 0.7,
        "inconsistency": 0.1,
        "overlap_exclusive": 0.0,
        "max_probability": 0.95,
    }


LEASE = timedelta(minutes=10)
BROWSER = "b" * 32


@dataclass
class Browser:
    """A browser with the session cookie, and the document that it has open."""

    client: TestClient
    document: EditDocument

    def get(self, path):
        return self.client.get(f"/edit/{self.document.token}/{path}")

    def voxels(self, path, dtype=np.uint8):
        """An answer's voxels, shape (I, J, K)."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        shape = [hi - lo for lo, hi in self.document.region_ras]
        return np.frombuffer(answer.content, dtype).reshape(shape, order="F")

    def headers(self, **changes):
        headers = {
            "content-type": "application/octet-stream",
            "x-atlasloop-xsrf": self.document.xsrf,
            "x-atlasloop-base": self.document.shown_base,
            "x-atlasloop-request": secrets.token_hex(16),
        }
        headers |= {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in headers.items() if value is not None}

    def send(self, method, path, body=b"", **changes):
        return self.client.request(
            method,
            f"/edit/{self.document.token}/{path}",
            content=body,
            headers=self.headers(**changes),
        )

    def put(self, path, mask, **changes):
        return self.send("PUT", path, packed_mask(mask), **changes)


def packed_mask(mask):
    """A mask as the page sends it."""
    return gzip.compress(np.asarray(mask, np.uint8).tobytes(order="F"), 1)


def desk_of(made, reader="anna"):
    """The desk of a reader in a workspace."""
    settings = made.store.settings
    review = settings.review.model_copy(update={"reader": reader})
    store = replace(made.store, settings=settings.model_copy(update={"review": review}))
    return Desk(store, reader)


def opened_document(made, structure="liver", *, reader="anna", case=0, claim=True, **options):
    """Open a structure's whole CT in a browser of its own."""
    case_id, now = made.case_ids[case], utc_now()
    if claim:
        claim_items(made.store, case_id, [structure], reader=reader, now=now, lease=LEASE)
    here = desk_of(made, reader)
    read = read_case(here.store, case_id, reader=reader, now=now)
    line = next(one for one in structure_lines(read, load_taxonomy()) if one.structure == structure)
    item = item_of(read, line, blind=options.get("blind", False))
    region = options.get("region") or tuple((0, n) for n in read.grid.ras_shape)
    browser = options.get("browser", BROWSER)
    document = DOCUMENTS.offer(
        here, item, browser=browser, tab=options.get("tab", "tab"), region_ras=region
    )
    return Browser(client_of(browser), document)


def client_of(browser):
    """A client with a session cookie, or without one."""
    client = TestClient(Starlette(routes=edit_routes()), base_url="http://127.0.0.1:8600")
    if browser is not None:
        client.cookies.set(COOKIE, browser)
    return client


@pytest.fixture
def editing(monkeypatch):
    """The editor's documents: ``opened(made)``, ``packed(mask)``, ``client(browser)``."""
    # Every test's workspace holds cases of the same ids.
    monkeypatch.setattr(DOCUMENTS, "_open", OrderedDict())
    return SimpleNamespace(
        opened=opened_document,
        packed=packed_mask,
        client=client_of,
        browser=Browser,
        session=BROWSER,
    )
