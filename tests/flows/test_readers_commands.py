import json

import pytest
from typer.testing import CliRunner

from flows import cli


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


@pytest.fixture
def run(monkeypatch, made):
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(made.store.workspace.root))
    runner = CliRunner()

    def run(*arguments, code=0):
        result = runner.invoke(cli.app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_list_says_that_an_unregistered_workspace_is_open(run):
    assert "may do everything" in run("readers", "list")
    assert json.loads(run("readers", "list", "--json")) == []


def test_readers_are_added_listed_and_removed(run):
    run("readers", "add", "ada", "--role", "admin")
    run("readers", "add", "ben", "--role", "annotator", "--as", "ada")
    listed = json.loads(run("readers", "list", "--json"))
    shown = run("readers", "list")
    run("readers", "remove", "ben", "--as", "ada")

    assert [(one["name"], one["role"], one["given_by"]) for one in listed] == [
        ("ada", "admin", None),
        ("ben", "annotator", "ada"),
    ]
    assert "not verified" in shown
    assert "may do everything" in run("readers", "remove", "ada", "--as", "ada")


def test_commands_ask_who_acts_once_somebody_is_registered(run, tmp_path, monkeypatch):
    run("readers", "add", "ada", "--role", "admin")
    run("readers", "add", "rea", "--role", "reviewer", "--as", "ada")
    out = tmp_path / "out"
    export = ("export", out, "--layout", "msd", "--ct", "none")

    assert "nobody was named" in run("release", "first", code=2)
    assert "takes the role admin" in run("release", "first", "--as", "rea", code=2)
    assert "nobody was named" in run(*export, code=2)
    assert not out.exists()
    asked = ("assign", "--reader", "rea", "--structure", "liver", "--random", "1")
    assert "'ben' is none" in run(*asked, "--as", "ben", code=2)
    assert "Assigned" in run(*asked, "--as", "rea")
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "ada")
    assert "release first" in run("release", "first")


def test_review_does_not_start_for_a_stranger(run):
    run("readers", "add", "ada", "--role", "admin")

    assert "'ben' is none" in run("review", "--reader", "ben", "--no-browser", code=2)
