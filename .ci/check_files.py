"""Checks that files end in one newline, are small and hold no private key.

Usage: check_files.py [FILE...]; without files, every file that git tracks or would add.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

MAX_BYTES = 1_000_000
# In two parts, so that this file passes its own check.
KEY_MARK = b"-----BEGIN " + b"%s"
KEY_KINDS = (b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"OPENSSH PRIVATE KEY")


def main(arguments: list[str]) -> int:
    """Print the faults of the given files; return 1 where there are any."""
    paths = [Path(name) for name in arguments] or tracked_files()
    faults = [fault for path in paths if path.is_file() for fault in faults_of(path)]
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


def tracked_files() -> list[Path]:
    """Return what git tracks or would add here, relative to this folder; without git, nothing."""
    if shutil.which("git") is None:
        return []
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - no input in it
    return [Path(name) for name in listed.stdout.decode().split("\0") if name]


def faults_of(path: Path) -> list[str]:
    """Return what is wrong with one file, a line a fault."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        return [f"{path}: a file holds at most {MAX_BYTES} bytes, got {size}"]
    content = path.read_bytes()
    faults = []
    if any(KEY_MARK % kind in content for kind in KEY_KINDS):
        faults.append(f"{path}: a private key must not be here; remove and revoke it")
    is_text = b"\0" not in content
    if is_text and content and content != content.rstrip(b"\n") + b"\n":
        faults.append(f"{path}: a text file ends in exactly one newline")
    return faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
