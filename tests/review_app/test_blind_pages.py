"""What reaches the browser of a reader who judges or reads blind: searched for canaries."""

import asyncio
import gzip

import pytest
from starlette.requests import Request

from review_app import case_images, downloads, session
from review_app.mask_editor import component
from storage.assignments import assign_readings
from storage.blind_items import BlindBatch, BlindItem, assign_blind
from storage.queue import QueueEntry, write_queue
from tests.review_app.app_script import run

REASON, MEMBER, SOURCE, DATASET = "canary reason", "canary-member", "canary-reader", "canaryset"
RISK, POSITION = 0.4217, 4711
CANARIES = (REASON, MEMBER, SOURCE, DATASET, "0.42", "4711", "scan 0", "scan 1", "consensus")
ARMS = ("audit", "ranked", "known_truth")


@pytest.fixture
def made(make_annotated, monkeypatch):
    workspace = make_annotated(cases=2)
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(workspace.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "anna")
    session.desk.cache_clear()
    case_images._cts.cache_clear()
    # What the editor sends is searched where its document is.
    monkeypatch.setattr(component, "__file__", "nowhere")
    monkeypatch.setattr(downloads.GRANTS, "_grants", type(downloads.GRANTS._grants)())
    monkeypatch.setattr(downloads.GRANTS, "_tokens", {})
    mark(workspace)
    yield workspace
    session.desk.cache_clear()


def mark(made):
    """Give the first case's liver, and nothing else, all that a blind reader must not see."""
    case_id = made.case_ids[0]
    entries = [
        QueueEntry(POSITION, "present", case_id, "liver", RISK, REASON),
        QueueEntry(1, "present", case_id, "stomach", 0.9, "open reason"),
        QueueEntry(2, "present", made.case_ids[1], "liver", 0.8, "open reason"),
    ]
    write_queue(made.store, entries, committee_id=made.committee_id, policy="disagreement")
    with made.store.transaction() as transaction:
        for statement in (
            f"UPDATE masks SET member = '{MEMBER}' WHERE member = 'a' AND structure = 'liver'",
            "DELETE FROM masks WHERE structure = 'stomach' AND member <> 'committee'",
            f"INSERT INTO dataset_cases VALUES ('{case_id}', '{DATASET}', 'n', 'nc', [], [], 1, "
            "TIMESTAMP '2026-01-01')",
        ):
            transaction.connection.execute(statement)


def assign(made, arm):
    truth = f"dataset:{DATASET}" if arm == "known_truth" else None
    item = BlindItem(made.case_ids[0], "liver", arm, 1, truth)
    assign_blind(made.store, BlindBatch(reader="anna", items=(item,), frame=3, seed=0))


def run_quietly(**parameters):
    app = run(**parameters)
    assert not app.error
    return app


def sent(app):
    """All that the page sent: every message of the tree, and the bytes behind every link.

    The filter that lists all datasets of the workspace is left out: it is the same for every item.
    """

    def messages(block):
        for child in block.children.values():
            if getattr(child, "key", None) != "filter-dataset":
                yield str(child.proto)
            if hasattr(child, "children"):
                yield from messages(child)

    answers = [asyncio.run(fetched(token)) for token in downloads.GRANTS._grants]
    return "\n".join([*messages(app._tree.main), *answers])


async def fetched(token):
    """The headers of a file and what its NIfTI header says; voxels hold no words."""
    scope = {"type": "http", "headers": [], "path_params": {"token": token}}
    answer = await downloads.send_file(Request(scope))
    assert answer.status_code == 200
    told = str(sorted(answer.headers.items()))
    if hasattr(answer, "body"):
        told += gzip.decompress(bytes(answer.body))[:352].decode("latin-1")
    return told


def found(text):
    return [canary for canary in CANARIES if canary in text]


def open_case(made):
    return run_quietly(view="case", case=made.case_ids[0], structure="liver")


def press(app, key):
    app.button(key=key).click().run()
    assert not app.exception


def test_the_search_finds_what_a_page_tells_of_an_item_that_is_not_blind(made):
    told = {*found(sent(run_quietly())), *found(sent(open_case(made)))}

    assert told >= {REASON, MEMBER, DATASET, "0.42", "consensus"}


@pytest.mark.parametrize("arm", ARMS)
def test_no_page_and_no_file_tells_of_a_blind_item_before_the_verdict(made, make_readings, arm):
    make_readings(made).review(made.case_ids[0], "liver", "reject", reader=SOURCE)
    assign(made, arm)

    queue, case = run_quietly(), open_case(made)

    press(case, f"correct-{made.case_ids[0]}-liver")
    assert downloads.GRANTS._grants
    assert found(sent(queue) + sent(case)) == []
    assert "not told before your verdict" in sent(case)


def test_all_arms_are_sent_alike(made, tmp_path):
    """Beside addresses and ids that are drawn anew each time, not a letter differs."""
    told = []
    for arm in ARMS:
        with made.store.transaction() as transaction:
            transaction.connection.execute("DELETE FROM blind_items")
            transaction.connection.execute("DELETE FROM claims")
        assign(made, arm)
        app = open_case(made)
        told.append([(b.key, b.label, b.disabled) for b in app.button])
        told[-1] += [html.value for html in app.get("html") if " until " not in html.value]
        told[-1] += [(toggle.key, toggle.value) for toggle in app.toggle]

    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize("arm", ["audit", "known_truth"])
def test_after_the_verdict_the_queue_tells_why(made, arm):
    assign(made, arm)
    app = open_case(made)
    press(app, f"accept-{made.case_ids[0]}-liver")

    queue = run_quietly()
    queue.get("button_group")[0].set_value(["open", "mine", "done"]).run()

    assert REASON in sent(queue)
    assert "accepted by anna" in sent(queue)


def test_no_filter_draws_a_blind_item_out(made):
    assign(made, "audit")
    key = f"open-{made.case_ids[0]}-liver"
    queue = run_quietly()
    assert key in [button.key for button in queue.button]

    queue.number_input(key="filter-risk").set_value(0.1).run()
    assert key not in [button.key for button in queue.button]

    queue.number_input(key="filter-risk").set_value(None).run()
    queue.selectbox(key="filter-dataset").set_value(DATASET).run()
    assert not [button.key for button in queue.button if (button.key or "").startswith("open-")]


def test_an_independent_reading_is_told_nothing(made, make_readings):
    make_readings(made).review(made.case_ids[0], "liver", "accept", reader=SOURCE)
    assign_readings(made.store, reader="anna", case_ids=made.case_ids, structures=["liver"])

    page = run_quietly(view="readings")

    assert len(downloads.GRANTS._grants) == 2
    told = sent(page)
    assert found(told) == []
    assert "AI" in told


def test_the_order_of_readings_says_nothing_of_their_assignment(made):
    orders = []
    for case_ids in (made.case_ids, made.case_ids[::-1]):
        with made.store.transaction() as transaction:
            transaction.connection.execute("DELETE FROM assignments")
        for case_id in case_ids:
            assign_readings(made.store, reader="anna", case_ids=[case_id], structures=["liver"])
        keys = [button.key for button in run_quietly(view="readings").button]
        orders.append([key for key in keys if (key or "").startswith("reading-c-")])

    assert orders[0] == orders[1]
    assert len(orders[0]) == 2
