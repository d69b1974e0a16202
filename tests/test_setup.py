"""The set-up scripts against stand-ins for Python and pip, in a folder whose path holds a space."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Answers as a Python would: passes the probe, makes a .venv of itself, notes what pip was asked.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install"*)
        echo "$*" >> pip.log
        echo half > .venv/half_copied
        [ ! -e slow ] || { touch started; sleep 60; }
        [ ! -e broken ] || exit 1 ;;
    *"import platform"*) echo "use $0" ;;
esac
"""

# Runs the probe in a real Python after one statement that spoils it.
SPOILED_PYTHON = """#!/bin/sh
exec "{real}" -E -c 'import sys; {spoil}; exec(sys.argv[1])' "$3"
"""


def write_program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def choose(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the chooser where the only programs on the path are those in ``folder/bin``."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "cat").symlink_to(shutil.which("cat") or "")
    return subprocess.run(
        [shutil.which("sh") or "sh", str(ROOT / ".ci" / "choose_python.sh")],
        env={"PATH": str(programs), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spaced = tmp_path / "a b"
    spaced.mkdir()
    return spaced


@pytest.fixture
def checkout(folder: Path) -> Path:
    """The set-up files alone, with a stand-in for Python."""
    shutil.copytree(ROOT / ".ci", folder / "atlas" / ".ci")
    shutil.copy(ROOT / "Makefile", folder / "atlas")
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / "atlas" / name).write_text("first", encoding="utf-8")
    write_program(folder / "fake" / "python3", FAKE_PYTHON)
    return folder / "atlas"


def install(
    checkout: Path, extras: str = "base", **changes: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHON": str(checkout.parent / "fake" / "python3"),
        "MIN_FREE_GB": "0",
        "TORCH_INDEX": "",
        **changes,
    }
    return subprocess.run(
        ["sh", ".ci/install.sh", extras],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def pip_calls(checkout: Path) -> list[str]:
    log = checkout / "pip.log"
    return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def test_first_python_that_works_is_chosen_past_a_failing_shim(folder: Path) -> None:
    write_program(folder / "bin" / "python3.12", "#!/bin/sh\necho 'not found' >&2; exit 127\n")
    write_program(folder / "bin" / "python3.11", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')

    assert choose(folder).stdout.strip() == sys.executable


@pytest.mark.parametrize(
    ("spoil", "verdict"),
    [
        ("sys.version_info = (3, 9, 6)", "python3 is version 3.9.6"),
        ("sys.version_info = (3, 13, 0)", "python3 is version 3.13.0"),
        ('sys.modules["ensurepip"] = None', "has no venv or ensurepip module"),
        ("sys.maxsize = 2**31 - 1", "built for another processor"),
        ("sys.exit(1)", "python3 does not run"),
    ],
)
def test_unfit_python_is_named_with_its_fault_and_a_remedy(
    folder: Path, spoil: str, verdict: str
) -> None:
    text = SPOILED_PYTHON.format(real=sys.executable, spoil=spoil)
    write_program(folder / "bin" / "python3", text)

    result = choose(folder)

    assert result.returncode == 1
    assert result.stdout == ""
    assert verdict in result.stderr
    assert "python3.12 is not there" in result.stderr
    assert "apt-get install python3.11 python3.11-venv" in result.stderr


def test_named_python_is_the_only_candidate(folder: Path) -> None:
    write_program(folder / "bin" / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')

    result = choose(folder, PYTHON=str(folder / "nowhere"))

    assert result.returncode == 1
    assert f"{folder}/nowhere is not there" in result.stderr


def test_second_install_asks_pip_for_nothing(checkout: Path) -> None:
    first, second = install(checkout), install(checkout)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert len(pip_calls(checkout)) == 1
    assert "-c constraints.txt -e ." in pip_calls(checkout)[0]


def test_tools_come_on_top_of_the_base_but_not_the_other_way_round(checkout: Path) -> None:
    for extras in ("base", "dev", "base"):
        install(checkout, extras)

    assert [call.split(" -e ")[1] for call in pip_calls(checkout)] == [".", ".[dev]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(checkout: Path, name: str) -> None:
    install(checkout)
    (checkout / name).write_text("second", encoding="utf-8")
    install(checkout)

    assert len(pip_calls(checkout)) == 2


def test_moved_checkout_is_installed_again(checkout: Path) -> None:
    install(checkout)
    moved = checkout.rename(checkout.parent / "moved")
    install(moved)

    assert len(pip_calls(moved)) == 2


def test_failed_install_leaves_no_stamp_and_the_next_starts_afresh(checkout: Path) -> None:
    (checkout / "broken").touch()
    failed = install(checkout)
    stamped = (checkout / ".venv" / ".installed").exists()
    (checkout / ".venv" / "left_over").touch()
    (checkout / "broken").unlink()
    repaired = install(checkout)

    assert failed.returncode == 1
    assert "did not finish" in failed.stderr
    assert not stamped
    assert repaired.returncode == 0
    assert (checkout / ".venv" / ".installed").exists()
    assert not (checkout / ".venv" / "left_over").exists()


def test_killed_upgrade_is_not_taken_for_the_install_before_it(checkout: Path) -> None:
    install(checkout)
    before = (checkout / "constraints.txt").read_text(encoding="utf-8")
    (checkout / "constraints.txt").write_text("second", encoding="utf-8")
    (checkout / "slow").touch()
    environment = {**os.environ, "MIN_FREE_GB": "0"}
    process = subprocess.Popen(
        ["sh", ".ci/install.sh", "base"], cwd=checkout, env=environment, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not (checkout / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (checkout / "slow").unlink()
    (checkout / "constraints.txt").write_text(before, encoding="utf-8")

    result = install(checkout)

    assert "An earlier install did not finish" in result.stderr
    assert len(pip_calls(checkout)) == 3


def test_venv_of_the_users_own_making_is_kept(checkout: Path) -> None:
    write_program(checkout / ".venv" / "bin" / "python", FAKE_PYTHON)
    (checkout / ".venv" / "own_file").touch()

    assert install(checkout).returncode == 0
    assert (checkout / ".venv" / "own_file").exists()


def test_full_disk_is_said_before_anything_is_made(checkout: Path) -> None:
    result = install(checkout, MIN_FREE_GB="999999")

    assert result.returncode == 1
    assert "needs 999999 GB" in result.stderr
    assert "MIN_FREE_GB=4 TORCH_INDEX=URL" in result.stderr
    assert not (checkout / ".venv").exists()


def test_missing_python_ends_the_install(checkout: Path) -> None:
    result = install(checkout, PYTHON="no-such-python")

    assert result.returncode == 1
    assert "no-such-python is not there" in result.stderr
    assert not (checkout / ".venv").exists()


def test_index_for_other_torch_builds_reaches_pip(checkout: Path) -> None:
    install(checkout, TORCH_INDEX="https://example.invalid/cpu")

    assert "--extra-index-url https://example.invalid/cpu -e ." in pip_calls(checkout)[0]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("arguments", "received"),
    [([], "[demo]"), (["CT=/a b/the ct.nii.gz"], "[demo][--ct][/a b/the ct.nii.gz]")],
)
def test_make_demo_passes_the_ct_whole(checkout: Path, arguments: list[str], received: str) -> None:
    install(checkout)
    write_program(checkout / ".venv" / "bin" / "atlasloop", "#!/bin/sh\nprintf '[%s]' \"$@\"\n")
    # What an outer `make test` hands down would change what this one does.
    handed_down = ("CT", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in handed_down}

    output = subprocess.run(
        ["make", "-s", "demo", "MIN_FREE_GB=0", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert output.stdout == received
