import json

import pytest
from typer.testing import CliRunner

from flows import cli


@pytest.fixture
def made(make_annotated, monkeypatch):
    made = make_annotated(cases=1)
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(made.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__FOUR_EYES", "true")
    return made


@pytest.fixture
def run(made):
    def run(*arguments, code=0):
        result = CliRunner().invoke(cli.app, ["approvals", *arguments])
        assert result.exit_code == code, result.output
        return " ".join(result.output.split())

    return run


@pytest.fixture
def given(made, make_readings):
    """Verdicts of anna on the liver and of ben on the spleen, by structure."""
    readings, case_id = make_readings(made), made.case_ids[0]
    return {
        "liver": readings.review(case_id, "liver", "accept").verdict_id,
        "spleen": readings.review(case_id, "spleen", "absent", reader="ben").verdict_id,
    }


def states(made):
    with made.store.read() as connection:
        return dict(connection.execute("SELECT structure, state FROM review_states").fetchall())


def status():
    return json.loads(CliRunner().invoke(cli.app, ["status", "--json"]).output)


def test_a_lead_lists_approves_and_returns(made, run, given):
    listed = json.loads(run("--as", "cleo", "--json"))
    assert [one["structure"] for one in listed["waiting"]] == ["liver", "spleen"]
    assert (status()["to_approve"], status()["returned"]) == (2, 0)

    assert "approved" in run("--approve", given["liver"][:8], "--as", "cleo")
    run("--return", given["spleen"], "--comment", "it is there", "--as", "cleo")

    assert states(made) == {"liver": "approved", "spleen": "returned"}
    shown = run("--as", "cleo")
    assert "0 verdicts of all readers without" in shown
    assert "1 returned and not given again; 0 are yours" in shown
    assert "it is there" in shown
    assert (status()["to_approve"], status()["returned"]) == (0, 1)


def test_the_checks_are_those_of_the_pages(made, run, given):
    assert "needs a reader's name" in run("--approve", given["liver"], code=2)
    assert "own work" in run("--approve", given["liver"], "--as", "anna", code=2)
    assert "says what is to be done" in run("--return", given["liver"], "--as", "cleo", code=2)
    assert "--return as well" in run("--comment", "x", code=2)
    assert "with 0 such verdicts" in run("--approve", "f" * 64, "--as", "cleo", code=2)
    assert "at least 6 characters" in run("--approve", given["liver"][:5], "--as", "cleo", code=2)

    assert states(made) == {"liver": "submitted", "spleen": "submitted"}
    assert [one["structure"] for one in json.loads(run("--as", "anna", "--json"))["waiting"]] == [
        "spleen"
    ]


def test_an_annotator_neither_lists_nor_decides(made, run, given):
    for name, role, by in (("ada", "admin", None), ("anna", "annotator", "ada")):
        acting = ["--as", by] if by else []
        added = CliRunner().invoke(cli.app, ["readers", "add", name, "--role", role, *acting])
        assert added.exit_code == 0

    assert "takes the role reviewer, admin" in run("--as", "anna", code=2)
    assert "nobody was named" in run(code=2)
    assert "takes the role" in run("--approve", given["spleen"], "--as", "anna", code=2)
    assert states(made)["spleen"] == "submitted"


def test_a_decision_that_stands_is_changed_on_request_only(made, run, given):
    run("--approve", given["liver"], "--as", "cleo")
    back = ("--return", given["liver"], "--comment", "cut off", "--as", "dora")

    assert "meanwhile" in run(*back, code=2)
    assert states(made)["liver"] == "approved"
    run(*back, "--overrule")

    assert states(made)["liver"] == "returned"


def test_what_the_lead_is_to_judge_blind_is_not_listed(made, run, given):
    run("--return", given["liver"], "--comment", "cut off", "--as", "dora")
    asked = ["assign", "--reader", "cleo", "--case", made.case_ids[0], "--structure", "liver"]
    assert CliRunner().invoke(cli.app, asked).exit_code == 0

    assert json.loads(run("--as", "cleo", "--json"))["returned"] == []
    assert len(json.loads(run("--as", "ben", "--json"))["returned"]) == 1


def test_without_four_eyes_it_says_so(made, run, monkeypatch):
    monkeypatch.setenv("ATLASLOOP_REVIEW__FOUR_EYES", "false")

    assert "asks for no approval" in run()
    assert status()["to_approve"] is None
