"""The editor's routes: what they give, and that everything else is refused with nothing written."""

import gzip
import json
from datetime import timedelta

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from review_app import open_documents
from review_app.session import utc_now
from storage.claims import claim_items
from storage.drafts import Drafts
from storage.label_masks import read_label
from storage.labels import base_of
from storage.verify import verify

LPS = np.diag([-3.0, -3.0, 5.0, 1.0])
TURNED = np.array([[0, 0, 2.5, 9], [-1.1, 0, 0, 4], [0, -3.0, 0, 1], [0, 0, 0, 1.0]])
OBLIQUE = np.array([[2.9, -0.6, 0.1, 0], [0.6, 2.9, -0.2, 0], [0, 0.3, 5.0, 0], [0, 0, 0, 1.0]])


@pytest.fixture
def made(make_annotated):
    return make_annotated()


@pytest.fixture
def open_document(made, editing):
    return editing.opened(made)


def base_mask(made, structure="liver"):
    with made.store.read() as connection:
        version, label = base_of(connection, made.case_ids[0], structure)
    return version, read_label(made.store.objects, label, (30, 26, 20))


def untouched(made):
    """What must be as it was after a refusal."""
    root = made.store.workspace.root
    return (
        sorted(made.store.objects.digests()),
        made.store.journal.path.read_bytes(),
        sorted(path.name for path in root.glob("drafts/*/*")),
    )


def test_a_document_says_what_the_page_needs(made, open_document):
    answer = open_document.get("document")
    facts = answer.json()

    assert answer.headers["cache-control"] == "no-store"
    assert facts["id"] == open_document.document.document_id
    assert facts["structure"] == "liver"
    assert facts["shape"] == facts["full_shape"] == [30, 26, 20]
    assert facts["spacing_mm"] == pytest.approx([3.0, 3.0, 5.0])
    assert facts["base_version"] == base_mask(made)[0]
    assert facts["at_ct_border"] == [[True, True]] * 3
    assert not facts["has_draft"]
    assert [layer["kind"] for layer in facts["layers"]] == [
        "mask", "member", "member", "neighbour", "heat",
    ]  # fmt: skip
    assert facts["layers"][3] == {
        "id": "neighbour-stomach", "kind": "neighbour", "name": "Stomach",
        "rgb": facts["layers"][3]["rgb"], "exclusive": True, "kept": False,
    }  # fmt: skip
    assert facts["disputed"][0] == facts["start_voxel"]
    assert facts["body"]["box"] == [0, 0, 1, 1]
    assert not facts["blind"]


@pytest.mark.parametrize(
    "affine", [None, LPS, TURNED, OBLIQUE], ids=["RAS", "LPS", "turned", "obl"]
)
def test_voxels_are_the_region_s_in_ras_order(make_annotated, editing, small_ct, affine):
    made = make_annotated(affine=affine)
    with made.store.read() as connection:
        (path,) = connection.execute("SELECT path FROM current_files").fetchone()
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    whole = np.asarray(canonical.dataobj)
    region = tuple((n // 4, n - 3) for n in whole.shape)
    slices = tuple(slice(*extent) for extent in region)

    browser = editing.opened(made, region=region)

    np.testing.assert_array_equal(browser.voxels("ct", "<i2"), whole[slices])
    with made.store.read() as connection:
        label = base_of(connection, made.case_ids[0], "liver")[1]
    mask = read_label(made.store.objects, label, whole.shape)
    np.testing.assert_array_equal(browser.voxels("layer/mask"), mask[slices])
    heat = browser.voxels("layer/heat")
    assert set(np.unique(heat)) == {0, 120}
    facts = browser.get("document").json()
    assert facts["spacing_mm"] == pytest.approx(
        np.linalg.norm(canonical.affine[:3, :3], axis=0), rel=1e-5
    )
    assert facts["origin_voxel"] == [low for low, _ in region]


def test_a_small_picture_shows_the_whole_ct(open_document):
    answer = open_document.get("body")

    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")


def test_a_draft_comes_back_and_goes_when_it_is_dropped(made, editing, open_document):
    _, mask = base_mask(made)
    drawn = ndimage.binary_dilation(mask)
    assert open_document.get("draft").status_code == 404
    before = made.store.journal.path.read_bytes()

    saved = open_document.put("draft", drawn)

    assert saved.status_code == 200
    again = editing.opened(made, tab="after a reload")
    facts = again.get("document").json()
    assert facts["has_draft"]
    assert facts["draft_saved_at"] == saved.json()["saved_at"]
    np.testing.assert_array_equal(again.voxels("draft"), drawn)
    np.testing.assert_array_equal(again.voxels("layer/mask"), mask)
    assert made.store.journal.path.read_bytes() == before
    assert again.send("DELETE", "draft").status_code == 200
    assert open_document.get("draft").status_code == 404


def test_a_draft_in_which_all_was_undone_is_none(made, open_document):
    _, mask = base_mask(made)
    open_document.put("draft", ~mask)

    saved = open_document.put("draft", mask)

    assert saved.status_code == 200
    assert not open_document.get("document").json()["has_draft"]
    assert not list(made.store.workspace.drafts_path.glob("*/*"))


def test_a_draft_of_one_region_is_kept_in_another(made, editing):
    _, mask = base_mask(made)
    small = ((5, 22), (6, 20), (4, 15))
    narrow = editing.opened(made, region=small)
    cut = mask[tuple(slice(*extent) for extent in small)].copy()
    cut[3, 4, 5] ^= True
    narrow.put("draft", cut)

    wide = editing.opened(made)
    expected = mask.copy()
    expected[8, 10, 9] ^= True
    np.testing.assert_array_equal(wide.voxels("draft"), expected)
    expected[0, 0, 0] = True
    wide.put("draft", expected)

    np.testing.assert_array_equal(
        narrow.voxels("draft"), expected[tuple(slice(*extent) for extent in small)]
    )
    kept = wide.put("mask", expected).json()
    assert kept["voxels_changed"] == 2


def test_a_candidate_is_kept_durably_and_is_no_version(made, open_document):
    version, mask = base_mask(made)
    drawn = ndimage.binary_dilation(mask)
    before = made.store.journal.path.read_bytes()

    receipt = open_document.put("mask", drawn).json()

    assert receipt["voxels"] == drawn.sum()
    assert receipt["voxels_changed"] == (drawn != mask).sum()
    assert not receipt["at_border"]
    drafts = Drafts(made.store.workspace.drafts_path)
    kept = drafts.candidate(open_document.document.draft_key, receipt["receipt"])
    np.testing.assert_array_equal(kept.edited.mask_ras, drawn)
    assert made.store.journal.path.read_bytes() == before
    assert base_mask(made)[0] == version


def test_a_mask_at_a_border_inside_the_ct_is_said(made, editing):
    _, mask = base_mask(made)
    low = int(np.argwhere(mask)[:, 0].min())
    browser = editing.opened(made, region=((low, 30), (0, 26), (0, 20)))

    assert browser.put("mask", mask[low:]).json()["at_border"]


def test_a_replayed_save_is_answered_again_and_kept_once(made, open_document):
    _, mask = base_mask(made)
    drawn = ndimage.binary_dilation(mask)
    first = open_document.put("mask", drawn, x_atlasloop_request="same-id-0001")
    files = untouched(made)

    again = open_document.put("mask", ~drawn, x_atlasloop_request="same-id-0001")

    assert again.json() == first.json()
    assert untouched(made) == files


PAPERS = (
    ({"x_atlasloop_xsrf": None}, 403),
    ({"x_atlasloop_xsrf": "x" * 32}, 403),
    ({"x_atlasloop_xsrf": "\u00e4"}, 403),
    ({"x_atlasloop_base": None}, 428),
    ({"x_atlasloop_base": "another"}, 409),
    ({"x_atlasloop_request": None}, 400),
    ({"x_atlasloop_request": "../" * 9}, 400),
    ({"content_type": "text/plain"}, 400),
    ({"content_type": None}, 400),
)


@pytest.mark.parametrize("path", ["mask", "draft"])
def test_a_request_without_its_papers_writes_nothing(made, open_document, path):
    _, mask = base_mask(made)
    files = untouched(made)

    for change, status in PAPERS:
        encoded = {k: v.encode() if isinstance(v, str) else v for k, v in change.items()}
        answer = open_document.put(path, ~mask, **encoded)

        assert answer.status_code == status, change
        assert answer.json()["error"]
    assert untouched(made) == files


def bomb(size):
    return gzip.compress(bytes(size), 9)


SIZE = 30 * 26 * 20


BODIES = (
    (b"", 400, "whole gzip stream"),
    (b"no gzip at all", 400, "gzip stream"),
    (gzip.compress(bytes(SIZE))[:-3], 400, "cut short"),
    (gzip.compress(bytes(SIZE)) + b"more", 400, "whole gzip"),
    (gzip.compress(bytes(SIZE - 1)), 400, "send the whole region"),
    (gzip.compress(bytes(SIZE + 1)), 413, "unpacks to more"),
    (bomb(20_000_000), 413, "unpacks to more"),
    (bytes(200_000), 413, "not read further"),
    (gzip.compress(bytes([2]) + bytes(SIZE - 1)), 400, "0 and 1, met 2"),
    (gzip.compress(bytes([255]) * SIZE), 400, "0 and 1, met 255"),
)


def test_a_body_that_is_no_mask_of_the_region_is_refused(made, open_document):
    files = untouched(made)
    addresses = ("PUT mask", "PUT draft", "POST surface", "POST operation/grow?mm=3")

    for address in addresses:
        for body, status, words in BODIES:
            answer = open_document.send(*address.split(), body)

            assert answer.status_code == status, answer.text
            assert words in answer.json()["error"]
    assert untouched(made) == files


def test_only_the_browser_that_opened_it_is_answered(open_document, editing):
    token = open_document.document.token

    for path in ("document", "ct", "layer/mask", "draft", "body"):
        for browser in (None, "c" * 32, "malformed"):
            assert editing.client(browser).get(f"/edit/{token}/{path}").status_code == 403
        for guess in (token[:-2] + "zz", "x", "%2e%2e"):
            assert open_document.client.get(f"/edit/{guess}/{path}").status_code == 404
    assert len(token) == 32


def test_another_browser_with_the_token_and_the_secret_writes_nothing(made, editing, open_document):
    files = untouched(made)
    stranger = editing.client("c" * 32)

    answer = stranger.put(
        f"/edit/{open_document.document.token}/mask",
        content=editing.packed(np.ones((30, 26, 20))),
        headers=open_document.headers(),
    )

    assert answer.status_code == 403
    assert untouched(made) == files


def test_an_expired_document_is_not_known_any_more(open_document, monkeypatch):
    later = open_documents._now() + timedelta(hours=13)
    monkeypatch.setattr(open_documents, "_now", lambda: later)

    assert open_document.get("ct").status_code == 404


@pytest.mark.parametrize("how", ["another's", "none"])
def test_a_save_without_the_claim_is_refused_and_the_draft_kept(made, open_document, how):
    _, mask = base_mask(made)
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM claims")
    if how == "another's":
        claim_items(
            made.store,
            made.case_ids[0],
            ["liver"],
            reader="bert",
            now=utc_now(),
            lease=timedelta(minutes=5),
        )
    drawn = ndimage.binary_dilation(mask)
    open_document.put("draft", drawn)
    files = untouched(made)

    answer = open_document.put("mask", drawn)

    assert answer.status_code == 409
    assert untouched(made) == files
    np.testing.assert_array_equal(open_document.voxels("draft"), drawn)


def test_a_save_takes_up_an_expired_claim_that_nobody_else_took(made, open_document):
    past = utc_now() - timedelta(seconds=1)
    with made.store.transaction() as transaction:
        transaction.connection.execute("UPDATE claims SET expires_at = ?", [past])

    answer = open_document.put("mask", ndimage.binary_dilation(base_mask(made)[1]))

    assert answer.status_code == 200
    with made.store.read() as connection:
        ((reader, until),) = connection.execute("SELECT reader, expires_at FROM claims").fetchall()
    assert reader == "anna"
    assert until > past + timedelta(minutes=5)


def test_a_save_on_a_version_that_is_not_the_newest_is_refused(
    made, make_readings, open_document, editing
):
    _, mask = base_mask(made)
    make_readings(made).review(made.case_ids[0], "liver", "absent", reader="anna")
    claim_items(
        made.store,
        made.case_ids[0],
        ["liver"],
        reader="anna",
        now=utc_now(),
        lease=timedelta(minutes=5),
    )

    answer = open_document.put("mask", ndimage.binary_dilation(mask))

    assert answer.status_code == 409
    assert "changed meanwhile" in answer.json()["error"]
    assert not base_mask(made)[1].any()
    assert verify(made.store).findings == ()


def test_drawing_prolongs_the_claim(made, open_document):
    def expiry():
        with made.store.read() as connection:
            return connection.execute("SELECT reader, expires_at FROM claims").fetchall()

    soon = utc_now() + timedelta(seconds=30)
    with made.store.transaction() as transaction:
        transaction.connection.execute("UPDATE claims SET expires_at = ?", [soon])

    entry = open_documents.DOCUMENTS.find(open_document.document.token)
    entry.renewed_at -= timedelta(minutes=4)
    open_document.put("draft", np.ones((30, 26, 20)))

    ((reader, until),) = expiry()
    assert reader == "anna"
    assert until > soon + timedelta(minutes=5)


BIG = np.zeros((30, 26, 20), bool)
BIG[8:18, 8:18, 6:15] = True


def within(mask, reach_mm):
    return ndimage.distance_transform_edt(~mask, sampling=(3, 3, 5)) <= reach_mm


OPERATIONS = (
    ("remove_islands?min_ml=0.1", lambda mask: mask & BIG),
    ("keep_component?x=2&y=3&z=4", lambda mask: mask & ~BIG),
    ("remove_component?x=2&y=3&z=4", lambda mask: mask & BIG),
    ("fill_holes?axis=3d", ndimage.binary_fill_holes),
    ("grow?mm=3", lambda mask: within(mask, 3.0)),
    ("shrink?mm=3", lambda mask: ~within(~mask, 3.0) & mask),
)


def test_an_operation_answers_the_new_mask(open_document, editing):
    mask = BIG.copy()
    mask[12, 12, 10] = False
    mask[2, 3, 4] = True

    for address, expected in OPERATIONS:
        answer = open_document.send("POST", f"operation/{address}", editing.packed(mask))

        assert answer.status_code == 200, answer.text
        found = np.frombuffer(answer.content, np.uint8).reshape(mask.shape, order="F")
        np.testing.assert_array_equal(found, expected(mask), address)


def test_smoothing_changes_the_corners_of_a_block(open_document, editing):
    answer = open_document.send("POST", "operation/smooth?mm=4", editing.packed(BIG))

    found = np.frombuffer(answer.content, np.uint8).reshape(BIG.shape, order="F")
    assert not found[8, 8, 6]
    assert found[12, 12, 10]


def test_refining_takes_scribbles_and_keeps_their_word(made, editing, open_document):
    scribbles = np.zeros(BIG.shape, np.uint8)
    scribbles[19, 12, 10], scribbles[9, 9, 7] = 1, 2
    body = gzip.compress(BIG.astype(np.uint8).tobytes(order="F") + scribbles.tobytes(order="F"))

    answer = open_document.send("POST", "operation/refine?method=random_walker", body)

    found = np.frombuffer(answer.content, np.uint8).reshape(BIG.shape, order="F")
    assert found[19, 12, 10] == 1
    assert found[9, 9, 7] == 0


WRONG = (
    "erase_all",
    "grow",
    "grow?mm=nan",
    "grow?mm=-1",
    "grow?mm=1e9",
    "fill_holes?axis=7",
    "keep_component?x=0&y=0&z=0",
    "keep_component?x=-1&y=0&z=0",
    "keep_component?x=99&y=0&z=0",
)


def test_an_operation_that_does_not_exist_or_fit_is_refused(open_document, editing):
    for address in WRONG:
        answer = open_document.send("POST", f"operation/{address}", editing.packed(BIG))

        assert answer.status_code == 400, address
        assert answer.json()["error"]


def test_an_unknown_way_of_refining_is_refused(open_document, editing):
    body = gzip.compress(bytes(2 * SIZE))

    assert open_document.send("POST", "operation/refine?method=magic", body).status_code == 400
    assert open_document.send("POST", "operation/refine", body).status_code == 400


def test_a_surface_is_triangles_in_mm_from_the_first_voxel(open_document, editing):
    content = open_document.send("POST", "surface", editing.packed(BIG)).content

    vertices, triangles = np.frombuffer(content, "<u4", 2)
    points = np.frombuffer(content, "<f4", 3 * vertices, 8).reshape(-1, 3)
    corners = np.frombuffer(content, "<u4", 3 * triangles, 8 + 12 * vertices)
    assert len(content) == 8 + 12 * int(vertices) + 12 * int(triangles)
    np.testing.assert_allclose(points.min(axis=0), [7.5 * 3, 7.5 * 3, 5.5 * 5])
    np.testing.assert_allclose(points.max(axis=0), [17.5 * 3, 17.5 * 3, 14.5 * 5])
    assert corners.max() == vertices - 1


def test_a_missing_ct_is_said_without_its_path(make_annotated, editing, tmp_path):
    made = make_annotated(own_cts=True)
    browser = editing.opened(made)
    next((tmp_path / "cts").iterdir()).unlink()

    answer = browser.get("ct")

    assert answer.status_code == 409
    assert "are gone" in answer.json()["error"]
    assert str(tmp_path) not in answer.text


def test_a_blind_document_says_nothing_of_models_versions_or_scores(made, editing):
    browser = editing.opened(made, blind=True)

    text = browser.get("document").text
    facts = json.loads(text)

    version, _ = base_mask(made)
    for secret in (version, "consensus", "disagree", "0.9", "small", made.committee_id, "heat"):
        assert secret not in text
    members = [layer for layer in facts["layers"] if layer["kind"] == "member"]
    assert [layer["name"] for layer in members] == ["A", "B"]
    assert facts["disputed"] == []
    assert facts["blind"]
    assert browser.get("layer/heat").status_code == 404
    assert browser.put("draft", np.ones((30, 26, 20))).status_code == 200


def test_a_tab_keeps_its_last_documents_and_another_tab_its_own(made, editing):
    regions = [((0, 10 + n), (0, 26), (0, 20)) for n in range(6)]
    other = editing.opened(made, tab="other")

    browsers = [editing.opened(made, region=region) for region in regions]

    assert [b.get("document").status_code for b in browsers] == [404, 404, 200, 200, 200, 200]
    assert other.get("document").status_code == 200
    assert editing.opened(made, region=regions[-1]).document.token == browsers[-1].document.token
