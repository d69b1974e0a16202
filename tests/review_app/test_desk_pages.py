"""Roles and approval on the pages, without a browser."""

import asyncio

import pytest
from starlette.requests import Request

from review_app import queue_page, session
from review_app.downloads import GRANTS, send_file
from review_app.session import utc_now
from storage.approvals import Decision, decide
from storage.reader_registry import register_reader, remove_reader
from storage.readers import Actor
from storage.review_case import read_case
from storage.roles import Role
from storage.store import Store
from tests.review_app.app_script import keys, press, run, texts


@pytest.fixture
def made(make_annotated, monkeypatch):
    workspace = make_annotated(cases=2)
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(workspace.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "ben")
    monkeypatch.setenv("ATLASLOOP_REVIEW__FOUR_EYES", "true")
    session.desk.cache_clear()
    yield workspace
    session.desk.cache_clear()


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def given(made, case=0, structure="liver", reader="ben"):
    case = read_case(made.store, made.case_ids[case], reader=reader, now=utc_now())
    return case.verdicts[structure]


def return_it(made, comment):
    wanted = Decision(
        verdict_id=given(made).verdict_id, outcome="returned", by=Actor("cleo"), comment=comment
    )
    decide(made.store, wanted, now=utc_now())


def test_reviewer_finds_approves_and_goes_to_the_next(made, readings):
    for case_id in made.case_ids:
        readings.review(case_id, "liver", "accept")
    app = run()
    app.toggle(key="show-to-approve").set_value(True).run()
    assert keys(app, "approve-") == [f"approve-{case_id}-liver" for case_id in made.case_ids]

    press(app, f"approve-{made.case_ids[0]}-liver")
    press(app, f"approved-{made.case_ids[0]}-liver")

    assert given(made).state == "approved"
    assert f"approved-{made.case_ids[1]}-liver" in keys(app)
    assert "Accepted by anna, waits for a second reader." in texts(app)


def test_queue_page_still_reads_the_database_once(made, readings, monkeypatch):
    readings.review(made.case_ids[0], "liver", "accept")
    opened = []
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self: opened.append(1) or read(self))
    # Makes the next CT ready from a thread of its own.
    monkeypatch.setattr(queue_page, "prefetch_after", lambda here, case_id: None)

    app = run()
    app.toggle(key="show-to-approve").set_value(True).run()

    assert len(opened) == 2


def test_reviewer_pages_through_all_that_waits_and_back_to_what_is_left(
    made, readings, monkeypatch
):
    monkeypatch.setenv("ATLASLOOP_REVIEW__PAGE_SIZE", "2")
    waiting = [(case_id, name) for case_id in made.case_ids for name in ("liver", "spleen")][:3]
    for case_id, name in waiting:
        readings.review(case_id, name, "accept")
    app = run()
    app.toggle(key="show-to-approve").set_value(True).run()
    shown = [f"approve-{case_id}-{name}" for case_id, name in waiting]
    assert keys(app, "approve-") == shown[:2]
    assert "1 to 2 of 3" in texts(app)

    press(app, "waiting-next")
    assert keys(app, "approve-") == shown[2:]
    assert app.button(key="waiting-next").disabled

    with made.store.read() as connection:
        last = connection.execute("SELECT verdict_id FROM verdicts ORDER BY seq DESC").fetchone()
    said = Decision(verdict_id=last[0], outcome="approved", by=Actor("cleo"))
    decide(made.store, said, now=utc_now())
    app.run()
    assert keys(app, "approve-") == shown[:2]


def test_approve_and_return_have_keys_beside_the_pictures_and_none_in_the_editor(
    made, readings, monkeypatch
):
    readings.review(made.case_ids[0], "liver", "accept")
    monkeypatch.setenv("ATLASLOOP_REVIEW__KEYS__APPROVE", "k")
    item = {"view": "case", "case": made.case_ids[0], "structure": "liver"}
    names = [f"{outcome}-{made.case_ids[0]}-liver" for outcome in ("approved", "returned")]

    app = run(**item)
    assert [app.button(key=name).proto.shortcut for name in names] == ["k", "t"]

    press(app, "reopen")
    press(app, f"correct-{made.case_ids[0]}-liver")
    assert [app.button(key=name).proto.shortcut for name in names] == ["", ""]


def test_return_without_a_comment_writes_nothing_and_says_so(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    app = run(view="case", case=made.case_ids[0], structure="liver")

    press(app, f"returned-{made.case_ids[0]}-liver")
    assert "what is to be done" in texts(app)
    assert given(made).state == "submitted"
    (comment,) = app.text_input
    comment.set_value("<b>dome</b> is cut").run()
    press(app, f"returned-{made.case_ids[0]}-liver")

    assert (given(made).state, given(made).comment) == ("returned", "<b>dome</b> is cut")


def test_own_work_waits_for_somebody_else(made, readings):
    readings.review(made.case_ids[0], "liver", "accept", reader="ben")

    app = run(view="case", case=made.case_ids[0], structure="liver")

    assert "nobody approves own work" in texts(app)
    assert not keys(app, "approved-")


def test_annotator_is_offered_no_approval(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.ANNOTATOR, by=Actor("ada"))

    queue = run()

    assert "You are registered as annotator." in texts(queue)
    assert not queue.toggle


def test_returned_item_is_on_top_for_its_reader_with_the_comment_as_text(made, readings):
    readings.review(made.case_ids[0], "liver", "accept", reader="ben")
    return_it(made, "<img src=x> leaks into the stomach")

    app = run()
    assert "cleo: &lt;img src=x&gt; leaks into the stomach" in texts(app)
    press(app, f"returned-{made.case_ids[0]}-liver")

    assert "<b>cleo asks for:</b> &lt;img src=x&gt;" in texts(app)
    assert "open here, accepted by ben, returned by cleo" in texts(app)
    assert texts(app).lower().count("returned") == 1
    press(app, f"absent-{made.case_ids[0]}-liver")
    assert (given(made).verdict, given(made).state) == ("absent", "submitted")


def test_open_workspace_says_that_everybody_may_do_everything(made):
    assert "may do everything, under any name" in texts(run())


def fetched(address):
    scope = {"type": "http", "path_params": {"token": address.rsplit("/", 1)[1]}, "headers": []}
    answer = asyncio.run(send_file(Request(scope)))
    return answer.status_code, bytes(answer.body)


def test_address_of_a_file_is_worth_nothing_once_its_reader_is_removed(made):
    ada = Actor("ada")
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.ANNOTATOR, by=ada)
    case_id = made.case_ids[0]
    address = GRANTS.offer(reader="ben", case_id=case_id, file_name="a.nii.gz", make=lambda: b"CT")
    assert fetched(address) == (200, b"CT")

    remove_reader(made.store, "ben", by=ada)

    status, body = fetched(address)
    assert status == 403
    assert b"CT" not in body
