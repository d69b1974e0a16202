"""The whole loop in a real browser: queue, case page, keys, upload, and every refusal."""

import gzip
import io
import json
import re
import sys
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from benchmarks.chromium import WINDOW
from benchmarks.review_server import ReviewServer
from review_app.session import utc_now
from storage.assignments import assign_readings
from storage.claims import claim_items
from storage.label_masks import read_label
from storage.label_sources import labels_of, parse_source
from storage.labels import base_of, current_labels, label_history
from storage.rebuild import rebuild
from storage.review_case import read_case
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PATIENCE_MS = 60_000
# Values of the example's own label file.
TOTALSEGMENTATOR = {"gall_bladder": 4, "liver": 5, "colon": 20}


@pytest.fixture
def app(real_store, needs_chromium):
    """The command line's own app on a copy of the real workspace."""
    with ReviewServer(real_store.workspace.root) as started:
        yield started


@pytest.fixture
def page(app, browser):
    with browser.new_context(viewport=WINDOW, accept_downloads=True) as context:
        context.set_default_timeout(PATIENCE_MS)
        opened = context.new_page()
        opened.goto(app.url)
        yield opened


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


def open_item(page, case_id, structure):
    """Open an item that is not the first by its own button of the queue page."""
    page.locator(f".st-key-more-{case_id} button").click()
    settled(page)
    page.locator(f".st-key-open-{case_id}-{structure} button").click()
    verdict(page, "Accept").wait_for()
    settled(page)


def open_readings(page):
    page.get_by_role("button", name="Independent reading").click()
    page.locator("h2.item").wait_for()
    settled(page)


def whole_case(store):
    """The case of the example CT: its id, and its labels as they lie on the disk, RAS."""
    with store.read() as connection:
        found = connection.execute(
            "SELECT case_id, path FROM current_files WHERE path LIKE '%example_ct%'"
        )
        case_id, path = found.fetchone()
    labels = nibabel.load(Path(path).parent / "totalseg_v2.nii.gz")
    assert nibabel.aff2axcodes(labels.affine) == ("R", "A", "S")
    return case_id, np.asarray(labels.dataobj)


def newest_line(store):
    return json.loads(store.journal.path.read_text().splitlines()[-1])


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
    mask = image(fetched(app.url, links(page)["mask of the region"]))
    ct = image(fetched(app.url, links(page)["CT of the region"]))
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


def test_uploaded_correction_takes_what_it_shares_from_the_chosen_neighbour(page, app, real_store):
    case_id, labels = whole_case(real_store)
    before = {name: labels == value for name, value in TOTALSEGMENTATOR.items()}
    open_item(page, case_id, "gall_bladder")
    page.keyboard.press("e")
    page.locator(".links a").first.wait_for()
    region = image(fetched(app.url, links(page)["mask of the region"]))
    drawn = ndimage.binary_dilation(np.asarray(region.dataobj) > 0)
    corrected = ndimage.binary_dilation(before["gall_bladder"])
    assert drawn.sum() == corrected.sum()
    shared = {name: np.count_nonzero(before[name] & corrected) for name in ("liver", "colon")}
    assert min(shared.values()) > 0

    upload(page, "larger.nii.gz", packed(drawn.astype(np.uint8), region.affine))
    for name, words in (("liver", "Liver"), ("colon", "Colon")):
        page.get_by_text(
            f"Take {shared[name]} shared voxels ({shared[name] * 0.027:.2f} mL) from {words}"
        ).wait_for()
    page.get_by_text("from Colon").click()
    settled(page)
    page.get_by_text("from Duodenum").click()
    settled(page)
    assert rows(real_store) == (0, 0)
    page.get_by_role("button", name="Record the correction").click()
    page.get_by_text("Gall bladder corrected.").wait_for()

    line = newest_line(real_store)
    assert line["kind"] == "verdict.given"
    assert line["data"]["structure"] == "gall_bladder"
    made = {version["structure"]: version for version in line["data"]["versions"]}
    assert {name: version["linked"] for name, version in made.items()} == {
        "gall_bladder": False,
        "liver": True,
    }
    assert rows(real_store) == (1, 2)
    with real_store.read() as connection:
        stored = {
            name: read_label(
                real_store.objects, base_of(connection, case_id, name)[1], corrected.shape
            )
            for name in before
        }
        (linked,) = label_history(connection, case_id, "liver")
    np.testing.assert_array_equal(stored["gall_bladder"], corrected)
    np.testing.assert_array_equal(stored["liver"], before["liver"] & ~corrected)
    np.testing.assert_array_equal(stored["colon"], before["colon"])
    assert verify(real_store).findings == ()
    page.locator(f".st-key-choose-{case_id}-liver button").click()
    settled(page)
    page.get_by_text("Versions (1)").click()
    page.get_by_text(linked.version_id).wait_for()
    assert page.get_by_text("with a neighbour's correction").count() == 1


def test_independent_reading_is_drawn_from_nothing_and_stored_apart(page, app, real_store):
    case_id, labels = whole_case(real_store)
    assign_readings(real_store, reader="anna", case_ids=[case_id], structures=["liver"])
    open_readings(page)
    assert page.locator("h2.item").inner_text() == "Liver"
    empty = image(fetched(app.url, links(page)["empty mask on its grid"]))
    assert empty.shape == labels.shape
    assert not np.asarray(empty.dataobj).any()
    drawn = np.zeros(empty.shape, np.uint8)
    drawn[30:50, 40:60, 50:70] = 1

    upload(page, "nothing.nii.gz", packed(np.zeros_like(drawn), empty.affine))
    page.get_by_text(re.compile("Refused, nothing was written.*needs at least one")).wait_for()
    upload(page, "moved.nii.gz", packed(drawn, empty.affine + shift()))
    page.get_by_text(re.compile("Refused, nothing was written.*on the grid of the CT")).wait_for()
    assert page.get_by_role("button", name="Record the reading").count() == 0
    upload(page, "drawn.nii.gz", packed(drawn, empty.affine))
    page.get_by_text("216.0 mL drawn.").wait_for()
    assert rows(real_store) == (0, 0)
    page.get_by_role("button", name="Record the reading").click()
    page.get_by_text("Liver read.").wait_for()
    page.get_by_text("No reading is assigned to you").wait_for()

    given = newest_line(real_store)["data"]
    assert (given["reading"], given["verdict"], given["reader"]) == (
        "independent",
        "correct",
        "anna",
    )
    assert given["base_version"] is None
    assert [version["parent"] for version in given["versions"]] == [None]
    with real_store.read() as connection:
        read = labels_of(connection, parse_source("reader:anna/independent")).labels
        assert current_labels(connection, case_id=case_id) == {}
    assert list(read) == [(case_id, "liver")]
    stored = read_label(real_store.objects, read[case_id, "liver"].mask, drawn.shape)
    np.testing.assert_array_equal(stored, drawn > 0)
    assert verify(real_store).findings == ()


UNFIT = (
    (lambda voxels, affine: (voxels, affine + shift()), "must lie on the grid"),
    (lambda voxels, affine: (voxels[:, :, :-1], affine), "must lie on the grid"),
    (lambda voxels, affine: (voxels + (np.indices(voxels.shape)[0] == 3) * 5, affine), "met 0 and"),
    (lambda voxels, affine: (voxels * 0, affine), "the uploaded mask is empty"),
)


def test_unfit_uploads_are_refused_and_nothing_is_written(page, app, real_store):
    open_first(page)
    page.keyboard.press("e")
    page.locator(".links a").first.wait_for()
    mask = image(fetched(app.url, links(page)["mask of the region"]))
    before = sorted(real_store.objects.digests())

    for number, (change, words) in enumerate(UNFIT):
        voxels, affine = change(np.asarray(mask.dataobj).astype(np.int16), mask.affine)
        upload(page, f"wrong {number}.nii.gz", packed(voxels.astype(np.int16), affine))
        page.get_by_text(re.compile(f"Refused, nothing was written.*{words}")).wait_for()
        assert page.get_by_role("button", name="Record the correction").count() == 0

    large = real_store.workspace.root.parent / "large.nii.gz"
    with large.open("wb") as file:
        file.truncate((64 << 20) + 1)
    page.locator("input[type=file]").first.set_input_files(large)
    page.get_by_text("64.0MB or smaller").or_(page.get_by_text("must be 64")).first.wait_for()
    assert page.get_by_role("button", name="Record the correction").count() == 0
    assert rows(real_store) == (0, 0)
    assert sorted(real_store.objects.digests()) == before


def shift():
    moved = np.zeros((4, 4))
    moved[0, 3] = 3.0
    return moved


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
        request = urllib.request.Request(app.url + changed)
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
    assert "libtorch" not in Path(f"/proc/{app.serving_pid}/maps").read_text()

    app.kill()
    assert app.child.returncode == 1

    assert rows(real_store) == (1, 1)
    assert verify(real_store).findings == ()
    real_store.workspace.database_path.unlink()
    rebuild(real_store)
    assert rows(real_store) == (1, 1)


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
