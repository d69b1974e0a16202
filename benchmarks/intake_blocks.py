"""Measure what it takes to lay CTs in blocks while intake has them in memory.

Run: python -m benchmarks.intake_blocks CT.nii.gz [CT.nii.gz ...] [--repeats 3]

For each CT: seconds to inspect it as intake does, seconds more for its blocks, seconds to make the
blocks later out of the file, as its first opening in the editor does, and bytes on disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.machine import describe
from configs.setting_sections import IntakeSettings
from storage.ct_blocks import Voxels, write_ct_blocks
from storage.ct_regions import CtRegions
from storage.intake_record import IntakeRecord, inspect_file
from storage.volume import Volume


def main() -> None:
    """Print a table, one row a CT."""
    parser = argparse.ArgumentParser(description="Measure blocks at intake.")
    parser.add_argument("cts", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{describe('numpy')}\n")
    print("| voxels | .nii.gz MB | blocks MB | inspect s | blocks at intake s | later s |")
    print("|---|---|---|---|---|---|")
    for path in options.cts:
        print(row(path, options.repeats))


def row(path: Path, repeats: int) -> str:
    """Return the figures of one CT, medians over the repeats."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [measured(path, Path(folder) / str(number)) for number in range(repeats)]
        blocks_mb = (Path(folder) / "0" / "later").stat().st_size / 1e6
    shape = " x ".join(map(str, Volume.open(path).grid.shape))
    cells = " | ".join(f"{statistics.median(values):.2f}" for values in zip(*runs, strict=True))
    return f"| {shape} | {path.stat().st_size / 1e6:.1f} | {blocks_mb:.1f} | {cells} |"


def measured(path: Path, root: Path) -> tuple[float, float, float]:
    """Return seconds of inspection alone, of blocks during it, and of blocks out of the file."""
    regions = CtRegions(root, IntakeSettings(), most_bytes=1 << 40)
    spent: list[float] = []

    def keep(record: IntakeRecord, hu_ras: Voxels) -> None:
        spent.append(seconds(partial(regions.keep, record.content_id, hu_ras, record.grid)))

    whole = seconds(partial(inspect_file, path, use=keep))
    sha256 = inspect_file(path).file_sha256
    later = partial(write_ct_blocks, root / "later", Volume.open(path), expected_sha256=sha256)
    return whole - spent[0], spent[0], seconds(later)


def seconds(act: Callable[[], object]) -> float:
    """Return how long something takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
