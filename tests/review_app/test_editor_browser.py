"""The editor in a real browser, on the app's own server: strokes become exactly those voxels."""

import gzip
import sys
from contextlib import ExitStack

import nibabel
import numpy as np
import pytest

from benchmarks.chromium import WINDOW
from benchmarks.review_server import ReviewServer
from review_app import editor_panel
from review_app.session import utc_now
from storage.label_masks import read_label
from storage.labels import base_of, label_history
from storage.review_case import read_case
from storage.verify import verify

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not editor_panel.is_built(), reason="needs the editor's page part"),
]

OBLIQUE_LPS = np.array(
    [[-2.9, 0.6, 0.1, 9], [-0.6, -2.9, -0.2, 4], [0, 0.3, 5.0, 1], [0, 0, 0, 1.0]]
)


@pytest.fixture
def open_page(browser):
    with browser.new_context(viewport=WINDOW) as context:
        context.set_default_timeout(60_000)
        yield context.new_page()


@pytest.fixture
def serve():
    with ExitStack() as started:
        yield lambda root: started.enter_context(ReviewServer(root))


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
