"""The editor in a real browser, on the app's own server: strokes become exactly those voxels."""

import gzip
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from review_app import editor_panel
from review_app.session import utc_now
from storage.assignments import assign_readings
from storage.label_masks import read_label
from storage.label_sources import labels_of, parse_source
from storage.labels import LabelMask, base_of, current_labels, label_history
from storage.review_case import read_case
from storage.verify import verify

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not editor_panel.is_built(), reason="needs the editor's page part"),
]

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
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
OBLIQUE_LPS = np.array(
    [[-2.9, 0.6, 0.1, 9], [-0.6, -2.9, -0.2, 4], [0, 0.3, 5.0, 1], [0, 0, 0, 1.0]]
)


class Server:
    """The command line's app on a workspace, always at the same address."""

    def __init__(self, root):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.root, self.child = root, None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-m", "flows.cli", "review", "--no-browser", "--reader", "anna"]
        command += ["--port", str(self.port), "-w", str(self.root)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.child.stdout:
            if "review app for anna" in line:
                return
        pytest.fail("the app did not start")

    def kill(self):
        """End the serving process as a crash would."""
        listed = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text()
        (serving,) = listed.split()
        os.kill(int(serving), signal.SIGKILL)
        self.child.wait(30)
        self.child.stdout.close()

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            self.child.wait(30)
            self.child.stdout.close()


@pytest.fixture
def open_page(chromium, tmp_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=chromium,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 800},
        )
        context.set_default_timeout(60_000)
        yield context.pages[0]
        context.close()


@pytest.fixture
def serve():
    started = []

    def make(root):
        started.append(Server(root))
        return started[-1]

    yield make
    for one in started:
        one.stop()


def open_editor(page, server, case_id, structure="liver"):
    page.goto(f"{server.url}/?view=case&case={case_id}&structure={structure}")
    page.get_by_role("button", name="Accept", exact=False).first.wait_for()
    page.wait_for_timeout(300)
    page.wait_for_selector("[data-test-script-state='notRunning']")
    page.wait_for_timeout(300)
    page.locator(f".st-key-correct-{case_id}-{structure} button").first.click()
    page.locator("[data-state=ready]").wait_for()


def paint(page):
    """Draw a stroke on the axial view; returns the mask that the page sends as its draft."""
    page.keyboard.press("1")
    box = page.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    with page.expect_request(lambda request: is_put(request, "draft")) as sent:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y + 40, steps=6)
        page.mouse.up()
    assert sent.value.response().status == 200
    return gzip.decompress(sent.value.post_data_buffer)


def is_put(request, what):
    return request.method == "PUT" and request.url.endswith(f"/{what}")


def region_of_document(answer):
    facts = answer.json()
    starts, shape = facts["origin_voxel"], facts["shape"]
    return tuple(slice(start, start + n) for start, n in zip(starts, shape, strict=True)), shape


def stored(store, case_id, structure="liver"):
    case = read_case(store, case_id, reader="anna", now=utc_now())
    with store.read() as connection:
        label = base_of(connection, case_id, structure)[1]
    return label, read_label(store.objects, label, case.grid.ras_shape)


@pytest.mark.parametrize("affine", [None, OBLIQUE_LPS], ids=["RAS", "oblique LPS"])
def test_a_painted_stroke_is_one_version_of_exactly_those_voxels(
    make_annotated, open_page, serve, affine
):
    made = make_annotated(affine=affine)
    case_id, store, page = made.case_ids[0], made.store, open_page
    _, before = stored(store, case_id)
    server = serve(store.workspace.root)
    with page.expect_response(lambda answer: answer.url.endswith("/document")) as opened:
        open_editor(page, server, case_id)
    region, shape = region_of_document(opened.value)

    first = paint(page)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    with page.expect_request(lambda request: is_put(request, "mask")) as sent:
        page.keyboard.press("Control+s")
    page.locator(".st-key-pending, [data-testid=stAlert]").first.wait_for()
    if page.locator(".st-key-pending").count():
        page.get_by_role("button", name="Record the correction").first.click()
    page.get_by_text("Liver corrected.").wait_for()

    drawn = gzip.decompress(sent.value.post_data_buffer)
    assert drawn == first
    expected = before.copy()
    expected[region] = np.frombuffer(drawn, np.uint8).reshape(shape, order="F") > 0
    label, after = stored(store, case_id)
    np.testing.assert_array_equal(after, expected)
    assert (after != before).sum() > 5
    with store.read() as connection:
        (version,) = label_history(connection, case_id, "liver")
        (path,) = connection.execute("SELECT path FROM current_files").fetchone()
    assert version.source == "reader:anna"
    assert same_places(store, label, path, expected)
    assert verify(store).findings == ()


def same_places(store, label, path, expected):
    """Whether the stored file holds the voxels at the places of the CT's own affine, in mm."""
    file = nibabel.Nifti1Image.from_bytes(gzip.decompress(store.objects.read(label.object)))
    ct = nibabel.as_closest_canonical(nibabel.load(path))
    found = nibabel.affines.apply_affine(file.affine, np.argwhere(np.asarray(file.dataobj)))
    wanted = nibabel.affines.apply_affine(ct.affine, np.argwhere(expected))
    order = [np.lexsort(np.round(one, 2).T) for one in (found, wanted)]
    return np.allclose(found[order[0]], wanted[order[1]], atol=1e-3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_server_and_a_reload_lose_no_autosaved_stroke(make_annotated, open_page, serve):
    made = make_annotated()
    case_id, store, page = made.case_ids[0], made.store, open_page
    server = serve(store.workspace.root)
    open_editor(page, server, case_id)
    drawn = paint(page)

    server.kill()
    server.start()
    with page.expect_response(lambda answer: answer.url.endswith("/draft")) as restored:
        open_editor(page, server, case_id)

    assert restored.value.body() == drawn
    with store.read() as connection:
        assert label_history(connection, case_id, "liver") == []


def test_an_independent_reading_is_drawn_in_the_editor_and_stored_apart(
    make_annotated, open_page, serve, monkeypatch
):
    """Exactly the voxels drawn, at the CT's own places, with nothing in the chain of reviews."""
    monkeypatch.setenv("ATLASLOOP_REVIEW__OPEN_IN", "editor")
    made = make_annotated(affine=OBLIQUE_LPS)
    case_id, store, page = made.case_ids[0], made.store, open_page
    assign_readings(store, reader="anna", case_ids=[case_id], structures=["liver"])
    with store.read() as connection:
        before = base_of(connection, case_id, "liver")
        (path,) = connection.execute("SELECT path FROM current_files").fetchone()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response(lambda answer: answer.url.endswith("/document")) as opened:
        page.goto(f"{serve(store.workspace.root).url}/?view=readings")
    page.locator("[data-layers=ready]").wait_for()
    region, shape = region_of_document(opened.value)
    assert page.locator("[data-name=accept], [data-name=reject]").count() == 0
    assert {url.split("/layer/")[1] for url in asked if "/layer/" in url} == {"mask"}

    first = paint(page)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+y")
    page.keyboard.press("a")
    page.locator(".footer-message", has_text="no answer here").wait_for()
    with page.expect_request(lambda request: is_put(request, "mask")) as sent:
        page.keyboard.press("Control+s")
    page.get_by_text("Liver read.").wait_for()
    page.get_by_text("No reading is assigned to you").wait_for()

    drawn = gzip.decompress(sent.value.post_data_buffer)
    assert drawn == first
    expected = np.zeros(made_shape(store, case_id), bool)
    expected[region] = np.frombuffer(drawn, np.uint8).reshape(shape, order="F") > 0
    with store.read() as connection:
        read = labels_of(connection, parse_source("reader:anna/independent")).labels
        assert current_labels(connection, case_id=case_id) == {}
        assert base_of(connection, case_id, "liver") == before
    label = read[case_id, "liver"].mask
    np.testing.assert_array_equal(read_label(store.objects, label, expected.shape), expected)
    assert expected.sum() > 5
    assert same_places(store, label, path, expected)
    assert verify(store).findings == ()


def made_shape(store, case_id):
    return read_case(store, case_id, reader="anna", now=utc_now()).grid.ras_shape


def test_a_member_s_mask_is_taken_by_one_key_and_saved_whole(make_annotated, open_page, serve):
    made = make_annotated()
    case_id, store, page = made.case_ids[0], made.store, open_page
    _, before = stored(store, case_id)
    case = read_case(store, case_id, reader="anna", now=utc_now())
    masks = {one.member: one for one in case.masks["liver"]}
    server = serve(store.workspace.root)
    with page.expect_response(lambda answer: answer.url.endswith("/document")) as opened:
        open_editor(page, server, case_id)
    page.locator("[data-layers=ready]").wait_for()
    names = [one["name"] for one in opened.value.json()["layers"] if one["kind"] == "member"]

    page.locator("[data-name='take whole 0']").click()
    page.locator(".footer-message", has_text=f"All of {names[0]} is taken").wait_for()
    for key in ("Control+z", "8", "9"):
        page.keyboard.press(key)
    page.locator(".footer-message", has_text=f"All of {names[1]} is taken").wait_for()
    page.keyboard.press("Control+s")
    page.locator(".st-key-pending, [data-testid=stAlert]").first.wait_for()
    if page.locator(".st-key-pending").count():
        page.get_by_role("button", name="Record the correction").first.click()
    page.get_by_text("Liver corrected.").wait_for()

    taken = masks[names[1]]
    label = LabelMask(taken.object, taken.box, taken.voxels)
    _, after = stored(store, case_id)
    np.testing.assert_array_equal(after, read_label(store.objects, label, before.shape))
    assert (after != before).any()
