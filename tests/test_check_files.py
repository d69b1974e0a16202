"""The file checks that pre-commit and `make check` share."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "check_files.py"


def check(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("content", [b"", b"text\n", b"\x00 no text, no newline"])
def test_sound_file_passes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)

    assert check(tmp_path / "file").returncode == 0


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"no newline", "exactly one newline"),
        (b"an empty line\n\n", "exactly one newline"),
        (b"-----BEGIN " + b"OPENSSH PRIVATE KEY-----\n", "a private key must not be here"),
        (b"a" * 1_000_000 + b"\n", "at most 1000000 bytes, got 1000001"),
    ],
)
def test_faulty_file_is_named_with_its_fault(tmp_path: Path, content: bytes, fault: str) -> None:
    (tmp_path / "sound").write_bytes(b"text\n")
    (tmp_path / "faulty").write_bytes(content)

    result = check(tmp_path / "sound", tmp_path / "faulty")

    assert result.returncode == 1
    assert result.stderr.startswith(f"{tmp_path}/faulty: ")
    assert fault in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_whole_checkout_is_checked_without_arguments(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a b").write_text("no newline", encoding="utf-8")
    (tmp_path / ".gitignore").write_text("ignored\n", encoding="utf-8")
    (tmp_path / "ignored").write_text("no newline", encoding="utf-8")

    command = [sys.executable, str(SCRIPT)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert result.stderr == "a b: a text file ends in exactly one newline\n"
