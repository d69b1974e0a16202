"""An independent reading as a document of the editor: the CT, an empty mask, and nothing else."""

import json
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from review_app.edit_reading import reading_item, region_to_read
from review_app.edit_saving import is_cut_off
from review_app.open_documents import DOCUMENTS
from review_app.session import utc_now
from storage.assignments import assign_readings
from storage.case_image import open_case
from storage.claims import claim_items
from storage.drafts import Drafts
from storage.edited_mask import EditedMask, trimmed
from storage.grid import Grid
from storage.labels import label_history
from storage.open_readings import open_readings
from storage.reader_registry import register_reader, remove_reader
from storage.roles import Role
from storage.store import Store

MEMBER, SOURCE = "canary-member", "canary-reader"
SHAPE = (30, 26, 20)
WHOLE = tuple((0, n) for n in SHAPE)
FRONT, BACK = ((0, 12), (0, 12), (0, 12)), ((18, 30), (14, 26), (8, 20))


@pytest.fixture
def made(make_annotated, make_readings):
    """A liver that members drew and a reader accepted, assigned to anna to be drawn anew."""
    workspace = make_annotated(cases=1)
    make_readings(workspace).review(workspace.case_ids[0], "liver", "accept", reader=SOURCE)
    with workspace.store.transaction() as transaction:
        transaction.connection.execute(f"UPDATE masks SET member = '{MEMBER}' WHERE member = 'a'")
    assign_readings(
        workspace.store, reader="anna", case_ids=workspace.case_ids, structures=["liver"]
    )
    return workspace


def withdraw(made):
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM assignments")


@pytest.fixture
def opened(made, editing):
    """Opens the reading in a region."""
    here = editing.opened(made, "stomach", tab="another").document.here

    def in_region(region=WHOLE, *, place=None, tab="tab"):
        with here.store.read() as connection:
            listed = open_readings(connection, reader="anna")
        grid = open_case(listed.case, here.store.settings.intake).grid
        item = reading_item(listed.case, grid, listed.readings[0], place=place)
        document = DOCUMENTS.offer(here, item, browser=editing.session, tab=tab, region_ras=region)
        return editing.browser(editing.client(editing.session), document)

    return in_region


def version_of_liver(made):
    with made.store.read() as connection:
        (version,) = label_history(connection, made.case_ids[0], "liver")
    return version.version_id


def test_neither_document_nor_routes_tell_of_model_reader_or_version(made, opened, editing):
    reviewed = editing.opened(made, "liver", reader="bert").get("document").text
    browser = opened()
    answer = browser.get("document")
    facts = answer.json()

    canaries = (MEMBER, SOURCE, version_of_liver(made), made.committee_id, "consensus", "committee")
    canaries += ("heat", "member", "neighbour", "disagree", "scan 0", "0.9", "Stomach")
    told = answer.text + json.dumps(dict(answer.headers))
    # The search does find them in what the same structure is reviewed with.
    assert [one for one in canaries if one in reviewed][:2] == [MEMBER, version_of_liver(made)]
    assert [one for one in canaries if one in told] == []
    assert [layer["kind"] for layer in facts["layers"]] == ["mask"]
    assert facts["disputed"] == []
    assert facts["verdicts"] == ["absent", "unsure"]
    assert not facts["has_draft"]
    assert not browser.voxels("layer/mask").any()
    for layer in json.loads(reviewed)["layers"]:
        if layer["id"] != "mask":
            assert browser.get(f"layer/{layer['id']}").status_code == 404
    assert browser.get("body").content == editing.opened(made, "stomach").get("body").content


def test_what_is_drawn_in_several_regions_is_all_saved(made, opened):
    first = opened(FRONT)
    drawn = np.zeros((12, 12, 12), bool)
    drawn[2:6, 3:7, 4:9] = True
    assert first.put("draft", drawn).status_code == 200
    second = opened(BACK)
    facts = second.get("document").json()
    assert facts["has_draft"]
    assert facts["edited_elsewhere"]
    more = np.zeros((12, 12, 12), bool)
    more[7, 8, 9] = True

    receipt = second.put("mask", more).json()

    expected = np.zeros(SHAPE, bool)
    expected[2:6, 3:7, 4:9] = True
    expected[25, 22, 17] = True
    assert receipt["voxels_changed"] == expected.sum() == 81
    kept = Drafts(made.store.workspace.drafts_path).candidate(
        second.document.draft_key, receipt["receipt"]
    )
    assert kept.edited.box_ras == ((2, 26), (3, 23), (4, 18))
    np.testing.assert_array_equal(kept.edited.mask_ras, expected[2:26, 3:23, 4:18])
    np.testing.assert_array_equal(opened(WHOLE).voxels("draft"), expected)
    # Erased again in its own region, the other one's voxels stay.
    first.put("draft", np.zeros((12, 12, 12)))
    np.testing.assert_array_equal(second.voxels("draft"), more)
    assert first.get("document").json()["edited_elsewhere"]
    assert not second.get("document").json()["edited_elsewhere"]


def test_a_part_without_edits_saves_those_of_another(made, editing):
    """As the page does when the document says that other parts hold edits."""
    low = editing.opened(made, "stomach", region=((0, 18), (0, 26), (0, 20)))
    high = editing.opened(made, "stomach", region=((12, 30), (0, 26), (0, 20)))
    base = low.voxels("layer/mask").copy()
    changed = base.copy()
    changed[2, 3, 4] ^= True
    assert not high.get("document").json()["edited_elsewhere"]

    low.put("draft", changed)
    receipt = high.put("mask", high.voxels("layer/mask")).json()

    assert high.get("document").json()["edited_elsewhere"]
    assert not low.get("document").json()["edited_elsewhere"]
    assert receipt["voxels_changed"] == 1


def test_a_reading_and_a_review_of_one_structure_share_no_draft(made, opened, editing):
    withdraw(made)
    review = editing.opened(made, "liver")
    assign_readings(made.store, reader="anna", case_ids=made.case_ids, structures=["liver"])
    drawn = np.zeros(SHAPE, bool)
    drawn[3:5, 3:5, 3:5] = True

    opened().put("draft", drawn)
    review.put("draft", ~drawn)

    np.testing.assert_array_equal(opened().voxels("draft"), drawn)
    np.testing.assert_array_equal(review.voxels("draft"), ~drawn)
    drafts = Drafts(made.store.workspace.drafts_path)
    of_item = drafts.of_item(reader="anna", case_id=made.case_ids[0], structure="liver")
    assert [draft.key.base_version for draft in of_item] == [review.document.item.base_version]


def test_a_second_reading_begins_with_nothing_although_a_draft_was_left(
    made, opened, make_readings
):
    first = opened()
    first.put("draft", np.ones(SHAPE))
    make_readings(made).read(made.case_ids[0], "liver", "absent")

    second = opened()

    assert not second.get("document").json()["has_draft"]
    assert second.document.draft_key != first.document.draft_key


def test_a_reading_that_was_given_elsewhere_is_not_saved_again(made, opened):
    browser = opened()
    withdraw(made)

    answer = browser.put("mask", np.ones(SHAPE))

    assert answer.status_code == 409
    assert "not open any more" in answer.json()["error"]


def test_the_place_looked_at_is_where_the_editor_begins(opened):
    assert opened(BACK, place=(20, 15, 9)).get("document").json()["start_voxel"] == [2, 1, 1]
    assert opened(BACK, place=(2, 15, 30)).get("document").json()["start_voxel"] == [0, 1, 11]
    middle = opened(BACK)
    assert middle.get("document").json()["start_voxel"] == [6, 6, 6]
    drawn = np.zeros((12, 12, 12), bool)
    drawn[1, 2, 3] = True
    middle.put("draft", drawn)
    assert middle.get("document").json()["start_voxel"] == [1, 2, 3]


GRID = Grid.from_affine((512, 512, 300), np.diag([0.5, 0.5, 2.0, 1.0]))


def test_a_region_lies_round_the_place_and_within_the_ct():
    def region(place, wider_mm=0.0, most_side=200):
        return region_to_read(GRID, place, wider_mm=wider_mm, most_side=most_side)

    assert region(None) is None
    assert region((256, 300, 150)) == ((156, 356), (200, 400), (50, 250))
    assert region((10, 505, 0)) == ((0, 200), (312, 512), (0, 200))
    assert region((256, 300, 150), 20.0) == ((116, 396), (160, 440), (40, 260))
    assert region(None, most_side=512) == ((0, 512), (0, 512), (0, 300))
    assert region((256, 300, 150), most_side=320) == ((96, 416), (140, 460), (0, 300))


def test_a_drawing_is_cut_off_where_it_ends_at_a_border_inside_the_ct():
    mask = np.zeros((10, 10, 10), bool)
    mask[4:, 3:6, 0:3] = True
    drawn = EditedMask(mask, ((0, 10), (0, 10), (0, 10)))

    def cut(*region):
        return is_cut_off(drawn, region, (10, 10, 10))

    assert not cut((0, 10), (0, 10), (0, 10))
    assert not cut((0, 8), (0, 10), (0, 10)), "it goes on beyond"
    assert cut((0, 10), (0, 6), (0, 10))
    assert cut((0, 10), (3, 10), (0, 10))
    assert not cut((0, 10), (2, 7), (0, 10))
    assert cut((4, 10), (0, 10), (0, 10))


def test_a_trimmed_drawing_holds_the_same_voxels_in_less():
    mask = np.zeros((6, 7, 8), bool)
    mask[2, 1, 3] = mask[4, 5, 7] = True

    small = trimmed(EditedMask(mask, ((10, 16), (20, 27), (30, 38))))

    assert small.box_ras == ((12, 15), (21, 26), (33, 38))
    np.testing.assert_array_equal(small.mask_ras, mask[2:5, 1:6, 3:8])


@pytest.fixture
def registered(made):
    """An admin and anna, who are registered; counts how often the index is opened."""
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    ada = SimpleNamespace(name="ada", verified=False)
    register_reader(made.store, "anna", Role.ANNOTATOR, by=ada)
    return ada


PATHS = ("document", "ct", "layer/mask", "body", "draft")


@pytest.mark.parametrize("what", ["item", "reading"])
def test_a_removed_reader_reads_nothing_more_of_what_is_open(
    made, registered, opened, editing, what
):
    claim = {"reader": "anna", "now": utc_now(), "lease": timedelta(minutes=5)}
    claim_items(made.store, made.case_ids[0], ["stomach"], **claim)
    browser = opened() if what == "reading" else editing.opened(made, "stomach")
    mask = np.ones(SHAPE)
    assert browser.put("draft", mask).status_code == 200
    assert [browser.get(path).status_code for path in PATHS] == [200] * 5

    remove_reader(made.store, "anna", by=registered)

    for path in PATHS:
        answer = browser.get(path)
        assert answer.status_code == 403
        assert "only registered readers" in answer.json()["error"]
    assert browser.put("draft", mask).status_code == 403
    assert browser.put("mask", mask).status_code == 403
    assert browser.send("POST", "operation/grow?mm=3", editing.packed(mask)).status_code == 403
    register_reader(made.store, "anna", Role.REVIEWER, by=registered)
    assert browser.get("ct").status_code == 200


def test_a_stream_of_requests_opens_the_index_once(registered, opened, monkeypatch):
    browser = opened()
    entries, read = [], Store.read

    def counted(self):
        entries.append(self)
        return read(self)

    monkeypatch.setattr(Store, "read", counted)
    for _ in range(4):
        browser.put("draft", np.ones(SHAPE))
        assert [browser.get(path).status_code for path in PATHS] == [200] * 5

    assert len(entries) == 1
