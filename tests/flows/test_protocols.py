import json

import pytest
from typer.testing import CliRunner

from configs.errors import UsageError
from flows.cli import app
from flows.init import init
from flows.protocols import show_protocol


@pytest.fixture
def run_cli():
    def run(*arguments):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_list_and_show_name_the_version(tmp_path, run_cli):
    root = init(tmp_path / "w").workspace.root
    listed = json.loads(run_cli("protocols", "list", "-w", str(root), "--json"))
    shown = json.loads(run_cli("protocols", "show", "aorta", "-w", str(root), "--json"))

    assert len(listed) == 32
    (aorta,) = [one for one in listed if one["structure"] == "aorta"]
    assert shown["version"] == aorta["version"]
    assert shown["picture"].startswith("<svg")
    words = run_cli("protocols", "show", "aorta", "-w", str(root))
    assert "arch" in words
    assert aorta["version"][:12] in run_cli("protocols", "list", "-w", str(root))


def test_a_version_of_another_structure_is_refused(make_annotated, make_readings):
    made = make_annotated()
    make_readings(made).review(made.case_ids[0], "liver", "accept")
    version = show_protocol(made.store, "liver").version
    assert show_protocol(made.store, "liver", version).structure == "liver"

    with pytest.raises(UsageError, match="no such protocol of spleen"):
        show_protocol(made.store, "spleen", version)
