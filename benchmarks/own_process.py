"""Measure parts of a benchmark each in a process of its own, and the memory that it takes there."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any


def workspace_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of WORKSPACE, CT, OUT and the model of the workspace that computes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("ct", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="small")
    return parser


def run_alone(module: str, flag: str, value: object) -> Any:
    """Run a benchmark again as it was started, one flag more; return the JSON of its last line."""
    command = [sys.executable, "-m", module, *sys.argv[1:], flag, str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


class Peak:
    """The highest resident memory from now on, where the system can be asked to forget the past."""

    def __init__(self) -> None:
        # Linux: forget the highest value so far.
        Path("/proc/self/clear_refs").write_text("5")

    def highest(self) -> int:
        """Return the highest resident memory since the start, in bytes."""
        line = next(
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        return int(line.split()[1]) * 1024


def resident_bytes() -> int:
    """Return the resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
