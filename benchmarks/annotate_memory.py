"""Peak memory of `annotate_volume` against volume size, as a formula.

Run: python -m benchmarks.annotate_memory [--out FILE]

A committee of two members with 32 structures annotates volumes that differ in their number of
slices. The networks are thresholds on intensity and the patch is small, so that what is measured is
what grows with the volume, and not activations and the ring, which do not. The first structure is
the whole body (the largest box that can be), the others are a ball in it; masks pass the shipped
rules. Each size runs in a
process of its own; the measure is its highest resident memory, less what it held before the call.
A straight line is fitted and set beside the formula of `annotate_volume`'s docstring.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from model.working_levels import LEVEL_BYTES

PLANE = 320
SLICES = (64, 96, 128, 192, 256)
SPACING_MM = (0.75, 0.75, 1.5)
WORKING_MM = (1.5, 1.5, 1.5)
PATCH = (16, 16, 16)
OVERLAP = 0.25
MEMBERS = 2
STRUCTURES = 32


def main() -> None:
    """Run every size, fit the line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table here, too")
    parser.add_argument("--slices", type=int, help="run one size and print its figures (internal)")
    arguments = parser.parse_args()
    if arguments.slices:
        print(json.dumps(measure(arguments.slices)))
        return
    report = table([run_alone(slices) for slices in SLICES])
    print(report)
    if arguments.out:
        arguments.out.write_text(report + "\n")


def run_alone(slices: int) -> dict[str, float]:
    """Measure one size in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.annotate_memory", "--slices", str(slices)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(slices: int) -> dict[str, float]:
    """Annotate one volume and return its peak memory."""
    import torch
    from torch import nn

    from configs.post_process import shipped_post_process
    from configs.taxonomy import load_taxonomy
    from model.annotate import AnnotateOptions, annotate_volume
    from model.committee import CommitteeMember
    from model.inference_settings import InferenceSettings

    class Thresholds(nn.Module):
        def __init__(self, shift_hu):
            super().__init__()
            hu = torch.full((32,), 100.0 + shift_hu)
            hu[0] = -100.0
            self.thresholds = hu.reshape(1, 32, 1, 1, 1)

        def forward(self, images, structure_index=None):
            return (images * 425 - 175 - self.thresholds) / 10

    torch.set_num_threads(1)
    taxonomy = load_taxonomy()
    members = [
        CommitteeMember(
            name=f"m{n}",
            family=f"f{n}",
            network=Thresholds(10.0 * n).eval(),
            inference=InferenceSettings(spacing_mm=WORKING_MM, patch=PATCH, overlap=OVERLAP),
            structures=taxonomy.names,
        )
        for n in range(MEMBERS)
    ]
    hu = volume(slices)
    before, started = peak_bytes(), time.perf_counter()
    largest = 0
    for result in annotate_volume(
        hu,
        SPACING_MM,
        members,
        taxonomy=taxonomy,
        device=torch.device("cpu"),
        options=AnnotateOptions(rules=shipped_post_process()),
    ):
        largest = max(largest, 0 if result.box is None else int(np.prod(result.box.shape)))
    seconds = time.perf_counter() - started
    return {
        "slices": slices,
        "voxels": hu.size,
        "largest_box": largest,
        "bytes": peak_bytes() - before,
        "seconds": seconds,
    }


def volume(slices: int) -> np.ndarray:
    """Return an elliptic body with a bright ball, int16 of shape (PLANE, PLANE, slices)."""
    axis = np.linspace(-1, 1, PLANE, dtype=np.float32)
    body = (axis[:, None] / 0.95) ** 2 + (axis / 0.7) ** 2 < 1
    hu = np.full((PLANE, PLANE, slices), -1000, np.int16)
    # Slice by slice: a larger temporary array would raise the peak before the call.
    for k in range(slices):
        height = (k - slices / 2) * SPACING_MM[2] / 120
        hu[:, :, k][body] = 40
        hu[:, :, k][axis[:, None] ** 2 + axis**2 + height**2 < 0.09] = 180
    return hu


def peak_bytes() -> int:
    """Return the highest resident memory of this process so far; Linux counts in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def table(rows: list[dict[str, float]]) -> str:
    """Fit bytes = intercept + slope * voxels and put everything into a Markdown text."""
    voxels = np.array([row["voxels"] for row in rows])
    measured = np.array([row["bytes"] for row in rows])
    slope, intercept = np.polyfit(voxels, measured, 1)
    fitted = intercept + slope * voxels
    worst = float(np.abs(fitted / measured - 1).max())
    lines = [
        "# Peak memory of annotate against volume size",
        "",
        f"`python -m benchmarks.annotate_memory`; {describe('torch', 'numpy')}, one thread.",
        "",
        f"{MEMBERS} members, {STRUCTURES} structures, native voxels {SPACING_MM} mm, working "
        f"voxels {WORKING_MM} mm, patch {PATCH}, overlap {OVERLAP}, CPU. Resident memory above "
        "what the process held before the call (libraries; the volume itself, 2 bytes a voxel). "
        "Networks are thresholds and the patch is small: activations and the ring, which do not "
        "grow with the number of slices, come on top (`predict_probabilities` states them).",
        "",
        f"**peak = {intercept / 1e6:.0f} MB + {slope:.1f} bytes x native voxels** (least squares "
        f"over {len(rows)} sizes; largest deviation {worst:.1%}). The formula of "
        "`annotate_volume`, without constants, is in the table. In float32, all structures at "
        f"native size would alone take {4 * STRUCTURES} bytes a voxel per member.",
        "",
        "| slices | native voxels | largest box | peak MB | fit MB | formula MB | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, fit in zip(rows, fitted, strict=True):
        lines.append(
            f"| {row['slices']} | {row['voxels']:,} | {row['largest_box']:,} | "
            f"{row['bytes'] / 1e6:.0f} | {fit / 1e6:.0f} | {formula(row) / 1e6:.0f} | "
            f"{row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def formula(row: dict[str, float]) -> float:
    """Return the docstring's bytes, without the volume and without a result still held."""
    working = row["voxels"] * np.prod(SPACING_MM) / np.prod(WORKING_MM)
    plane = working / row["slices"]
    probabilities = LEVEL_BYTES * MEMBERS * STRUCTURES * working
    claims = (MEMBERS + 1) * STRUCTURES * working / 8
    run = probabilities + 9 * working + 4 * (STRUCTURES + 1) * plane * PATCH[2]
    structure = probabilities + claims + (3 * MEMBERS + 4 + 8) * row["largest_box"]
    return float(max(run, structure))


if __name__ == "__main__":
    main()
