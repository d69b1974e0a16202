import json
from dataclasses import replace
from datetime import datetime

import pytest
from typer.testing import CliRunner

from configs.errors import AccessError, UsageError
from configs.setting_sections import TriageSettings
from flows.audit import NOBODY, AuditRequest, _wanted, audit, missing_readers
from flows.cli import app
from storage.audit_draws import AuditWork
from storage.blind_items import answered_items
from storage.open_readings import open_readings
from storage.reader_registry import register_reader
from storage.readers import Actor
from storage.review_case import read_case
from storage.review_queue import QueueFilter, queue_page
from storage.roles import Role
from storage.store import Store

NOW = datetime(2026, 1, 5, 12, 0)
ALL = QueueFilter(statuses=("open", "mine", "held", "deferred", "done"))


@pytest.fixture
def made(make_annotated):
    return with_settings(make_annotated(cases=3))


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def with_settings(made, *, reader="anna", **changes):
    settings = made.store.settings
    settings = settings.model_copy(
        update={
            "triage": TriageSettings(**changes),
            "review": settings.review.model_copy(update={"reader": reader}),
        }
    )
    return replace(made, store=Store.open(made.store.workspace.root, settings))


def run(made, **request):
    return audit(made.store, made.committee_id, AuditRequest(seed=3, **request))


def rows(made, query):
    with made.store.read() as connection:
        return connection.execute(query).fetchall()


def test_a_reader_gets_the_share_of_what_is_done_and_comes(made, readings):
    given = run(made)

    # 8 % of the 9 items of the queue is one label, a quarter of that none to be read unaided.
    assert (given.frame, given.words) == (9, "")
    (anna,) = given.readers
    assert (anna.aided, anna.unaided, anna.decoys, anna.open) == (1, 0, 1, 0)
    again = run(made)
    assert (again.readers[0].aided, again.readers[0].open) == (0, 2)
    assert rows(made, "SELECT count(*) FROM audit_draws") == [(1,)]


@pytest.mark.parametrize(
    ("work", "ahead", "wanted"),
    [
        (AuditWork(0, 0, 0), 100, 8),
        (AuditWork(50, 3, 1), 100, 8),
        (AuditWork(100, 12, 4), 100, 0),
        (AuditWork(1000, 60, 20), 100, 8),
        (AuditWork(0, 0, 0), 0, 0),
    ],
)
def test_the_share_is_of_all_work_since_the_audit_began(work, ahead, wanted):
    assert _wanted(work, ahead, 0.08) == wanted


def test_a_part_is_read_without_the_mask_and_never_by_who_has_it_blind(made):
    made = with_settings(made, audit_unaided_share=0.5)

    given = run(made, more=4)

    (anna,) = given.readers
    assert (anna.aided, anna.unaided) == (2, 2)
    draws = rows(made, "SELECT case_id, structure, unaided, place FROM audit_draws ORDER BY place")
    assert len({row[:2] for row in draws}) == 4
    assert sorted(row[2:] for row in draws) == [(False, 1), (False, 2), (True, 1), (True, 2)]
    with made.store.read() as connection:
        waiting = open_readings(connection, reader="anna").readings
    unaided = {row[:2] for row in draws if row[2]}
    assert {(one.case_id, one.structure) for one in waiting} == unaided


def test_drawn_items_and_decoys_are_alike_until_the_verdict(made, readings):
    run(made, more=2)
    found = rows(made, "SELECT case_id, structure, arm FROM blind_items")
    arms = {(case_id, structure): arm for case_id, structure, arm in found}
    assert sorted(arms.values()) == ["audit", "audit", "ranked", "ranked"]

    with made.store.read() as connection:
        page = queue_page(connection, ALL, reader="anna", now=NOW, limit=50)

    shown = {(one.case_id, one.structure): one for one in page.items if one.is_blind}
    assert shown.keys() == arms.keys()
    alike = {
        replace(one, case_id="", structure="", position=0, prediction_id="")
        for one in shown.values()
    }
    assert len(alike) == 1
    assert len({one.position for one in shown.values()}) == 4
    for case_id, structure in arms:
        case = read_case(made.store, case_id, reader="anna", now=NOW)
        assert structure not in case.maps
        assert structure not in case.verdicts
        assert {mask.member for mask in case.masks.get(structure, ())} <= {"A", "B"}
    drawn = next(key for key, arm in arms.items() if arm == "audit")
    readings.review(*drawn, "accept")
    with made.store.read() as connection:
        (answered,) = answered_items(connection, "audit")
    assert (answered.case_id, answered.structure) == drawn


def test_places_of_blind_items_do_not_collide_over_runs(made):
    made = with_settings(made, audit_unaided_share=0.0)
    for _ in range(3):
        run(made, more=1)

    slots = [slot for (slot,) in rows(made, "SELECT slot FROM blind_items")]
    # Three draws, and a decoy for each as long as a CT is free of blind items.
    assert len(slots) == len(set(slots)) >= 4
    assert rows(made, "SELECT list_sort(list(place)) FROM audit_draws") == [([1, 2, 3],)]


def test_work_is_given_to_who_may_judge_and_works(made, readings):
    ada = Actor("ada")
    register_reader(made.store, "ada", Role.ADMIN, by=ada)
    register_reader(made.store, "ben", Role.ANNOTATOR, by=ada)

    with pytest.raises(AccessError):
        run(made, more=3, by=Actor("ben"))
    given = run(made, more=3, by=ada)

    # Nobody judged yet, so everybody is given something; one of the four has more.
    assert [(one.reader, one.aided + one.unaided) for one in given.readers] == [
        ("ada", 2),
        ("ben", 1),
    ]
    open_to_ben = rows(
        made, "SELECT case_id, structure FROM blind_items WHERE reader = 'ben' AND arm = 'audit'"
    )
    readings.review(*open_to_ben[0], "accept", reader="ben")
    assert [one.reader for one in run(made, more=1, by=ada).readers] == ["ben"]


def test_without_anybody_to_ask_nothing_is_drawn_and_that_is_said(made):
    nobody = with_settings(made, reader="")
    assert run(nobody).words == NOBODY
    off = with_settings(made, audit_share=0.0)
    assert "audit_share is 0" in run(off).words
    assert rows(made, "SELECT count(*) FROM audit_seeds") == [(0,)]


def test_who_judges_is_audited_where_no_setting_names_a_reader(made, readings):
    nobody = with_settings(made, reader="")
    assert missing_readers(nobody.store) == NOBODY
    readings.review(made.case_ids[0], "liver", "accept", reader="anna")

    given = run(nobody)

    assert [(one.reader, one.aided) for one in given.readers] == [("anna", 1)]
    assert missing_readers(nobody.store) == ""
    assert missing_readers(with_settings(made, reader="", audit_share=0.0).store) == ""


def test_an_unknown_committee_or_structure_draws_nothing(made):
    assert "nothing to draw" in audit(made.store, "k-none").words
    with pytest.raises(UsageError, match="lungs"):
        run(made, structures=("lungs",))


def test_the_command_tells_numbers_and_no_item(store, make_annotated):
    """A committee that annotated nothing has nothing to draw, which is no error."""
    root = str(store.workspace.root)
    result = CliRunner(env={"ATLASLOOP_REVIEW__READER": "anna"}).invoke(
        app, ["audit", "-w", root, "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["frame"] == 0

    assert CliRunner().invoke(app, ["audit", "-w", root, "--more", "0"]).exit_code == 2
    assert CliRunner().invoke(app, ["audit", "-w", root]).stdout.startswith("nobody is there")
