"""The app's editor as a reader uses it in a real browser."""

import gzip

import numpy as np

from review_app.session import utc_now
from storage.label_masks import read_label
from storage.labels import base_of, label_history
from storage.review_case import read_case

# Items open in the editor, and a draft is sent as soon as the pen rests.
SETTINGS = {"ATLASLOOP_REVIEW__OPEN_IN": "editor", "ATLASLOOP_REVIEW__AUTOSAVE_S": "0.3"}


def go_to_item(page, server, case_id, structure="liver"):
    page.goto(f"{server.url}/?view=case&case={case_id}&structure={structure}")


def open_editor(page, server, case_id, structure="liver"):
    """Open an item; returns where its region lies in the CT, as slices, and the region's shape."""
    with page.expect_response(lambda answer: answer.url.endswith("/document")) as opened:
        go_to_item(page, server, case_id, structure)
    return ready_region(page, opened.value)


def ready_region(page, answer):
    """Wait until the document of an answer is drawn; returns its region."""
    facts = answer.json()
    page.locator(f"[data-document='{facts['id']}'][data-layers=ready]").wait_for()
    settled(page)
    starts, shape = facts["origin_voxel"], facts["shape"]
    return tuple(slice(start, start + n) for start, n in zip(starts, shape, strict=True)), shape


def settled(page):
    """Wait until no script runs, so that the next key meets the page as it is."""
    page.wait_for_timeout(300)
    page.wait_for_selector("[data-test-script-state='notRunning']")


def paint(page):
    """Draw a stroke on the axial view; returns the mask that the page sends as its draft."""
    page.keyboard.press("1")
    box = page.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def draw():
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 60, y + 40, steps=6)
        page.mouse.up()

    return draft_after(page, draw)


def draft_after(page, act):
    """Do something; returns the mask that the page sends as its draft after it."""
    with page.expect_request(lambda request: is_put(request, "draft")) as sent:
        act()
    assert sent.value.response().status == 200
    return gzip.decompress(sent.value.post_data_buffer)


def save(page):
    """Press the key that saves; returns the answer, and the mask that was sent."""
    with page.expect_request(lambda request: is_put(request, "mask")) as sent:
        page.keyboard.press("Control+s")
    return sent.value.response(), gzip.decompress(sent.value.post_data_buffer)


def record(page, words="Liver corrected."):
    """Wait until the last save is a version, settling what it touches beside its structure."""
    pending, done = page.locator(".st-key-pending"), page.get_by_text(words)
    pending.or_(done).first.wait_for()
    if pending.count():
        pending.get_by_role("button", name="Record the correction").click()
    done.wait_for()


def is_put(request, what):
    return request.method == "PUT" and request.url.endswith(f"/{what}")


def region_voxels(sent, shape):
    """The mask (I, J, K) that a page sent."""
    return np.frombuffer(sent, np.uint8).reshape(shape, order="F") > 0


def stored(store, case_id, structure="liver"):
    """The newest label of an item, and its mask on the CT's grid."""
    case = read_case(store, case_id, reader="anna", now=utc_now())
    with store.read() as connection:
        label = base_of(connection, case_id, structure)[1]
    return label, read_label(store.objects, label, case.grid.ras_shape)


def versions(store, case_id, structure="liver"):
    with store.read() as connection:
        return label_history(connection, case_id, structure)
