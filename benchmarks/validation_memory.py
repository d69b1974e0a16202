"""Peak memory of validating one case, per voxel of the box of a structure.

Run: python -m benchmarks.validation_memory [--out FILE]

A network that sees one structure in the middle half of a volume along each axis, and its reference,
shifted by two voxels, are read with everything measured, without surfaces, and quickly, at several
sizes. Memory is what Python and NumPy allocate beyond what they held before (tracemalloc), so the
network's own use is not in it. A straight line over the sizes gives bytes per voxel of the box.
"""

from __future__ import annotations

import argparse
import tracemalloc
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.machine import describe
from model.case_reading import NEAR_MM, read_case
from model.inference_settings import InferenceSettings
from model.placed_crop import cropped
from model.validation import validated_member
from model.validation_case import QUICK, ValidationCase, ValidationOptions

SIZES = (96, 128, 160)
SPACING_MM = (2.0, 2.0, 2.0)
WAYS = {
    "quick": QUICK,
    "no surfaces": ValidationOptions(surface=False),
    "everything": ValidationOptions(),
}
STRUCTURES = ("liver", "liver_tumor")


class Bright(nn.Module):
    """Every structure is where the intensity is above 50 HU."""

    def forward(self, images: torch.Tensor, structure_index: torch.Tensor | None) -> torch.Tensor:
        """Return the logits (B, Q, I, J, K) of images (B, 1, I, J, K)."""
        count = len(STRUCTURES) if structure_index is None else len(structure_index)
        return ((images * 425 - 225) / 20).expand(-1, count, -1, -1, -1)


def main() -> None:
    """Measure every way at every size and print a line for each structure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table here, too")
    arguments = parser.parse_args()
    lines = [f"# Memory of validating one case\n\n{describe()}\n"]
    lines += ["| structure | measured | bytes per voxel of the box |", "| --- | --- | --- |"]
    for structure in STRUCTURES:
        for name, options in WAYS.items():
            figures = [measure(size, structure, options) for size in SIZES]
            voxels, peaks = zip(*figures, strict=True)
            slope = np.polyfit(voxels, peaks, 1)[0]
            lines.append(f"| {structure} | {name} | {slope:.1f} |")
    report = "\n".join(lines)
    print(report)
    if arguments.out:
        arguments.out.write_text(report + "\n")


def measure(size: int, structure: str, options: ValidationOptions) -> tuple[int, int]:
    """Return the voxels of the structure's box and the peak of what was allocated, in bytes."""
    hu = np.zeros((size,) * 3, np.int16)
    edge = size // 4
    hu[edge : 3 * edge, edge : 3 * edge, edge : 3 * edge] = 100
    reference = cropped(np.roll(hu > 50, 2, axis=0))
    inference = InferenceSettings(spacing_mm=SPACING_MM, patch=(32, 32, 32), overlap=0.0)
    member = validated_member(Bright().eval(), inference, STRUCTURES)
    case = ValidationCase(
        case_id="c",
        patient_id="p",
        hu=hu,
        spacing_mm=SPACING_MM,
        references={structure: reference},
    )
    device = torch.device("cpu")
    peak = traced(lambda: read_case(member, case, device=device, options=options))
    margin = int(NEAR_MM / SPACING_MM[0]) if options.calibration else 0
    box = [2 * edge + 2 + 2 * margin, 2 * edge + 2 * margin, 2 * edge + 2 * margin]
    return int(np.prod(box)), peak


def traced(call) -> int:
    """Return the highest number of bytes that a call had allocated at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    main()
