"""What the twin search finds and misses: similarity of altered scans and of different patients.

Run: python -m benchmarks.twins [--phantoms N] [--out FILE]

Real CTs are taken from ATLASLOOP_TEST_DATA or ../shared/data where present; figures on phantoms
say how the search behaves on them, not on patients.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.phantom.generate import generate_phantom
from model.phantom.protocol import FieldOfView, Protocol
from storage.fingerprint import TWIN_THRESHOLD, fingerprint_of, fingerprint_similarity
from storage.volume import Volume

Scan = tuple[npt.NDArray[np.int16], tuple[float, float, float]]

ALTERED: dict[str, Callable[[Scan], Scan]] = {
    "resaved with noise of 20 HU": lambda scan: _noisy(scan, 20.0),
    "all HU + 20": lambda scan: ((scan[0] + 20).astype(np.int16), scan[1]),
    "slices of 5 mm": lambda scan: _resliced(scan, (1.0, 1.0, 5.0 / scan[1][2])),
    "pixels 1.3 times as large": lambda scan: _resliced(scan, (1.3, 1.3, 1.0)),
    "lower half": lambda scan: _between(scan, 0.0, 0.5),
    "middle third": lambda scan: _between(scan, 0.335, 0.66),
    "90 mm slab": lambda scan: _slab(scan, 90.0),
    "45 mm slab": lambda scan: _slab(scan, 45.0),
    "middle 80 % in slices of 5 mm": lambda scan: _resliced(
        _between(scan, 0.1, 0.9), (1.0, 1.0, 5.0 / scan[1][2])
    ),
    "cut by 10 % at the right": lambda scan: (scan[0][: int(scan[0].shape[0] * 0.9)], scan[1]),
    "cut by 20 % behind": lambda scan: (scan[0][:, int(scan[0].shape[1] * 0.2) :], scan[1]),
    "cut to the middle half in plane": lambda scan: _middle_half(scan),
    "mirrored left to right": lambda scan: (scan[0][::-1], scan[1]),
}
REAL = {
    "example_ct": "ct/example_ct/ct.nii.gz",
    "example_ct_slab": "ct/example_ct_slab/ct.nii.gz",
    "aorta_crop": "ct/aorta_crop/ct.nii.gz",
    "grid_mismatch": "bad/grid_mismatch/ct.nii.gz",
}


def main() -> None:
    """Measure, print the tables, and write them where ``--out`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    phantoms = _phantoms(arguments.phantoms)
    real = _real_scans()
    lines = [
        "# Similarity of fingerprints",
        "",
        f"A pair is listed from {TWIN_THRESHOLD}. {len(real)} real CTs, {len(phantoms)} phantoms "
        "(trunk, 3 mm). Figures on phantoms are not figures on patients.",
        "",
        *_altered_table(real, phantoms),
        "",
        *_pairs_table("Pairs of real CTs", real),
        "",
        "example_ct_slab is a part of example_ct. grid_mismatch is the scan of aorta_crop cut "
        "otherwise, in plane as well, and is missed.",
        "",
        *_distribution("Pairs of different phantoms", phantoms),
        "",
    ]
    report = "\n".join(lines)
    print(report)
    if arguments.out:
        arguments.out.write_text(report, encoding="utf-8")


def _altered_table(real: dict[str, Scan], phantoms: dict[str, Scan]) -> list[str]:
    sources = {name: real[name] for name in ("example_ct", "aorta_crop") if name in real}
    lines = [
        "| the same scan | " + " | ".join([*sources, "phantoms: lowest", "listed"]) + " |",
        "|---|" + "---|" * (len(sources) + 2),
    ]
    for what, alter in ALTERED.items():
        of_real = [_similarity(scan, alter(scan)) for scan in sources.values()]
        of_phantoms = [_similarity(scan, alter(scan)) for scan in phantoms.values()]
        every = [*of_real, *of_phantoms]
        listed = sum(value >= TWIN_THRESHOLD for value in every)
        cells = [f"{value:.3f}" for value in [*of_real, min(of_phantoms)]]
        lines.append(f"| {what} | {' | '.join(cells)} | {listed} of {len(every)} |")
    return lines


def _pairs_table(title: str, scans: dict[str, Scan]) -> list[str]:
    prints = {name: fingerprint_of(*scan) for name, scan in scans.items()}
    lines = [f"| {title} | similarity |", "|---|---|"]
    for first, second in itertools.combinations(prints, 2):
        similarity = fingerprint_similarity(prints[first], prints[second])
        lines.append(f"| {first}, {second} | {similarity:.3f} |")
    return lines


def _distribution(title: str, scans: dict[str, Scan]) -> list[str]:
    prints = [fingerprint_of(*scan) for scan in scans.values()]
    values = [fingerprint_similarity(a, b) for a, b in itertools.combinations(prints, 2)]
    median, high, most = np.percentile(values, (50, 95, 100))
    return [
        f"| {title} | n | median | 95th percentile | highest | listed |",
        "|---|---|---|---|---|---|",
        f"| similarity | {len(values)} | {median:.3f} | {high:.3f} | {most:.3f} | "
        f"{sum(value >= TWIN_THRESHOLD for value in values)} |",
    ]


def _phantoms(count: int) -> dict[str, Scan]:
    protocol = Protocol(fields={FieldOfView.TRUNK: 1.0})
    made = {seed: generate_phantom(seed, protocol=protocol) for seed in range(count)}
    return {f"phantom {seed}": (case.hu, case.spacing_mm) for seed, case in made.items()}


def _real_scans() -> dict[str, Scan]:
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ATLASLOOP_TEST_DATA", beside))
    scans = {}
    for name, file in REAL.items():
        if (folder / file).exists():
            volume = Volume.open(folder / file)
            scans[name] = (volume.read_ras(), volume.grid.ras_spacing_mm)
    return scans


def _similarity(first: Scan, second: Scan) -> float:
    return fingerprint_similarity(fingerprint_of(*first), fingerprint_of(*second))


def _noisy(scan: Scan, sd_hu: float) -> Scan:
    noise = np.random.default_rng(0).normal(0, sd_hu, scan[0].shape)
    return np.rint(scan[0] + noise).astype(np.int16), scan[1]


def _between(scan: Scan, low: float, high: float) -> Scan:
    count = scan[0].shape[2]
    return scan[0][:, :, int(low * count) : int(high * count)], scan[1]


def _slab(scan: Scan, length_mm: float) -> Scan:
    start = scan[0].shape[2] // 2 - 3
    return scan[0][:, :, start : start + round(length_mm / scan[1][2])], scan[1]


def _middle_half(scan: Scan) -> Scan:
    i, j = (length // 4 for length in scan[0].shape[:2])
    return scan[0][i : 3 * i, j : 3 * j], scan[1]


def _resliced(scan: Scan, growth: tuple[float, float, float]) -> Scan:
    """Resample to voxels that are so many times larger, smoothed against aliasing."""
    hu, spacing_mm = scan
    blur = [max(0.0, 0.5 * (factor - 1)) for factor in growth]
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), blur)
    shrink = [1 / factor for factor in growth]
    coarse = ndimage.zoom(smooth, shrink, order=1, mode="nearest", grid_mode=True)
    sizes = [
        size * old / new for size, old, new in zip(spacing_mm, hu.shape, coarse.shape, strict=True)
    ]
    return np.rint(coarse).astype(np.int16), (sizes[0], sizes[1], sizes[2])


if __name__ == "__main__":
    main()
