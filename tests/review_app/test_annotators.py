"""Many annotators at once, by the benchmark's own simulation, a small share of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_annotators_who_meet_lose_no_save():
    if not (ROOT / "benchmarks" / "annotators.py").is_file():
        pytest.skip("needs the benchmarks of a checkout")
    options = ["--annotators", "3", "--saves", "8", "--processes", "1", "--cases", "2"]
    options += ["--lease", "2"]

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.annotators", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "saves acknowledged: 8" in done.stdout
    assert "faults: 0" in done.stdout
