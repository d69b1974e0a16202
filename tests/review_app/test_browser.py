"""The whole loop in a real browser: queue, case page, keys, upload, and every refusal."""

import gzip
import io
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import nibabel
import numpy as np
import pytest

from review_app.session import utc_now
from storage.claims import claim_items
from storage.labels import base_of, current_labels, label_history
from storage.rebuild import rebuild
from storage.review_case import read_case
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify

pytestmark = [pytest.mark.browser, pytest.mark.slow]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PATIENCE_MS = 60_000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def app(real_store, chromium):
    """The command line's own app on a copy of the real workspace; yields process and address."""
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "review", "--no-browser", "--reader", "anna"]
    command += ["--port", str(port), "-w", str(real_store.workspace.root)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in child.stdout:
        if "review app for anna" in line:
            break
    yield child, f"http://127.0.0.1:{port}"
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        child.wait(30)
    child.stdout.close()


@pytest.fixture
def page(app, chromium, tmp_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 800},
            accept_downloads=True,
        )
        context.set_default_timeout(PATIENCE_MS)
        opened = context.pages[0]
        opened.goto(app[1])
        yield opened
        context.close()


def open_first(page):
    page.get_by_role("button", name="Open", exact=False).first.wait_for()
    settled(page)
    page.keyboard.press("n")
    verdict(page, "Accept").wait_for()
    settled(page)


def verdict(page, words):
    return page.get_by_role("button", name=words, exact=False).first


def settled(page):
    """Wait until no script runs, so that the next key meets the page as it is."""
    page.wait_for_timeout(300)
    page.wait_for_selector("[data-test-script-state='notRunning']")
    page.wait_for_timeout(300)


def shown_item(page):
    """The case and structure that the address and the buttons are about."""
    case_id = page.locator("h2.item ~ p code").first.inner_text()
    return case_id, page.locator("h2.item").inner_text()


def rows(store):
    with store.read() as connection:
        return (
            connection.execute("SELECT count(*) FROM verdicts").fetchone()[0],
            connection.execute("SELECT count(*) FROM label_versions").fetchone()[0],
        )


def links(page):
    return {
        link.inner_text(): link.get_attribute("href") for link in page.locator(".links a").all()
    }


def fetched(address, path):
    with urllib.request.urlopen(address + path, timeout=30) as answer:
        return answer.read()


def upload(page, name, data):
    page.locator("input[type=file]").first.set_input_files(
        {"name": name, "mimeType": "application/gzip", "buffer": data}
    )
    settled(page)


def image(data):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(data))


def packed(voxels, affine):
    made = nibabel.Nifti1Image(voxels, affine)
    buffer = io.BytesIO()
    made.file_map["image"] = nibabel.FileHolder(fileobj=buffer)
    made.to_file_map()
    return gzip.compress(buffer.getvalue())


def test_accept_by_key_makes_a_version_and_the_next_item_comes(page, real_store):
    open_first(page)
    case_id, structure = shown_item(page)
    assert structure == "Aorta"

    page.keyboard.press("a")
    page.get_by_text("Aorta accepted.").wait_for()
    settled(page)

    with real_store.read() as connection:
        labels = current_labels(connection, case_id=case_id)
    assert labels[case_id, "aorta"].source == "reader:anna"
    assert shown_item(page)[1] != "Aorta"
    assert page.get_by_text("Aorta: accepted by anna").count() == 1


def test_uploaded_correction_is_a_new_version_of_the_downloaded_region(page, app, real_store):
    open_first(page)
    case_id, _ = shown_item(page)
    page.keyboard.press("e")
    page.locator(".links a").first.wait_for()
    mask = image(fetched(app[1], links(page)["mask of the region"]))
    ct = image(fetched(app[1], links(page)["CT of the region"]))
    assert mask.shape == ct.shape
    np.testing.assert_array_equal(mask.affine, ct.affine)
    voxels = np.asarray(mask.dataobj).copy()
    inside = np.argwhere(voxels)
    voxels[tuple(inside[len(inside) // 2])] = 0
    voxels[tuple(inside[len(inside) // 3])] = 0

    upload(page, "corrected.nii.gz", packed(voxels, mask.affine))
    page.get_by_text("2 voxels change").wait_for()
    assert rows(real_store) == (0, 0)
    page.get_by_role("button", name="Record the correction").click()
    page.get_by_text("Aorta corrected.").wait_for()

    with real_store.read() as connection:
        (version,) = label_history(connection, case_id, "aorta")
        changed = connection.execute("SELECT voxels_changed, active_s FROM verdicts").fetchone()
    assert changed[0] == 2
    assert changed[1] > 0
    assert version.mask.voxels == len(inside) - 2
    page.get_by_role("button", name="Aorta: corrected by anna").click()
    settled(page)
    page.get_by_text("Versions (1)").click()
    page.get_by_text(version.version_id).wait_for()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v, a: (v, a + shift()), "grid"),
        (lambda v, a: (v * 1 + (np.indices(v.shape)[0] == 3) * 5, a), "met 0 and"),
        (lambda v, a: (v[:, :, :-1], a), "must lie on the grid"),
        (lambda v, a: (v * 0, a), "the uploaded mask is empty"),
    ],
    ids=["shifted grid", "foreign values", "another shape", "empty"],
)
def test_unfit_upload_is_refused_and_nothing_is_written(page, app, real_store, change, words):
    open_first(page)
    page.keyboard.press("e")
    page.locator(".links a").first.wait_for()
    mask = image(fetched(app[1], links(page)["mask of the region"]))
    voxels, affine = change(np.asarray(mask.dataobj).astype(np.int16), mask.affine)
    before = sorted(real_store.objects.digests())

    upload(page, "wrong.nii.gz", packed(voxels.astype(np.int16), affine))

    page.get_by_text("Refused, nothing was written").wait_for()
    assert words in page.locator("[data-testid=stAlert]").last.inner_text()
    assert page.get_by_role("button", name="Record the correction").count() == 0
    assert rows(real_store) == (0, 0)
    assert sorted(real_store.objects.digests()) == before


def shift():
    moved = np.zeros((4, 4))
    moved[0, 3] = 3.0
    return moved


def test_oversize_upload_is_refused(page, real_store):
    open_first(page)
    page.keyboard.press("e")
    page.locator(".links a").first.wait_for()

    path = real_store.workspace.root.parent / "large.nii.gz"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    page.locator("input[type=file]").first.set_input_files(path)

    page.get_by_text("64.0MB or smaller").or_(page.get_by_text("must be 64")).first.wait_for()
    assert page.get_by_role("button", name="Record the correction").count() == 0
    assert rows(real_store) == (0, 0)


def test_stale_base_is_a_conflict_and_nothing_is_written(page, real_store):
    open_first(page)
    case_id, _ = shown_item(page)
    now = utc_now()
    with real_store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM claims")
    claim(real_store, case_id, "bert", now)
    judge_by_bert(real_store, case_id, now)
    claim(real_store, case_id, "anna", now)
    assert rows(real_store) == (1, 1)

    page.keyboard.press("a")

    page.get_by_text("Nothing was written").wait_for()
    assert "was changed meanwhile" in page.locator("[data-testid=stAlert]").first.inner_text()
    assert rows(real_store) == (1, 1)
    page.get_by_role("button", name="Show the new version").click()
    settled(page)
    assert page.get_by_text("a verdict on what you saw before").count() == 0


def test_expired_claim_is_refused_and_nothing_is_written(page, real_store):
    open_first(page)
    with real_store.transaction() as transaction:
        transaction.connection.execute(
            "UPDATE claims SET expires_at = ?", [utc_now() - timedelta(seconds=1)]
        )

    page.keyboard.press("a")

    page.get_by_text("Nothing was written").wait_for()
    assert "expired" in page.locator("[data-testid=stAlert]").first.inner_text()
    assert rows(real_store) == (0, 0)
    page.get_by_role("button", name="Open to judge").click()
    settled(page)
    page.keyboard.press("a")
    page.get_by_text("accepted.").first.wait_for()
    assert rows(real_store) == (1, 1)


def test_pages_and_addresses_hold_no_path_and_refuse_strangers(page, app, real_store):
    open_first(page)
    page.keyboard.press("e")
    page.locator(".links a").first.wait_for()
    folders = {part for part in real_store.workspace.root.parts if len(part) > 3}
    content = page.content()
    assert not [part for part in folders if part in content]
    assert "ct.nii.gz" not in content.replace("_ct.nii.gz", "")

    path = links(page)["mask of the region"]
    assert len(path.rsplit("/", 1)[1]) == 32
    for changed, code in ((path[:-4] + "aaaa", 404), (path, 403)):
        request = urllib.request.Request(app[1] + changed)
        if code == 403:
            request.add_header("Origin", "http://elsewhere.example")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=30)
        with caught.value as answer:
            assert answer.code == code


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_app_keeps_every_acknowledged_verdict_and_maps_no_torch(page, app, real_store):
    open_first(page)
    page.keyboard.press("a")
    page.get_by_text("Aorta accepted.").wait_for()
    server = child_of(app[0].pid)
    assert "libtorch" not in Path(f"/proc/{server}/maps").read_text()

    os.kill(server, signal.SIGKILL)
    assert app[0].wait(60) == 1

    assert rows(real_store) == (1, 1)
    assert verify(real_store).findings == ()
    real_store.workspace.database_path.unlink()
    rebuild(real_store)
    assert rows(real_store) == (1, 1)


def child_of(pid):
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(listed) == 1
    return int(listed[0])


def claim(store, case_id, reader, now):
    lease = timedelta(minutes=10)
    claim_items(store, case_id, ["aorta"], reader=reader, now=now, lease=lease)


def judge_by_bert(store, case_id, now):
    with store.read() as connection:
        found = base_of(connection, case_id, "aorta")
    assert found is not None
    given = Verdict(
        case_id=case_id,
        structure="aorta",
        verdict="accept",
        reader="bert",
        base_version=found[0],
        request_id="bert-1",
        opened_at=now,
        active_s=1.0,
    )
    give_verdict(store, given, now=now)
    assert "aorta" in read_case(store, case_id, reader="bert", now=now).verdicts
