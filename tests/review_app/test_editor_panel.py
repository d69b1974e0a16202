"""The case page round the editor, as a script: the page part is played by a list of events."""

import json
from datetime import timedelta

import numpy as np
import pytest
from scipy import ndimage

from review_app import case_images, editor_panel, session
from review_app.mask_editor import component
from review_app.open_documents import DOCUMENTS
from review_app.session import utc_now
from storage.blind_items import BlindBatch, BlindItem, assign_blind
from storage.claims import claim_items
from storage.label_masks import read_label
from storage.labels import base_of
from storage.verify import verify
from tests.review_app.app_script import again, keys, press, run_case, texts


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
        """A browser on the document that is shown."""
        document = DOCUMENTS.find(self.urls[-1].split("/")[2]).document
        return self.editing.browser(self.editing.client(self.editing.session), document)

    def save(self, mask, **more):
        """Keep a mask over HTTP and tell the script so."""
        browser = self.browser
        answer = browser.put("mask", mask)
        assert answer.status_code == 200, answer.text
        told = {"document": browser.document.document_id, "receipt": answer.json(), **more}
        self.events.append({"save": told})

    def act(self, action, nonce="n-1", **more):
        told = {"document": self.browser.document.document_id, "action": action, "nonce": nonce}
        self.events.append({"act": told | more})


@pytest.fixture
def page(editing, monkeypatch, tmp_path):
    played = Page(editing)
    (tmp_path / "build.json").write_text("{}")
    monkeypatch.setattr(component, "__file__", str(tmp_path / "component.py"))
    monkeypatch.setattr(component, "mask_editor", played)
    monkeypatch.setattr(editor_panel, "browser_session", lambda: editing.session)
    # What it makes ready is tested on its own.
    monkeypatch.setattr(editor_panel, "prefetch_after", lambda here, case_id: None)
    return played


@pytest.fixture
def made(make_annotated, monkeypatch):
    workspace = make_annotated(cases=1)
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(workspace.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "anna")
    session.desk.cache_clear()
    case_images._cts.cache_clear()
    yield workspace
    session.desk.cache_clear()


def edit(made, page, structure="liver"):
    app = run_case(made, structure)
    press(app, f"correct-{made.case_ids[0]}-{structure}")
    return app


def base(made, structure="liver"):
    with made.store.read() as connection:
        version, label = base_of(connection, made.case_ids[0], structure)
    return version, read_label(made.store.objects, label, (30, 26, 20))


def verdicts(made):
    lines = made.store.journal.path.read_text().splitlines()
    return [line["data"] for line in map(json.loads, lines) if line["kind"] == "verdict.given"]


def drafts(made):
    return sorted(made.store.workspace.drafts_path.glob("*/*"))


def away_from_stomach(mask):
    """The liver with a voxel less and one more on the far side of the stomach."""
    at = np.argwhere(mask)
    changed = mask.copy()
    changed[tuple(at[at[:, 0].argmax()])] = False
    changed[24, 12, 10] = not changed[24, 12, 10]
    return changed


def test_correct_opens_the_editor_in_the_place_of_the_pictures(made, page):
    app = run_case(made)
    assert page.urls == []
    assert len(app.slider) == 3

    press(app, f"correct-{made.case_ids[0]}-liver")

    assert len(app.slider) == 0
    facts = page.browser.get("document").json()
    assert facts["structure"] == "liver"
    assert facts["base_version"] == base(made)[0]
    again(app)
    assert page.urls[-1] == page.urls[-2]
    press(app, f"correct-{made.case_ids[0]}-liver")
    assert len(app.slider) == 3


def test_items_open_in_the_editor_unless_the_settings_say_otherwise(made, page, monkeypatch):
    monkeypatch.delenv("ATLASLOOP_REVIEW__OPEN_IN")
    session.desk.cache_clear()

    run_case(made)

    assert page.browser.get("document").json()["structure"] == "liver"


def shortcuts(app):
    """The key of each button of the page, by the first word of the button's own name."""
    return {button.key.split("-")[0]: button.proto.shortcut for button in app.button if button.key}


def test_verdicts_and_their_keys_stand_in_the_editor_or_on_the_page_never_in_both(made, page):
    app = edit(made, page)
    beside_the_editor = shortcuts(app)
    press(app, f"correct-{made.case_ids[0]}-liver")
    beside_pictures = shortcuts(app)

    names = ("accept", "reject", "absent", "defer", "next", "correct")
    assert [beside_the_editor.get(name) for name in names] == [None, None, None, None, "", ""]
    assert [beside_pictures[name] for name in names] == ["a", "b", "x", "u", "n", "e"]


def with_draft(made, page):
    """The case page beside pictures, with a stroke of three voxels that was not saved."""
    app = edit(made, page)
    drawn = base(made)[1][tuple(slice(*extent) for extent in page.browser.document.region_ras)]
    drawn[:3, 0, 0] = ~drawn[:3, 0, 0]
    page.browser.put("draft", drawn)
    page.act("leave")
    return again(app)


@pytest.mark.parametrize("kind", ["accept", "absent", "reject", "defer"])
def test_a_verdict_that_would_drop_strokes_is_asked_about_and_can_be_taken_back(made, page, kind):
    app = with_draft(made, page)

    press(app, f"{kind}-{made.case_ids[0]}-liver")
    press(app, f"{kind}-{made.case_ids[0]}-liver")

    assert verdicts(made) == []
    assert len(drafts(made)) == 1
    dropped = 3 if kind != "absent" else int(page.browser.voxels("draft").sum())
    assert f"would drop {dropped:,} voxels of yours" in texts(app)
    press(app, "unsaved-back")
    assert page.browser.get("document").json()["has_draft"]
    assert keys(app, "unsaved-") == []


def test_what_another_reader_changed_since_is_not_told_as_strokes(made, page, make_readings):
    app, old, drawn = overtaken(made, page, make_readings)
    _, newest = base(made)

    press(app, f"accept-{made.case_ids[0]}-liver")

    own = (drawn != old) & (drawn != newest)
    assert f"would drop {own.sum()} voxel" in texts(app)
    assert own.sum() < (drawn != newest).sum()
    assert len(verdicts(made)) == 1


def test_strokes_are_dropped_when_the_reader_says_so(made, page):
    app = with_draft(made, page)
    press(app, f"accept-{made.case_ids[0]}-liver")

    press(app, "unsaved-drop")

    assert [(one["structure"], one["verdict"]) for one in verdicts(made)] == [("liver", "accept")]
    assert drafts(made) == []


def test_strokes_drawn_after_a_save_are_asked_about_before_it_is_recorded(made, page):
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    overlapping = ndimage.binary_dilation(base(made)[1], iterations=4)[inside]
    page.save(overlapping)
    again(app)
    overlapping[0, 0, 0] = ~overlapping[0, 0, 0]
    page.browser.put("draft", overlapping)

    press(app, f"record-{made.case_ids[0]}-liver")

    assert verdicts(made) == []
    assert "would drop 1 voxel of yours" in texts(app)


def test_taking_all_back_after_a_save_is_asked_about_before_it_is_recorded(made, page):
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    _, before = base(made)
    overlapping = ndimage.binary_dilation(before, iterations=4)
    page.save(overlapping[inside])
    again(app)
    page.browser.put("draft", before[inside])

    press(app, f"record-{made.case_ids[0]}-liver")

    assert verdicts(made) == []
    taken_back = (overlapping != before)[inside].sum()
    assert f"would drop {taken_back:,} voxels of yours" in texts(app)


def test_a_save_that_is_not_recorded_yet_is_not_dropped_by_a_verdict(made, page):
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    page.save(ndimage.binary_dilation(base(made)[1], iterations=4)[inside])
    again(app)

    page.act("accept", nonce="n-2")
    again(app)

    assert verdicts(made) == []
    assert keys(app, "unsaved-") == ["unsaved-back", "unsaved-drop"]


def test_a_drawing_that_cannot_be_read_is_not_dropped_unasked(made, page):
    app = with_draft(made, page)
    (draft,) = drafts(made)
    draft.write_bytes(b"damaged")

    press(app, f"accept-{made.case_ids[0]}-liver")

    assert verdicts(made) == []
    assert "a draft must be whole" in texts(app)
    press(app, "unsaved-drop")
    assert [one["verdict"] for one in verdicts(made)] == ["accept"]


def test_without_the_page_part_correct_shows_pictures_and_upload(made, page, tmp_path):
    (tmp_path / "build.json").unlink()

    app = edit(made, page)

    assert page.urls == []
    assert len(app.slider) == 3


def test_a_save_is_one_verdict_with_exactly_those_voxels(made, page):
    app = edit(made, page)
    document = page.browser.document
    inside = tuple(slice(*extent) for extent in document.region_ras)
    _, mask = base(made)
    changed = away_from_stomach(mask)
    page.browser.put("draft", changed[inside])
    assert drafts(made)

    page.save(changed[inside])
    again(app)

    (given,) = verdicts(made)
    assert (given["structure"], given["verdict"], given["reader"]) == ("liver", "correct", "anna")
    assert given["voxels_changed"] == 2
    assert [one["structure"] for one in given["versions"]] == ["liver"]
    np.testing.assert_array_equal(base(made)[1], changed)
    assert drafts(made) == []
    assert f"accept-{made.case_ids[0]}-stomach" in [button.key for button in app.button]
    assert verify(made.store).findings == ()


def test_overlap_with_a_neighbour_is_settled_in_one_click_and_one_line(made, page):
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    _, mask = base(made)
    _, stomach = base(made, "stomach")
    changed = ndimage.binary_dilation(mask, iterations=4)
    shared = int((changed & stomach).sum())
    assert shared > 0

    page.save(changed[inside])
    again(app)
    assert verdicts(made) == []
    assert f"Take {shared:,} shared voxels" in app.checkbox[0].label
    press(app, f"record-{made.case_ids[0]}-liver")

    (given,) = verdicts(made)
    assert [(one["structure"], one["linked"]) for one in given["versions"]] == [
        ("liver", False),
        ("stomach", True),
    ]
    np.testing.assert_array_equal(base(made, "stomach")[1], stomach & ~changed)


@pytest.mark.parametrize("blind_reader", ["anna", "bert"])
def test_a_neighbour_that_waits_for_a_blind_look_is_told_and_not_offered(made, page, blind_reader):
    case_id = made.case_ids[0]
    item = BlindItem(case_id, "stomach", "audit", 1)
    assign_blind(made.store, BlindBatch(reader=blind_reader, items=(item,), frame=1, seed=0))
    before = base(made, "stomach")
    app = edit(made, page)
    kept = {layer["id"]: layer["kept"] for layer in page.browser.get("document").json()["layers"]}
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    changed = ndimage.binary_dilation(base(made)[1], iterations=4)

    page.save(changed[inside])
    again(app)

    assert kept.pop("neighbour-stomach")
    assert not any(kept.values())
    assert list(app.checkbox) == []
    assert "stay with Stomach too: it waits for a blind look" in app.caption[0].value
    press(app, f"record-{case_id}-liver")
    (given,) = verdicts(made)
    assert [one["structure"] for one in given["versions"]] == ["liver"]
    after = base(made, "stomach")
    assert after[0] == before[0]
    np.testing.assert_array_equal(after[1], before[1])


def test_a_neighbour_that_is_to_be_judged_blind_from_now_on_makes_another_document(made, page):
    case_id = made.case_ids[0]
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    changed = ndimage.binary_dilation(base(made)[1], iterations=4)
    item = BlindItem(case_id, "stomach", "audit", 1)
    assign_blind(made.store, BlindBatch(reader="bert", items=(item,), frame=1, seed=0))

    page.save(changed[inside], transfer=["neighbour-stomach"])
    again(app)

    assert verdicts(made) == []
    assert "stay with Stomach too" in app.caption[0].value
    again(app)
    layers = page.browser.get("document").json()["layers"]
    assert [one["kept"] for one in layers if one["id"] == "neighbour-stomach"] == [True]


def test_a_draft_that_was_taken_back_after_a_save_is_no_conflict(made, page, make_readings):
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    _, before = base(made)
    page.save(ndimage.binary_dilation(before, iterations=4)[inside])
    again(app)
    page.browser.put("draft", before[inside])
    assert not page.browser.get("document").json()["has_draft"]
    changed_by_bert(made, make_readings)
    again(app)

    press(app, "reopen")
    press(app, f"correct-{made.case_ids[0]}-liver")

    assert keys(app, "conflict-") == []
    assert page.browser.get("document").json()["base_version"] == base(made)[0]


def test_overlap_that_the_editor_settled_is_recorded_at_once(made, page):
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    changed = ndimage.binary_dilation(base(made)[1], iterations=4)

    page.save(changed[inside], transfer=["neighbour-stomach"])
    again(app)

    (given,) = verdicts(made)
    assert [one["structure"] for one in given["versions"]] == ["liver", "stomach"]


def test_a_child_left_outside_is_a_warning_before_the_verdict(made, page, make_readings):
    readings = make_readings(made)
    case_id = made.case_ids[0]
    readings.review(
        case_id, "liver_tumor", "correct", mask=readings.ball(case_id, centre=0.35, radius=0.1)
    )
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    _, tumor = base(made, "liver_tumor")
    changed = base(made)[1] & ~tumor

    page.save(changed[inside])
    again(app)

    assert len(verdicts(made)) == 1
    words = " ".join(warning.value for warning in app.warning)
    assert f"{int(tumor.sum()):,} voxels of Liver tumor are not in it any more" in words
    press(app, f"record-{case_id}-liver")
    assert len(verdicts(made)) == 2


@pytest.mark.parametrize(("action", "verdict"), [("accept", "accept"), ("unsure", "defer")])
def test_a_verdict_out_of_the_editor_counts_once(made, page, action, verdict):
    app = edit(made, page)
    page.browser.put("draft", np.zeros([hi - lo for lo, hi in page.browser.document.region_ras]))

    page.act(action, dropping=True)
    page.events.append(page.events[0])
    again(app)
    again(app)

    assert [(one["structure"], one["verdict"]) for one in verdicts(made)] == [("liver", verdict)]
    assert drafts(made) == []


def test_leaving_the_editor_brings_the_pictures_back_and_keeps_the_draft(made, page):
    app = edit(made, page)
    page.browser.put("draft", np.zeros([hi - lo for lo, hi in page.browser.document.region_ras]))

    page.act("leave")
    again(app)

    assert len(app.slider) == 3
    assert verdicts(made) == []
    assert len(drafts(made)) == 1


def test_a_widened_region_is_a_new_document_with_the_edits(made, page):
    app = edit(made, page)
    narrow = page.browser.document
    shape = [hi - lo for lo, hi in narrow.region_ras]
    drawn = np.zeros(shape, bool)
    drawn[2:5, 3:6, 1:4] = True
    page.browser.put("draft", drawn)

    page.act("widen")
    again(app)

    wide = page.browser.document
    assert wide.token != narrow.token
    assert all(
        a <= c and b >= d for (a, b), (c, d) in zip(wide.region_ras, narrow.region_ras, strict=True)
    )
    facts = page.browser.get("document").json()
    assert facts["has_draft"]
    voxels = page.browser.voxels("draft")
    start = [a - b for (a, _), (b, _) in zip(narrow.region_ras, wide.region_ras, strict=True)]
    part = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
    np.testing.assert_array_equal(voxels[part], drawn)


def changed_by_bert(made, make_readings):
    """Another reader's correction of the liver while anna has it open."""
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM claims")
    readings, case_id = make_readings(made), made.case_ids[0]
    readings.review(
        case_id,
        "liver",
        "correct",
        reader="bert",
        mask=readings.ball(case_id, centre=0.35, radius=0.36),
    )
    claim_items(
        made.store,
        case_id,
        ["liver"],
        reader="anna",
        now=utc_now(),
        lease=timedelta(minutes=10),
    )


def overtaken(made, page, make_readings):
    """The page with a draft that bert overtook, reopened; the mask before and the draft."""
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    _, old = base(made)
    drawn = away_from_stomach(old)
    page.browser.put("draft", drawn[inside])
    changed_by_bert(made, make_readings)
    page.urls.clear()

    again(app)
    assert page.urls == []
    press(app, "reopen")
    return app, old, drawn


def test_a_draft_that_came_too_late_is_kept_and_moved_to_the_newest(made, page, make_readings):
    app, old, drawn = overtaken(made, page, make_readings)
    version, newest = base(made)
    press(app, f"correct-{made.case_ids[0]}-liver")
    words = " ".join(warning.value for warning in app.warning)
    assert "you have a draft" in words
    assert page.urls == []
    press(app, "conflict-move")

    expected = np.where(drawn != old, drawn, newest)
    facts = page.browser.get("document").json()
    assert facts["base_version"] == version
    assert facts["has_draft"]
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    np.testing.assert_array_equal(page.browser.voxels("draft"), expected[inside])
    assert len(drafts(made)) == 1
    assert [one["reader"] for one in verdicts(made)] == ["bert"]


def test_a_save_that_another_reader_overtook_writes_nothing(made, page, make_readings):
    app = edit(made, page)
    inside = tuple(slice(*extent) for extent in page.browser.document.region_ras)
    page.save(away_from_stomach(base(made)[1])[inside])
    changed_by_bert(made, make_readings)
    before = base(made)

    again(app)

    assert [one["reader"] for one in verdicts(made)] == ["bert"]
    np.testing.assert_array_equal(base(made)[1], before[1])
    assert len(drafts(made)) == 2


def test_what_another_tab_tells_is_refused(made, page, editing):
    app = edit(made, page)
    other = editing.opened(made, tab="another tab")
    receipt = other.put("mask", ndimage.binary_dilation(base(made)[1])).json()

    page.events.append({"save": {"document": other.document.document_id, "receipt": receipt}})
    again(app)

    assert verdicts(made) == []
    assert "not open here" in app.error[0].value


def test_a_made_up_receipt_is_refused(made, page):
    app = edit(made, page)
    told = {"document": page.browser.document.document_id, "receipt": "r" * 32}

    page.events.append({"save": told})
    again(app)

    assert verdicts(made) == []
    assert "save again" in app.error[0].value


def test_without_the_session_cookie_the_page_says_what_to_do(made, page, monkeypatch):
    monkeypatch.setattr(editor_panel, "browser_session", lambda: None)

    app = edit(made, page)

    assert page.urls == []
    assert "allow cookies" in app.warning[0].value


def test_the_next_ct_is_made_ready_in_the_background(make_annotated, editing, monkeypatch):
    from review_app.prefetch import prefetch_after

    made = make_annotated(cases=2)
    here = editing.opened(made).document.here

    prefetch_after(here, made.case_ids[0]).result(60)

    (blocks,) = made.store.workspace.regions_path.iterdir()
    with made.store.read() as connection:
        (content,) = connection.execute(
            "SELECT content_id FROM cases WHERE case_id = ?", [made.case_ids[1]]
        ).fetchone()
    assert blocks.name.startswith(content)


def test_the_next_ct_is_asked_for_once_and_not_at_each_run_of_the_page(made, page, monkeypatch):
    asked = []
    monkeypatch.setattr(editor_panel, "prefetch_after", lambda here, case_id: asked.append(case_id))

    app = edit(made, page)
    again(app)
    press(app, f"choose-{made.case_ids[0]}-stomach")

    assert asked == [made.case_ids[0]]


def test_a_blind_item_opens_as_a_blind_document(made, page):
    """Members are letters, nothing says what was doubtful, and the protocol stands beside it."""
    item = BlindItem(made.case_ids[0], "liver", "audit", 1)
    assign_blind(made.store, BlindBatch(reader="anna", items=(item,), frame=1, seed=0))

    edit(made, page)
    facts = page.browser.get("document").json()

    members = [layer["name"] for layer in facts["layers"] if layer["kind"] == "member"]
    assert facts["blind"]
    assert members == ["A", "B", "C"][: len(members)] != []
    assert not [layer for layer in facts["layers"] if layer["kind"] == "heat"]
    assert facts["disputed"] == []
    assert "In the mask" in facts["protocol"]["text"]
    assert base(made)[0] not in json.dumps(facts)
