"""Two readers in the editor, each in a browser and an app of their own, who want the same item."""

from contextlib import ExitStack
from datetime import datetime

import numpy as np
import pytest

from benchmarks.chromium import WINDOW
from benchmarks.review_server import ReviewServer
from review_app import editor_panel
from review_app.session import utc_now
from storage.verify import verify
from tests.review_app.editor_page import (
    SETTINGS,
    go_to_item,
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


@pytest.fixture(scope="module")
def made(annotated_in, tmp_path_factory):
    """A case for each test."""
    return annotated_in(tmp_path_factory.mktemp("shared"), cases=4)


@pytest.fixture(scope="module")
def servers(made, browser):
    root = made.store.workspace.root
    with ExitStack() as started:
        yield {
            reader: started.enter_context(ReviewServer(root, reader=reader, settings=SETTINGS))
            for reader in ("anna", "ben")
        }


@pytest.fixture
def pages(browser):
    """A tab of each reader's own browser."""
    with ExitStack() as opened:
        contexts = {
            reader: opened.enter_context(browser.new_context(viewport=WINDOW))
            for reader in ("anna", "ben")
        }
        for context in contexts.values():
            context.set_default_timeout(60_000)
        yield {reader: context.new_page() for reader, context in contexts.items()}


def holders(made, case_id):
    """Who has the liver, and until when."""
    with made.store.read() as connection:
        return connection.execute(
            "SELECT reader, expires_at FROM claims WHERE case_id = ? AND structure = 'liver'",
            [case_id],
        ).fetchall()


def let_claims_expire(made, case_id):
    """Make it later than the case's claims hold, without waiting for it."""
    with made.store.transaction() as transaction:
        transaction.connection.execute(
            "UPDATE claims SET expires_at = ? WHERE case_id = ?", [datetime(2020, 1, 1), case_id]
        )


def alert(page, words):
    return page.get_by_text(words, exact=False).first


def test_the_second_reader_is_told_who_has_the_item_and_holds_nothing(made, servers, pages):
    case_id = made.case_ids[0]
    open_editor(pages["anna"], servers["anna"], case_id)

    go_to_item(pages["ben"], servers["ben"], case_id)
    alert(pages["ben"], "Liver is held by anna").wait_for()
    settled(pages["ben"])

    assert [reader for reader, _ in holders(made, case_id)] == ["anna"]
    assert pages["ben"].locator(".editor").count() == 0
    assert pages["ben"].get_by_role("button", name="Accept").is_disabled()
    pages["ben"].keyboard.press("a")
    settled(pages["ben"])
    assert versions(made.store, case_id) == []


def test_a_claim_that_ran_out_is_taken_up_again_by_saving(made, servers, pages):
    case_id, page = made.case_ids[1], pages["anna"]
    _, before = stored(made.store, case_id)
    region, shape = open_editor(page, servers["anna"], case_id)
    paint(page)

    let_claims_expire(made, case_id)
    answer, drawn = save(page)
    record(page)

    assert answer.status == 200
    before[region] = region_voxels(drawn, shape)
    np.testing.assert_array_equal(stored(made.store, case_id)[1], before)
    assert [one.source for one in versions(made.store, case_id)] == ["reader:anna"]


def test_a_save_after_another_took_the_item_is_refused_and_the_draft_comes_back(
    made, servers, pages
):
    case_id, page = made.case_ids[2], pages["anna"]
    open_editor(page, servers["anna"], case_id)
    drawn = paint(page)
    let_claims_expire(made, case_id)
    open_editor(pages["ben"], servers["ben"], case_id)

    answer, _ = save(page)

    assert answer.status == 409
    page.locator(".footer-message", has_text="held by another reader").wait_for()
    ((holder, until),) = holders(made, case_id)
    assert holder == "ben"
    assert until > utc_now()
    assert versions(made.store, case_id) == []
    # The other goes on to the next item; the first opens the item again.
    let_claims_expire(made, case_id)
    with page.expect_response(lambda answer: answer.url.endswith("/draft")) as restored:
        open_editor(page, servers["anna"], case_id)
    assert restored.value.body() == drawn


def test_a_draft_that_came_too_late_is_shown_beside_the_newest_and_moved_there(
    made, servers, pages, make_readings
):
    case_id, page = made.case_ids[3], pages["anna"]
    _, before = stored(made.store, case_id)
    region, shape = open_editor(page, servers["anna"], case_id)
    drawn = before.copy()
    drawn[region] = region_voxels(paint(page), shape)
    let_claims_expire(made, case_id)
    readings = make_readings(made)
    readings.review(
        case_id,
        "liver",
        "correct",
        reader="ben",
        mask=readings.ball(case_id, centre=0.35, radius=0.42),
    )
    _, bens = stored(made.store, case_id)

    answer, _ = save(page)
    assert answer.status == 409
    go_to_item(page, servers["anna"], case_id)
    settled(page)
    page.get_by_role("button", name="Open to judge").click()
    alert(page, "was made from the version before").wait_for()
    assert alert(page, "your draft").is_visible()
    assert alert(page, "newest version").is_visible()
    settled(page)
    with page.expect_response(lambda answer: answer.url.endswith("/document")) as opened:
        page.get_by_role("button", name="Put my changes on the newest version").click()
    ready_region(page, opened.value)
    save(page)
    record(page)

    expected = np.where(drawn != before, drawn, bens)
    np.testing.assert_array_equal(stored(made.store, case_id)[1], expected)
    assert (expected != bens).any()
    assert (expected != drawn).any()
    first, second = versions(made.store, case_id)
    assert (first.source, second.source) == ("reader:ben", "reader:anna")
    assert second.parent == first.version_id
    assert verify(made.store).findings == ()
