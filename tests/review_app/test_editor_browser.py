"""The editor in a real browser, on the app's own server: strokes become exactly those voxels."""

import gzip
import json
import sys

import nibabel
import numpy as np
import pytest

from benchmarks.chromium import WINDOW
from benchmarks.review_server import ReviewServer
from review_app import editor_panel
from review_app.session import utc_now
from storage.assignments import assign_readings
from storage.label_masks import read_label
from storage.label_sources import labels_of, parse_source
from storage.labels import LabelMask, base_of, current_labels
from storage.review_case import read_case
from storage.verify import verify
from tests.review_app.editor_page import (
    SETTINGS,
    draft_after,
    open_editor,
    paint,
    ready_region,
    record,
    region_voxels,
    save,
    settled,
    stored,
    versions,
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not editor_panel.is_built(), reason="needs the editor's page part"),
]

AFFINES = {
    "RAS, slices of 5 mm": np.diag([0.8, 0.8, 5.0, 1]),
    "LPS": np.array([[-1.2, 0, 0, 21], [0, -1.2, 0, 17], [0, 0, 2.0, -9], [0, 0, 0, 1]]),
    "oblique LPS": np.array(
        [[-2.9, 0.6, 0.1, 9], [-0.6, -2.9, -0.2, 4], [0, 0.3, 5.0, 1], [0, 0, 0, 1.0]]
    ),
}


@pytest.fixture(scope="module")
def made(annotated_in, tmp_path_factory):
    """A case of every affine."""
    return annotated_in(tmp_path_factory.mktemp("edited"), affines=list(AFFINES.values()))


@pytest.fixture(scope="module")
def server(made, browser):
    with ReviewServer(made.store.workspace.root, settings=SETTINGS) as started:
        yield started


@pytest.fixture
def page(browser):
    with browser.new_context(viewport=WINDOW) as context:
        context.set_default_timeout(60_000)
        yield context.new_page()


@pytest.mark.parametrize("number", range(len(AFFINES)), ids=list(AFFINES))
def test_a_painted_stroke_is_one_version_of_exactly_those_voxels(made, server, page, number):
    store, case_id = made.store, case_of(made, list(AFFINES.values())[number])
    _, before = stored(store, case_id)
    region, shape = open_editor(page, server, case_id)

    first = paint(page)
    undone = draft_after(page, lambda: page.keyboard.press("Control+z"))
    redone = draft_after(page, lambda: page.keyboard.press("Control+y"))
    _, drawn = save(page)
    record(page)

    np.testing.assert_array_equal(region_voxels(undone, shape), before[region])
    assert drawn == redone == first
    expected = before.copy()
    expected[region] = region_voxels(drawn, shape)
    label, after = stored(store, case_id)
    np.testing.assert_array_equal(after, expected)
    assert (after != before).sum() > 5
    (version,) = versions(store, case_id)
    assert version.source == "reader:anna"
    assert same_places(store, label, path_of(store, case_id), expected)
    assert verify(store).findings == ()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_server_and_a_reload_lose_no_autosaved_stroke(make_annotated, page):
    made = make_annotated()
    case_id, store = made.case_ids[0], made.store
    with ReviewServer(store.workspace.root, settings=SETTINGS) as server:
        open_editor(page, server, case_id)
        drawn = paint(page)

        server.kill()
        server.start()
        with page.expect_response(lambda answer: answer.url.endswith("/draft")) as restored:
            open_editor(page, server, case_id)

        assert restored.value.body() == drawn
        assert versions(store, case_id) == []


def test_an_independent_reading_is_drawn_in_the_editor_and_stored_apart(make_annotated, page):
    """Exactly the voxels drawn, at the CT's own places, with nothing in the chain of reviews."""
    made = make_annotated(affine=AFFINES["oblique LPS"])
    case_id, store = made.case_ids[0], made.store
    assign_readings(store, reader="anna", case_ids=[case_id], structures=["liver"])
    with store.read() as connection:
        before = base_of(connection, case_id, "liver")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    with ReviewServer(store.workspace.root, settings=SETTINGS) as server:
        with page.expect_response(lambda answer: answer.url.endswith("/document")) as opened:
            page.goto(f"{server.url}/?view=readings")
        region, shape = ready_region(page, opened.value)
        assert page.locator("[data-name=accept], [data-name=reject]").count() == 0
        assert {url.split("/layer/")[1] for url in asked if "/layer/" in url} == {"mask"}

        first = paint(page)
        page.keyboard.press("Control+z")
        page.keyboard.press("Control+y")
        page.keyboard.press("a")
        page.locator(".footer-message", has_text="no answer here").wait_for()
        _, drawn = save(page)
        page.get_by_text("Liver read.").wait_for()
        page.get_by_text("No reading is assigned to you").wait_for()

    assert drawn == first
    grid = read_case(store, case_id, reader="anna", now=utc_now()).grid
    expected = np.zeros(grid.ras_shape, bool)
    expected[region] = region_voxels(drawn, shape)
    with store.read() as connection:
        read = labels_of(connection, parse_source("reader:anna/independent")).labels
        assert current_labels(connection, case_id=case_id) == {}
        assert base_of(connection, case_id, "liver") == before
    label = read[case_id, "liver"].mask
    np.testing.assert_array_equal(read_label(store.objects, label, expected.shape), expected)
    assert expected.sum() > 5
    assert same_places(store, label, path_of(store, case_id), expected)
    assert verify(store).findings == ()


def test_a_member_s_mask_is_taken_by_one_key_and_saved_whole(make_annotated, page):
    made = make_annotated()
    case_id, store = made.case_ids[0], made.store
    _, before = stored(store, case_id)
    case = read_case(store, case_id, reader="anna", now=utc_now())
    masks = {one.member: one for one in case.masks["liver"]}
    with ReviewServer(store.workspace.root, settings=SETTINGS) as server:
        with page.expect_response(lambda answer: answer.url.endswith("/document")) as opened:
            open_editor(page, server, case_id)
        layers = opened.value.json()["layers"]
        names = [one["name"] for one in layers if one["kind"] == "member"]

        page.locator("[data-name='take whole 0']").click()
        page.locator(".footer-message", has_text=f"All of {names[0]} is taken").wait_for()
        for key in ("Control+z", "8", "9"):
            page.keyboard.press(key)
        page.locator(".footer-message", has_text=f"All of {names[1]} is taken").wait_for()
        page.keyboard.press("Control+s")
        record(page)

    taken = masks[names[1]]
    label = LabelMask(taken.object, taken.box, taken.voxels)
    _, after = stored(store, case_id)
    np.testing.assert_array_equal(after, read_label(store.objects, label, before.shape))
    assert (after != before).any()


def test_a_verdict_beside_the_editor_asks_about_strokes_that_are_not_saved(make_annotated, page):
    """The keys say the same wherever the focus is, and the page has no second set of buttons."""
    made = make_annotated()
    case_id, store = made.case_ids[0], made.store
    with ReviewServer(store.workspace.root, settings=SETTINGS) as server:
        open_editor(page, server, case_id)
        paint(page)
        page.locator("h2.item").click()

        for key in ("a", "x", "u"):
            page.keyboard.press(key)
            page.locator(".footer-message", has_text="drew are not saved").wait_for(timeout=9000)
        settled(page)

        assert page.get_by_role("button", name="Accept").count() == 1
        assert judged(store, case_id) == []
        assert len(list(store.workspace.drafts_path.glob("*/*.draft"))) == 1
        page.keyboard.press("u")
        page.get_by_text("Liver deferred.").wait_for()
        assert judged(store, case_id) == ["defer"]


def test_a_button_beside_the_editor_waits_for_the_strokes_before_it(make_annotated, page):
    """A stroke is sent two seconds after it; the button is pressed at once."""
    made = make_annotated()
    case_id, store = made.case_ids[0], made.store
    slow = SETTINGS | {"ATLASLOOP_REVIEW__AUTOSAVE_S": "10"}
    with ReviewServer(store.workspace.root, settings=slow) as server:
        open_editor(page, server, case_id)
        # So wide that the mask touches the border of its region, which is asked about.
        for _ in range(12):
            page.keyboard.press("]")
        paint(page)
        save(page)
        record_it = page.get_by_role("button", name="Record the correction")
        record_it.wait_for()
        settled(page)

        page.keyboard.press("ArrowUp")
        page.mouse.down()
        page.mouse.up()
        record_it.click()

        page.get_by_text("voxels of yours").wait_for()
        assert judged(store, case_id) == []
        page.get_by_role("button", name="Record, drop my drawing").click()
        page.get_by_text("Liver corrected.").wait_for()
        assert judged(store, case_id) == ["correct"]


def test_a_tag_after_a_stroke_is_chosen_and_the_last_of_two_presses_counts(make_annotated, page):
    """While a draft is on its way, as over a slow connection."""
    made = make_annotated()
    settings = SETTINGS | {"ATLASLOOP_REVIEW__AUTOSAVE_S": "10"}
    with ReviewServer(made.store.workspace.root, settings=settings) as server:
        open_editor(page, server, made.case_ids[0])
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        slow = {"latency": 400, "downloadThroughput": -1, "uploadThroughput": -1}
        network.send("Network.emulateNetworkConditions", {"offline": False, **slow})
        tag = page.locator("[class*=st-key-tags-] button").first
        structures = page.locator(".st-key-structures")

        paint_at_once(page)
        tag.click()
        page.wait_for_timeout(1500)
        settled(page)
        assert tag.get_attribute("data-selected") == "true"

        paint_at_once(page)
        structures.get_by_role("button", name="Stomach").click()
        structures.get_by_role("button", name="Spleen").click()
        page.locator("h2.item", has_text="Spleen").wait_for()


def paint_at_once(page):
    box = page.locator("canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 40, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()


def judged(store, case_id):
    """The verdicts on a case, in order."""
    lines = [json.loads(line) for line in store.journal.path.read_text().splitlines()]
    given = [line["data"] for line in lines if line["kind"] == "verdict.given"]
    return [one["verdict"] for one in given if one["case_id"] == case_id]


def case_of(made, affine):
    """The case whose CT has an affine."""
    paths = {case_id: path_of(made.store, case_id) for case_id in made.case_ids}
    (found,) = (
        case_id for case_id, path in paths.items() if np.allclose(nibabel.load(path).affine, affine)
    )
    return found


def path_of(store, case_id):
    with store.read() as connection:
        found = connection.execute("SELECT path FROM current_files WHERE case_id = ?", [case_id])
        return found.fetchone()[0]


def same_places(store, label, path, expected):
    """Whether the stored file holds the voxels at the places of the CT's own affine, in mm."""
    file = nibabel.Nifti1Image.from_bytes(gzip.decompress(store.objects.read(label.object)))
    ct = nibabel.as_closest_canonical(nibabel.load(path))
    found = nibabel.affines.apply_affine(file.affine, np.argwhere(np.asarray(file.dataobj)))
    wanted = nibabel.affines.apply_affine(ct.affine, np.argwhere(expected))
    order = [np.lexsort(np.round(one, 2).T) for one in (found, wanted)]
    return np.allclose(found[order[0]], wanted[order[1]], atol=1e-3)
