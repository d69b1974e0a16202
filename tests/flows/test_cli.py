import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flows import boundary, cli
from flows.init import init

VERBS = (
    *"init intake phantom encode extend train annotate triage serve queue assign agreement".split(),  # noqa: SIM905 one line
    *"status rebuild verify demo".split(),  # noqa: SIM905 one line
)
LABEL_VERBS = ("release", "audit", "bound", "export", "import-labels", "datasets")


@pytest.fixture
def run(monkeypatch):
    monkeypatch.delenv("ATLASLOOP_WORKSPACE", raising=False)
    monkeypatch.delenv("ATLASLOOP_DEBUG", raising=False)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("verb", [*VERBS, *LABEL_VERBS])
def test_every_verb_has_help_with_an_example(run, verb):
    result = run(verb, "--help")

    assert result.exit_code == 0
    assert f"Example: atlasloop {verb}" in result.output


def test_version_is_printed(run):
    assert run("--version").output.startswith("atlasloop 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("annotate", "--limit", "0"),
        ("intake",),
        ("status", "-w", "/nowhere/at/all"),
        ("train", "/nowhere", "--name", "x", "-w", "/nowhere/at/all"),
    ],
)
def test_wrong_use_ends_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


def test_folder_without_workspace_says_what_to_do(run, tmp_path):
    result = run("status", "-w", tmp_path)

    assert result.exit_code == 2
    assert "atlasloop init" in result.stderr


def test_quarantined_file_ends_with_3_and_is_listed(run, tmp_path):
    run("init", tmp_path / "w")
    (tmp_path / "a.nii.gz").write_text("no image")

    result = run("intake", tmp_path / "a.nii.gz", "-w", tmp_path / "w")

    assert result.exit_code == 3
    assert "not_an_image" in result.stdout


def test_broken_journal_ends_with_1_and_names_the_place(run, tmp_path):
    store = init(tmp_path / "w")
    store.journal.path.write_text("garbage\n")

    result = run("verify", "-w", tmp_path / "w")

    assert result.exit_code == 1
    assert "line 1" in result.stdout


def test_fault_of_ours_ends_with_1_and_a_log(run, tmp_path, monkeypatch):
    init(tmp_path / "w")
    monkeypatch.setattr("flows.status.status", lambda store: 1 / 0)

    result = run("status", "-w", tmp_path / "w")

    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.output


def test_interrupt_says_that_work_is_kept(run, tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    init(tmp_path / "w")
    monkeypatch.setattr("flows.status.status", interrupt)

    result = run("status", "-w", tmp_path / "w")

    assert result.exit_code == boundary.INTERRUPTED
    assert "kept" in result.stderr


def test_debug_lets_the_traceback_through(run, tmp_path, monkeypatch):
    init(tmp_path / "w")
    monkeypatch.setattr("flows.status.status", lambda store: 1 / 0)

    result = run("--debug", "status", "-w", tmp_path / "w")

    assert isinstance(result.exception, ZeroDivisionError)


def test_json_is_json(run, tmp_path):
    run("init", tmp_path / "w")

    for arguments in (("status",), ("status", "--config"), ("verify",)):
        result = run(*arguments, "--json", "-w", tmp_path / "w")
        assert result.exit_code == 0
        json.loads(result.stdout)


def test_workspace_comes_from_the_environment(run, tmp_path, monkeypatch):
    run("init", tmp_path / "w")
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(tmp_path / "w"))

    assert run("status").exit_code == 0


def test_prefect_server_that_is_named_and_gone_ends_with_1_and_changes_nothing(
    run, tmp_path, monkeypatch
):
    store = init(tmp_path / "w")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    for name in ("DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    before = store.journal.size()

    for verb in ("annotate", "triage", "serve"):
        result = run(verb, "-w", tmp_path / "w")
        assert result.exit_code == 1
        assert "none answers" in result.stderr
    assert store.journal.size() == before


def test_flag_is_shown_with_its_origin(run, tmp_path, monkeypatch):
    run("init", tmp_path / "w")
    monkeypatch.setenv("ATLASLOOP_ANNOTATE__DEVICE", "cpu")

    origins = json.loads(run("status", "--config", "--json", "-w", tmp_path / "w").stdout)

    device = next(entry for entry in origins if entry["name"] == "annotate.device")
    assert device == {"name": "annotate.device", "origin": "environment", "value": "cpu"}


def test_queue_before_annotate_is_a_usage_error(run, tmp_path):
    run("init", tmp_path / "w")

    result = run("queue", "-w", tmp_path / "w")

    assert result.exit_code == 2
    assert "atlasloop annotate" in result.stderr


def test_whole_way_from_folder_to_page(run, store, write_ct, tmp_path):
    workspace = store.workspace.root
    write_ct(tmp_path / "my cts" / "a.nii.gz", seed=1)

    assert run("intake", tmp_path / "my cts", "-w", workspace).exit_code == 0
    annotated = run("annotate", "-w", workspace, "--report", tmp_path / "r.json", "--json")
    assert annotated.exit_code == 0
    ranked = run("triage", "-w", workspace)
    assert ranked.exit_code == 0
    assert "nobody is there to audit" in ranked.output
    shown = run("queue", "-w", workspace, "--json", "--html", tmp_path / "out" / "q.html")
    assert shown.exit_code == 0

    assert len(json.loads((tmp_path / "r.json").read_text())["closed"]) == 1
    page = (tmp_path / "out" / "q.html").read_text()
    assert page.count("data:image/png;base64,") == page.count("<article>") > 0
    assert "my cts" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_help_loads_no_heavy_library():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from flows import cli\n"
        "assert CliRunner().invoke(cli.app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'monai', 'numpy', 'nibabel', 'duckdb', 'pydantic', 'prefect'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
