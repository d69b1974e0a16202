"""The readings page round the editor, as a script: the page part is played by a list of events."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import review_app
from review_app import case_images, reading_editor, session
from review_app.mask_editor import component
from review_app.open_documents import DOCUMENTS
from review_app.prefetch import prefetch_case
from storage.assignments import assign_readings
from storage.label_masks import read_label
from storage.label_sources import labels_of, parse_source
from storage.labels import base_of, current_labels
from storage.verify import verify

MAIN = Path(review_app.__file__).with_name("main.py")
SHAPE = (30, 26, 20)


class Page:
    """The page part: notes the address that it is given, and tells what was laid ready."""

    def __init__(self, editing):
        self.urls, self.events, self.editing = [], [], editing

    def __call__(self, document_url, *, status=None, mode="look", height_px=760):
        self.urls.append(document_url)
        event = self.events.pop(0) if self.events else {}
        return component.EditorEvent(save=event.get("save"), act=event.get("act"))

    @property
    def browser(self):
        document = DOCUMENTS.find(self.urls[-1].split("/")[2]).document
        return self.editing.browser(self.editing.client(self.editing.session), document)

    @property
    def region(self):
        return self.browser.document.region_ras

    def part(self, whole):
        return whole[tuple(slice(*extent) for extent in self.region)]

    def save(self, whole):
        """Keep the region's part of a mask over HTTP and tell the script so."""
        answer = self.browser.put("mask", self.part(whole))
        assert answer.status_code == 200, answer.text
        told = {"document": self.browser.document.document_id, "receipt": answer.json()}
        self.events.append({"save": told})

    def act(self, action, *, document=None, **told):
        told["document"] = document or self.browser.document.document_id
        self.events.append({"act": {"action": action, "nonce": f"n-{len(self.urls)}", **told}})


@pytest.fixture
def page(editing, monkeypatch, tmp_path):
    played = Page(editing)
    (tmp_path / "build.json").write_text("{}")
    monkeypatch.setattr(component, "__file__", str(tmp_path / "component.py"))
    monkeypatch.setattr(component, "mask_editor", played)
    monkeypatch.setattr(reading_editor, "browser_session", lambda: editing.session)
    return played


@pytest.fixture
def made(make_annotated, monkeypatch):
    workspace = make_annotated(cases=1)
    assign_readings(
        workspace.store,
        reader="anna",
        case_ids=workspace.case_ids,
        structures=["liver", "stomach"],
    )
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(workspace.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "anna")
    monkeypatch.setenv("ATLASLOOP_REVIEW__OPEN_IN", "editor")
    session.desk.cache_clear()
    case_images._cts.cache_clear()
    yield workspace
    session.desk.cache_clear()


@pytest.fixture
def small_regions(made, monkeypatch):
    """A desk whose editor opens 12 voxels a side: fewer than settings allow, for a small CT."""
    desk = session.desk()
    review = desk.settings.model_copy(update={"region_side": 12})
    settings = desk.store.settings.model_copy(update={"review": review})
    monkeypatch.setattr(
        session, "desk", lambda: replace(desk, store=replace(desk.store, settings=settings))
    )
    yield
    monkeypatch.undo()


def run(made, structure="liver"):
    app = AppTest.from_file(str(MAIN), default_timeout=120)
    app.query_params["view"] = "readings"
    again(app)
    press(app, f"reading-{made.case_ids[0]}-{structure}")
    return app


def again(app):
    app.run()
    assert not app.exception
    return app


def press(app, key):
    app.button(key=key).click().run()
    assert not app.exception


def keys_of_page(app):
    return [button.key for button in app.button]


def look_at(app, made, *place):
    """Move the sliders to a voxel and press the button that opens the editor there."""
    for plane, at in zip(("sagittal", "coronal", "axial"), place, strict=True):
        app.slider(key=f"slice-{made.case_ids[0]}-reading-liver-{plane}").set_value(at + 1)
    press(app, f"draw-{made.case_ids[0]}-reading-liver")


def block(*starts):
    mask = np.zeros(SHAPE, bool)
    for i, j, k in starts:
        mask[i : i + 3, j : j + 4, k : k + 2] = True
    return mask


def verdicts(made):
    lines = made.store.journal.path.read_text().splitlines()
    return [line["data"] for line in map(json.loads, lines) if line["kind"] == "verdict.given"]


def read_mask(made, structure="liver"):
    """The mask of anna's independent reading."""
    with made.store.read() as connection:
        found = labels_of(connection, parse_source("reader:anna/independent")).labels
    return read_label(made.store.objects, found[made.case_ids[0], structure].mask, SHAPE)


def drafts(made):
    return sorted(made.store.workspace.drafts_path.glob("*/*"))


def warnings(app):
    return " ".join(warning.value for warning in app.warning)


def test_a_saved_drawing_is_the_reading_and_touches_no_review(made, page):
    app = run(made)
    assert page.region == tuple((0, n) for n in SHAPE)
    assert len(app.slider) == 0
    drawn = block((20, 12, 8), (4, 4, 4))
    page.browser.put("draft", drawn)
    assert len(drafts(made)) == 1
    with made.store.read() as connection:
        before = base_of(connection, made.case_ids[0], "liver")

    page.save(drawn)
    again(app)

    (given,) = verdicts(made)
    assert (given["structure"], given["verdict"]) == ("liver", "correct")
    assert (given["reading"], given["base_version"]) == ("independent", None)
    assert [one["parent"] for one in given["versions"]] == [None]
    np.testing.assert_array_equal(read_mask(made), drawn)
    with made.store.read() as connection:
        assert current_labels(connection, case_id=made.case_ids[0]) == {}
        assert base_of(connection, made.case_ids[0], "liver") == before
    assert drafts(made) == []
    assert page.browser.document.item.structure == "stomach"
    assert verify(made.store).findings == ()


def test_nothing_drawn_is_no_reading(made, page):
    app = run(made)

    page.save(block())
    again(app)

    assert verdicts(made) == []
    assert "choose `absent`" in app.error[0].value


def test_slices_are_there_too_and_show_what_is_drawn(made, page, monkeypatch):
    monkeypatch.setenv("ATLASLOOP_REVIEW__OPEN_IN", "pictures")
    session.desk.cache_clear()
    app = run(made)
    assert page.urls == []
    assert len(app.slider) == 3

    look_at(app, made, 20, 13, 9)
    assert page.browser.get("document").json()["start_voxel"] == [20, 13, 9]
    page.browser.put("draft", block((20, 12, 8)))
    page.act("leave")
    again(app)

    assert len(app.slider) == 3
    words = " ".join(one.value for one in app.get("html"))
    assert "your drawing so far" in words
    assert "1.1 mL drawn, not given yet" in words
    assert verdicts(made) == []


def test_a_large_ct_is_drawn_region_by_region_where_the_reader_looks(made, page, small_regions):
    app = run(made)
    assert page.urls == []
    look_at(app, made, 21, 13, 9)
    assert page.region == ((15, 27), (7, 19), (3, 15))
    first = block((20, 12, 8))
    page.browser.put("draft", page.part(first))
    page.act("leave")
    again(app)
    look_at(app, made, 4, 5, 6)
    assert page.region == ((0, 12), (0, 12), (0, 12))

    page.save(block((3, 4, 5)))
    again(app)

    assert len(verdicts(made)) == 1
    np.testing.assert_array_equal(read_mask(made), first | block((3, 4, 5)))


def test_a_reload_opens_where_the_draft_is(made, page, small_regions):
    app = run(made)
    look_at(app, made, 21, 13, 9)
    drawn = block((16, 8, 4))
    page.browser.put("draft", page.part(drawn))

    after = run(made)

    assert page.browser.document.tab != ""
    (i, _), (j, _), (k, _) = page.region
    assert i <= 16
    assert j <= 8
    assert k <= 4
    np.testing.assert_array_equal(page.browser.voxels("draft"), page.part(drawn))
    assert len(after.slider) == 0


def test_a_widened_region_keeps_the_drawing(made, page, small_regions):
    app = run(made)
    look_at(app, made, 21, 13, 9)
    drawn = block((20, 12, 8))
    page.browser.put("draft", page.part(drawn))

    page.act("widen")
    again(app)

    parts = app.selectbox[0]
    assert len(parts.options) > 1
    for number in range(len(parts.options)):
        parts.set_value(number).run()
        draft = page.browser.voxels("draft")
        np.testing.assert_array_equal(draft, page.part(drawn))


def test_a_drawing_that_its_region_cuts_off_is_asked_about(made, page, small_regions):
    app = run(made)
    look_at(app, made, 21, 13, 9)
    drawn = block((24, 12, 8))

    page.save(drawn)
    again(app)

    assert verdicts(made) == []
    assert "may be cut off" in warnings(app)
    press(app, f"record-cut-{made.case_ids[0]}-liver")
    assert [one["verdict"] for one in verdicts(made)] == ["correct"]
    np.testing.assert_array_equal(read_mask(made), drawn)


def test_unsure_keeps_reading_and_drawing_and_goes_on(made, page):
    app = run(made)
    drawn = block((20, 12, 8))
    page.browser.put("draft", drawn)

    page.act("unsure")
    again(app)

    assert [(one["verdict"], one["versions"]) for one in verdicts(made)] == [("defer", [])]
    assert page.browser.document.item.structure == "stomach"
    press(app, f"reading-{made.case_ids[0]}-liver")
    np.testing.assert_array_equal(page.browser.voxels("draft"), drawn)


def test_absent_drops_the_drawing_and_no_key_does_so_beside_the_editor(made, page):
    app = run(made)
    key = f"absent-reading-{made.case_ids[0]}-liver"
    assert key not in keys_of_page(app)
    press(app, "leave-reading")
    assert app.button(key=key).proto.shortcut == "x"
    press(app, f"draw-{made.case_ids[0]}-reading-liver")
    page.browser.put("draft", block((20, 12, 8)))
    press(app, "leave-reading")
    assert app.button(key=key).proto.shortcut == ""
    assert "drop" in app.button(key=key).label

    press(app, f"draw-{made.case_ids[0]}-reading-liver")
    page.act("absent", dropping=True)
    again(app)

    assert [one["verdict"] for one in verdicts(made)] == ["absent"]
    assert drafts(made) == []


def test_absent_asks_before_it_drops_what_the_editor_takes_for_saved(made, page, small_regions):
    app = run(made)
    look_at(app, made, 21, 13, 9)
    page.save(block((24, 12, 8)))
    again(app)

    page.act("absent", dropping=False)
    again(app)

    assert verdicts(made) == []
    assert "“Absent” would drop 24 voxels of yours" in warnings(app)
    press(app, "unsaved-back")
    assert "would drop" not in warnings(app)
    assert len(drafts(made)) == 2, "the draft, and what was kept for the save"
    page.act("absent", dropping=False)
    again(app)
    press(app, "unsaved-drop")
    assert [one["verdict"] for one in verdicts(made)] == ["absent"]
    assert drafts(made) == []


def test_a_save_is_not_recorded_over_later_strokes_unasked(made, page, small_regions):
    app = run(made)
    look_at(app, made, 21, 13, 9)
    drawn, more = block((24, 12, 8)), block((24, 12, 8), (20, 9, 6))
    page.save(drawn)
    again(app)
    page.browser.put("draft", page.part(more))

    press(app, f"record-cut-{made.case_ids[0]}-liver")

    assert verdicts(made) == []
    assert "“Record” would drop 24 voxels" in warnings(app)
    page.browser.put("draft", page.part(block((24, 12, 8), (20, 9, 6), (20, 9, 9))))
    press(app, "unsaved-drop")
    assert verdicts(made) == [], "more was drawn than was asked about"
    assert "“Record” would drop 48 voxels" in warnings(app)
    press(app, "unsaved-drop")
    np.testing.assert_array_equal(read_mask(made), drawn)


def test_a_late_press_says_nothing_of_the_next_reading(made, page):
    app = run(made)
    shown_before = page.browser.document.document_id
    page.act("absent", dropping=False)
    again(app)
    assert page.browser.document.item.structure == "stomach"

    page.act("absent", document=shown_before, dropping=False)
    again(app)

    assert [one["structure"] for one in verdicts(made)] == ["liver"]
    assert "not open here" in app.error[0].value


def test_what_a_reading_has_no_answer_for_is_refused(made, page):
    app = run(made)

    page.act("accept")
    again(app)

    assert verdicts(made) == []
    assert "drawn, absent or unsure" in app.error[0].value


def test_next_opens_the_reading_behind_and_writes_nothing(made, page):
    app = run(made)

    page.act("next")
    again(app)

    assert page.browser.document.item.structure == "stomach"
    assert verdicts(made) == []


def test_the_ct_of_the_next_reading_is_made_ready(make_annotated, page, monkeypatch):
    made = make_annotated(cases=2)
    assign_readings(
        made.store, reader="anna", case_ids=made.case_ids, structures=["liver", "stomach"]
    )
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(made.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "anna")
    monkeypatch.setenv("ATLASLOOP_REVIEW__OPEN_IN", "editor")
    session.desk.cache_clear()
    asked = []
    monkeypatch.setattr(
        reading_editor, "prefetch_case", lambda here, case_id: asked.append(case_id)
    )

    run(made)
    prefetch_case(session.desk(), made.case_ids[1]).result(60)

    assert asked[-1] == made.case_ids[1]
    with made.store.read() as connection:
        (content,) = connection.execute(
            "SELECT content_id FROM cases WHERE case_id = ?", [made.case_ids[1]]
        ).fetchone()
    names = [blocks.name for blocks in made.store.workspace.regions_path.iterdir()]
    assert any(name.startswith(content) for name in names)
    session.desk.cache_clear()


def test_without_the_session_cookie_slices_and_upload_remain(made, page, monkeypatch):
    monkeypatch.setattr(reading_editor, "browser_session", lambda: None)

    app = run(made)

    assert page.urls == []
    assert len(app.slider) == 3
    assert "allow cookies" in warnings(app)
