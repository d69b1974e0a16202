"""Twins: what resaving, cropping along S and re-slicing do to the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from configs.errors import StorageError
from storage.fingerprint import (
    CELL_MM,
    CELLS,
    TWIN_THRESHOLD,
    find_twins,
    fingerprint_of,
    fingerprint_similarity,
)
from storage.volume import Volume

Scan = tuple[npt.NDArray[np.int16], tuple[float, float, float]]


def body(seed: int) -> Scan:
    """A body whose bowels, bones and outline differ from seed to seed, 4 x 4 x 4 mm."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.arange(n) for n in (80, 60, 70)), indexing="ij", sparse=True)
    wide, deep = rng.uniform(28, 36), rng.uniform(18, 26)
    waist = 1 + 0.1 * np.sin(k / 12 + rng.uniform(0, 6))
    radius = ((i - 40) / (wide * waist)) ** 2 + ((j - 30) / (deep * waist)) ** 2
    hu = np.where(radius < 1, -100.0, -1000.0)
    hu[radius < rng.uniform(0.5, 0.9)] = 40
    for value in rng.choice([-850, 60, 110, 180, 500], 60):
        centre, size = rng.uniform((14, 14, 0), (66, 46, 70)), rng.uniform(3, 10, 3)
        inside = sum(((a - c) / s) ** 2 for a, c, s in zip((i, j, k), centre, size, strict=True))
        hu[(inside < 1) & (radius < 0.9)] = value
    return np.rint(hu + rng.normal(0, 15, hu.shape)).astype(np.int16), (4.0, 4.0, 4.0)


def reslice(scan: Scan, spacing_mm: tuple[float, float, float]) -> Scan:
    hu, before_mm = scan
    factors = [old / new for old, new in zip(before_mm, spacing_mm, strict=True)]
    blur = [max(0.0, 0.5 * (1 / factor - 1)) for factor in factors]
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), blur)
    resliced = ndimage.zoom(smooth, factors, order=1)
    pairs = zip(before_mm, hu.shape, resliced.shape, strict=True)
    after_mm = tuple(size * old / new for size, old, new in pairs)
    return np.rint(resliced).astype(np.int16), (after_mm[0], after_mm[1], after_mm[2])


def similarity(first: Scan, second: Scan) -> float:
    return fingerprint_similarity(fingerprint_of(*first), fingerprint_of(*second))


def test_a_picture_is_a_mean_of_clipped_hu_round_the_body() -> None:
    hu = np.full((20, 16, 2), -1000, np.int16)
    hu[5:15, 4:12] = 50

    fingerprint = fingerprint_of(hu, (CELL_MM, CELL_MM, 5.0))

    picture = np.frombuffer(fingerprint, np.uint8).reshape(CELLS, CELLS)
    expected = np.zeros((CELLS, CELLS), np.uint8)
    # 50 HU is half way from -200 to 300; ten by eight voxels of one cell each, centred.
    expected[7:17, 8:16] = 128
    np.testing.assert_array_equal(picture, expected)


def test_similarity_equals_a_plain_loop_over_shifts() -> None:
    rng = np.random.default_rng(1)
    first, second = (rng.integers(0, 256, (n, CELLS**2)).astype(np.uint8) for n in (7, 4))
    best = -1.0
    stacks = [first.astype(float), (first[1:] + 0.0 + first[:-1]) / 2]
    others = [second.astype(float), (second[1:] + 0.0 + second[:-1]) / 2]
    for own, other in ((stacks[0], others[0]), (stacks[1], others[0]), (stacks[0], others[1])):
        for shift in range(-len(own), len(other)):
            pairs = [(i, i + shift) for i in range(len(own)) if 0 <= i + shift < len(other)]
            if 2 * len(pairs) >= min(len(own), len(other)):
                values = [np.corrcoef(own[i], other[j])[0, 1] for i, j in pairs]
                best = max(best, float(np.mean(values)))

    assert fingerprint_similarity(first.tobytes(), second.tobytes()) == pytest.approx(best)
    assert fingerprint_similarity(second, first.ravel()) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(4))
def test_twins_are_alike_and_others_are_not(seed: int) -> None:
    scan = body(seed)
    hu, spacing_mm = scan
    rng = np.random.default_rng(seed)
    twins = {
        "resaved with noise": ((hu + rng.normal(0, 20, hu.shape)).astype(np.int16), spacing_mm),
        "thick slices": reslice(scan, (4.0, 4.0, 8.0)),
        "another matrix": reslice(scan, (5.3, 5.3, 4.0)),
        "lower half": (hu[:, :, :35], spacing_mm),
        "middle 60 mm": (hu[:, :, 31:46], spacing_mm),
        "cropped and thick": reslice((hu[:, :, 9:61], spacing_mm), (4.0, 4.0, 7.0)),
        "padded": (np.pad(hu, ((9, 9), (3, 0), (0, 0)), constant_values=-3024), spacing_mm),
    }
    alike = {name: similarity(scan, twin) for name, twin in twins.items()}

    assert min(alike.values()) >= TWIN_THRESHOLD, alike
    assert similarity(scan, body(seed + 100)) < TWIN_THRESHOLD


def test_find_twins_lists_each_pair_once_and_only_those_asked_for() -> None:
    scans = {f"c-{seed}": body(seed) for seed in range(3)}
    prints = {name: fingerprint_of(*scan) for name, scan in scans.items()}
    hu, spacing_mm = scans["c-1"]
    prints["a-crop"] = fingerprint_of(hu[:, :, 20:], spacing_mm)
    prints["z-crop"] = fingerprint_of(hu[:, :, :50], spacing_mm)

    pairs = [(pair.first, pair.second) for pair in find_twins(prints)]
    asked = [(pair.first, pair.second) for pair in find_twins(prints, among={"z-crop"})]

    assert sorted(pairs) == [("a-crop", "c-1"), ("a-crop", "z-crop"), ("c-1", "z-crop")]
    assert sorted(asked) == [("a-crop", "z-crop"), ("c-1", "z-crop")]
    assert find_twins(prints, among={"c-0", "unknown"}) == []
    assert find_twins({}) == []


def test_real_crops_are_twins_and_real_patients_are_not(real_data: Path) -> None:
    prints = {}
    for name in ("example_ct", "example_ct_slab", "aorta_crop"):
        volume = Volume.open(real_data / "ct" / name / "ct.nii.gz")
        prints[name] = fingerprint_of(volume.read_ras(), volume.grid.ras_spacing_mm)

    pairs = find_twins(prints)

    assert [(pair.first, pair.second) for pair in pairs] == [("example_ct", "example_ct_slab")]
    assert fingerprint_similarity(prints["example_ct"], prints["aorta_crop"]) < 0.8


@pytest.mark.parametrize("value", [-3024, 0])
def test_a_scan_of_one_value_has_a_fingerprint_that_is_like_nothing(value: int) -> None:
    flat = fingerprint_of(np.full((9, 9, 9), value, np.int16), (3.0, 3.0, 3.0))

    assert fingerprint_similarity(flat, fingerprint_of(*body(0))) < 0.9


def test_bytes_that_are_no_fingerprint_are_refused() -> None:
    with pytest.raises(StorageError, match="pictures of 576 bytes"):
        fingerprint_similarity(b"abc", bytes(CELLS**2))
