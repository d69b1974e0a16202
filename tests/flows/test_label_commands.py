import json

import pytest
from typer.testing import CliRunner

from flows import cli


@pytest.fixture
def own_cts():
    return False


@pytest.fixture
def made(make_annotated, own_cts):
    return make_annotated(cases=2, own_cts=own_cts)


@pytest.fixture
def run(monkeypatch, made):
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(made.store.workspace.root))
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.app, [str(argument) for argument in arguments])


def test_release_export_and_import_go_round(run, made, tmp_path):
    frozen = run("release", "first")
    exported = run("export", tmp_path / "out", "--layout", "msd", "--release", "first")
    imported = run("import-labels", tmp_path / "out", "--dataset", "back")
    listed = json.loads(run("release", "--json").stdout)

    assert [result.exit_code for result in (frozen, exported, imported)] == [0, 0, 0]
    assert "2 cases written" in exported.stdout
    assert "6 labels new or changed, 2 absent" in imported.stdout
    assert [row["name"] for row in listed] == ["first"]


@pytest.mark.parametrize("own_cts", [True])
def test_a_missing_ct_ends_with_3_and_is_listed(run, made, tmp_path):
    for path in (tmp_path / "cts").glob("scan 1*"):
        path.unlink()

    result = run("export", tmp_path / "out", "--layout", "nnunet")

    assert result.exit_code == 3
    assert "missing_file" in result.stdout
    assert made.case_ids[1] in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "{out}", "--layout", "dicom"),
        ("export", "{out}", "--layout", "msd", "--case", "c-none"),
        ("export", "{out}", "--layout", "msd", "--ct", "hardlink"),
        ("import-labels", "{out}", "--dataset", "x"),
        ("import-labels", ".", "--dataset", "x", "--name", "cancer"),
        ("release", "none", "--reviewed-only"),
    ],
)
def test_wrong_use_ends_with_2_and_makes_nothing(run, tmp_path, arguments):
    out = tmp_path / "out"

    result = run(*(argument.replace("{out}", str(out)) for argument in arguments))

    assert result.exit_code == 2
    assert not out.exists()
