"""Cropped masks against full-size files and one multilabel file: seconds and bytes of one case.

Run: python -m benchmarks.mask_storage [--rounds N] [--out FILE]

The 32 masks are ellipsoids and tubes of organ size, made here, in a 512 x 512 x 300 volume. Each
round writes and reads every variant once, in turn, so that a busy moment of the machine strikes
all of them; the table shows medians over rounds. All three use the same writer and gzip level;
the multilabel file cannot hold overlapping structures (a tumor in its organ) and is shown as the
lower bound that it is.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.blocked_copy import copy_in_blocks
from storage.grid import Box, Grid, box_slices
from storage.image_stream import open_image_stream
from storage.masks import decode_crop, decode_mask, encode_mask
from storage.volume import write_full_mask

SHAPE = (512, 512, 300)
SPACING_MM = (0.8, 0.8, 1.5)

# Centre as a share of the volume along R, A, S and half axes in mm: as organs lie and measure.
SOLIDS = {
    "spleen": ((0.25, 0.35, 0.66), (28, 45, 52)),
    "kidney_right": ((0.66, 0.36, 0.52), (27, 30, 55)),
    "kidney_left": ((0.34, 0.36, 0.55), (27, 30, 55)),
    "gallbladder": ((0.64, 0.58, 0.56), (16, 20, 34)),
    "liver": ((0.64, 0.52, 0.68), (90, 80, 78)),
    "stomach": ((0.36, 0.58, 0.67), (52, 48, 58)),
    "pancreas": ((0.48, 0.53, 0.58), (75, 18, 20)),
    "adrenal_right": ((0.60, 0.40, 0.62), (9, 12, 17)),
    "adrenal_left": ((0.41, 0.40, 0.63), (9, 12, 17)),
    "duodenum": ((0.56, 0.52, 0.54), (28, 24, 46)),
    "lung_right": ((0.69, 0.50, 0.90), (68, 92, 45)),
    "lung_left": ((0.31, 0.50, 0.90), (66, 90, 45)),
    "colon": ((0.50, 0.58, 0.40), (140, 70, 105)),
    "intestine": ((0.50, 0.62, 0.34), (105, 60, 85)),
    "rectum": ((0.50, 0.36, 0.10), (24, 24, 42)),
    "bladder": ((0.50, 0.58, 0.09), (45, 38, 36)),
    "prostate": ((0.50, 0.50, 0.04), (24, 20, 14)),
    "femur_left": ((0.28, 0.50, 0.06), (28, 28, 25)),
    "femur_right": ((0.72, 0.50, 0.06), (28, 28, 25)),
    "heart": ((0.44, 0.60, 0.96), (58, 55, 18)),
    "kidney_tumor": ((0.66, 0.38, 0.47), (14, 15, 14)),
    "kidney_cyst": ((0.34, 0.34, 0.58), (11, 11, 12)),
    "liver_tumor": ((0.68, 0.54, 0.70), (22, 20, 21)),
    "pancreas_tumor": ((0.50, 0.53, 0.58), (12, 11, 12)),
    "lung_tumor": ((0.70, 0.52, 0.92), (9, 9, 10)),
    "colon_tumor": ((0.38, 0.56, 0.42), (20, 17, 24)),
    "vessel_tumor": ((0.62, 0.52, 0.69), (17, 17, 17)),
}
# Upright tubes: centre R, A; from and to along S; radius in mm.
TUBES = {
    "aorta": (0.48, 0.42, 0.25, 1.0, 11.0),
    "postcava": (0.54, 0.44, 0.25, 0.95, 12.0),
    "portal_vein": (0.55, 0.50, 0.55, 0.68, 8.0),
    "esophagus": (0.48, 0.46, 0.78, 1.0, 10.0),
    "celiac_trunk": (0.48, 0.47, 0.60, 0.63, 4.0),
}


def main() -> None:
    """Measure, print the table, and write it where ``--out`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    crops = organ_crops()
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    grid = Grid.from_affine(SHAPE, affine)
    with tempfile.TemporaryDirectory() as folder:
        report = measure(crops, grid, Path(folder), rounds=arguments.rounds)
    print(report)
    if arguments.out:
        arguments.out.write_text(report, encoding="utf-8")


def organ_crops() -> list[tuple[npt.NDArray[np.bool_], Box]]:
    """Return 32 masks as annotate has them: a crop in RAS order and where it lies."""
    size_mm = np.array(SHAPE) * SPACING_MM
    crops = []
    for share, half_mm in SOLIDS.values():
        centre_mm = np.array(share) * size_mm
        box, (i, j, k) = _box_round(centre_mm, np.array(half_mm, float))
        radius = sum(
            ((p - c) / h) ** 2 for p, c, h in zip((i, j, k), centre_mm, half_mm, strict=True)
        )
        crops.append((radius < 1, box))
    for right, anterior, low, high, radius_mm in TUBES.values():
        centre_mm = np.array((right, anterior, (low + high) / 2)) * size_mm
        half_mm = np.array((radius_mm + 6, radius_mm + 6, (high - low) / 2 * size_mm[2]))
        box, (i, j, k) = _box_round(centre_mm, half_mm)
        bend_mm = 6 * np.sin(k / 60)
        inside = np.hypot(i - centre_mm[0] - bend_mm, j - centre_mm[1]) < radius_mm
        crops.append((np.ascontiguousarray(inside), box))
    return crops


def measure(
    crops: list[tuple[npt.NDArray[np.bool_], Box]], grid: Grid, folder: Path, *, rounds: int
) -> str:
    """Return the report of some rounds over all variants."""
    variants: dict[str, tuple[Callable[[], int], Callable[[], int]]] = {
        "32 cropped masks": _cropped(crops, grid, folder, decode_mask),
        "32 cropped masks, read as crops": _cropped(crops, grid, folder, decode_crop),
        "32 full-size files": _full_size(crops, grid, folder),
        "1 multilabel file (no overlaps)": _multilabel(crops, grid, folder),
    }
    write_s: dict[str, list[float]] = {name: [] for name in variants}
    read_s: dict[str, list[float]] = {name: [] for name in variants}
    size: dict[str, int] = {}
    for _ in range(rounds):
        for name, (write, read) in variants.items():
            seconds, size[name] = _timed(write)
            write_s[name].append(seconds)
            seconds, voxels = _timed(read)
            read_s[name].append(seconds)
            if voxels == 0:
                raise RuntimeError(f"{name}: nothing was read back")
    return _report(write_s, read_s, size)


def _cropped(
    crops: list[tuple[npt.NDArray[np.bool_], Box]],
    grid: Grid,
    folder: Path,
    decode: Callable[[Path, Box, Grid], npt.NDArray[np.generic]],
) -> tuple[Callable[[], int], Callable[[], int]]:
    boxes: dict[int, Box] = {}

    def write() -> int:
        total = 0
        for number, (mask, box) in enumerate(crops):
            encoded = encode_mask(mask, box, grid)
            if encoded.data is None or encoded.box is None:
                raise RuntimeError(f"mask {number} is empty")
            boxes[number] = encoded.box
            (folder / f"crop{number}").write_bytes(encoded.data)
            total += len(encoded.data)
        return total

    def read() -> int:
        masks = (decode(folder / f"crop{n}", boxes[n], grid) for n in range(len(crops)))
        return sum(int(np.count_nonzero(mask)) for mask in masks)

    return write, read


def _full_size(
    crops: list[tuple[npt.NDArray[np.bool_], Box]], grid: Grid, folder: Path
) -> tuple[Callable[[], int], Callable[[], int]]:
    paths = [folder / f"full{number}.nii.gz" for number in range(len(crops))]

    def write() -> int:
        for path, (mask, box) in zip(paths, crops, strict=True):
            full = np.zeros(grid.ras_shape, np.bool_)
            full[box_slices(box)] = mask
            write_full_mask(path, full, grid)
        return sum(path.stat().st_size for path in paths)

    return write, lambda: sum(_read_full(path, grid) for path in paths)


def _multilabel(
    crops: list[tuple[npt.NDArray[np.bool_], Box]], grid: Grid, folder: Path
) -> tuple[Callable[[], int], Callable[[], int]]:
    path = folder / "labels.nii.gz"

    def write() -> int:
        labels = np.zeros(grid.ras_shape, np.uint8)
        for number, (mask, box) in enumerate(crops, 1):
            labels[box_slices(box)][mask] = number
        write_full_mask(path, labels, grid)
        return path.stat().st_size

    return write, lambda: _read_full(path, grid)


def _read_full(path: Path, grid: Grid) -> int:
    """Decompress a full-size file with the same reader as the crops, into RAS order."""
    count = int(np.prod(grid.shape))
    with open_image_stream(path) as stream:
        stream.skip(352)
        native = np.empty(count, np.uint8)
        stream.read_into(native.data)
        stream.finish(slack_bytes=0)
    ras = np.empty(grid.ras_shape, np.uint8)
    copy_in_blocks(ras, grid.array_to_ras(native.reshape(grid.shape, order="F")))
    return int(np.count_nonzero(ras))


def _box_round(
    centre_mm: npt.NDArray[np.float64], half_mm: npt.NDArray[np.float64]
) -> tuple[Box, list[npt.NDArray[np.float64]]]:
    """Return the box of a shape inside the volume and its voxel centres in mm, per axis."""
    spacing = np.array(SPACING_MM)
    low = np.maximum(np.floor((centre_mm - half_mm) / spacing), 0).astype(int)
    high = np.minimum(np.ceil((centre_mm + half_mm) / spacing), SHAPE).astype(int)
    axes = [(np.arange(a, b) + 0.5) * s for a, b, s in zip(low, high, spacing, strict=True)]
    (i0, j0, k0), (i1, j1, k1) = low.tolist(), high.tolist()
    return ((i0, i1), (j0, j1), (k0, k1)), list(np.meshgrid(*axes, indexing="ij", sparse=True))


def _timed(action: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def _report(
    write_s: dict[str, list[float]], read_s: dict[str, list[float]], size: dict[str, int]
) -> str:
    first = next(iter(size))
    rounds = len(write_s[first])
    lines = [
        "# Storage of 32 masks of a 512 x 512 x 300 case",
        "",
        f"Medians of {rounds} paired rounds; ratios are medians of each round's ratio to the "
        "cropped masks. Reading ends with full-size arrays in RAS order and a count of their "
        "voxels, except where it says crops. Shapes are analytic (ellipsoids and tubes of organ "
        "size), so real masks, whose edges are rougher, take more bytes in every variant.",
        "",
        f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, numpy {version('numpy')}, isal {version('isal')} (level 1).",
        "",
        "| variant | write s | read s | bytes | write ratio | read ratio | bytes ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in size:
        write_ratio = np.median(np.array(write_s[name]) / write_s[first])
        read_ratio = np.median(np.array(read_s[name]) / read_s[first])
        lines.append(
            f"| {name} | {np.median(write_s[name]):.2f} | {np.median(read_s[name]):.2f} | "
            f"{size[name]:,} | {write_ratio:.1f} | {read_ratio:.1f} | "
            f"{size[name] / size[first]:.2f} |"
        )
    return "\n".join([*lines, ""])


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


if __name__ == "__main__":
    main()
