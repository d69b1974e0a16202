"""Low-resolution pictures of scans, and the pairs among them that may be one scan twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SLICE_STEP_MM = 10.0
CELL_MM = 12.5
CELLS = 32
TWIN_THRESHOLD = 0.97

_FINE_MM = 3.0
_BODY_ABOVE_HU = -300.0
_HU_WINDOW = (-200.0, 300.0)


@dataclass(frozen=True, slots=True)
class TwinPair:
    """Two cases that may be one scan.

    Attributes:
        first: One case id; sorts before ``second``.
        second: The other.
        similarity: ``fingerprint_similarity`` of the two.
    """

    first: str
    second: str
    similarity: float


def fingerprint_of(
    hu_ras: npt.NDArray[np.int16], spacing_ras_mm: tuple[float, float, float]
) -> bytes:
    """Return a stack of 32 x 32 pictures, one per 10 mm from the lowest slice up.

    A picture shows the mean HU in cells of 12.5 mm, clipped to -200..300 HU and scaled to 0..255,
    round the centroid of what is denser than -300 HU in its own 10 mm. So a picture depends on
    nothing but the anatomy at its height: a scan cropped, resaved or re-sliced along S keeps the
    pictures of what is left. Cropping in the axial plane moves the centroid and is not covered.

    Args:
        hu_ras: HU, shape (I, J, K).
        spacing_ras_mm: Voxel size along R, A, S.

    Returns:
        uint8 bytes, shape (slices, 32, 32) in C order; axes are S, R, A.
    """
    steps = [max(1, int(_FINE_MM / size)) for size in spacing_ras_mm[:2]]
    fine = hu_ras[:: steps[0], :: steps[1]]
    fine_mm = [step * size for step, size in zip(steps, spacing_ras_mm[:2], strict=True)]
    length_mm = hu_ras.shape[2] * spacing_ras_mm[2]
    count = max(1, round(length_mm / SLICE_STEP_MM))
    edges_mm = np.arange(count + 1) * SLICE_STEP_MM
    along_s = _overlap(hu_ras.shape[2], spacing_ras_mm[2], edges_mm)
    pictures = np.empty((count, CELLS, CELLS), np.uint8)
    for index, weights in enumerate(along_s):
        used = np.flatnonzero(weights)
        section = fine[:, :, used[0] : used[-1] + 1].astype(np.float32)
        section = np.maximum(section, -1024.0) @ weights[used[0] : used[-1] + 1]
        pictures[index] = _picture(section / weights.sum(), fine_mm)
    return pictures.tobytes()


def fingerprint_similarity(first: bytes, second: bytes) -> float:
    """Return how alike two fingerprints are at their best shift along S, in [-1, 1]."""
    return _best_shift(_normalised(first), _normalised(second))


def find_twins(
    fingerprints: Mapping[str, bytes], *, threshold: float = TWIN_THRESHOLD
) -> list[TwinPair]:
    """Return the pairs of cases whose fingerprints reach a threshold, the most alike first.

    Args:
        fingerprints: Case id -> fingerprint.
        threshold: Least similarity of a pair.
    """
    ids = sorted(fingerprints)
    pictures = {case_id: _normalised(fingerprints[case_id]) for case_id in ids}
    pairs = []
    for index, first in enumerate(ids):
        for second in ids[index + 1 :]:
            similarity = _best_shift(pictures[first], pictures[second])
            if similarity >= threshold:
                pairs.append(TwinPair(first, second, similarity))
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def _picture(section: npt.NDArray[np.float32], fine_mm: list[float]) -> npt.NDArray[np.uint8]:
    body = section > _BODY_ABOVE_HU
    low, high = _HU_WINDOW
    picture = np.clip(section, low, high) - low
    for axis in range(2):
        profile = body.sum(axis=1 - axis, dtype=np.float64)
        places_mm = (np.arange(len(profile)) + 0.5) * fine_mm[axis]
        total = profile.sum()
        centre_mm = (profile @ places_mm) / total if total else places_mm.mean()
        edges_mm = centre_mm + (np.arange(CELLS + 1) - CELLS / 2) * CELL_MM
        weights = _overlap(len(profile), fine_mm[axis], edges_mm) / CELL_MM
        picture = np.tensordot(weights, picture, axes=(1, axis))
        picture = np.moveaxis(picture, 0, axis)
    return np.rint(picture / (high - low) * 255).astype(np.uint8)


def _overlap(
    count: int, size_mm: float, edges_mm: npt.NDArray[np.floating]
) -> npt.NDArray[np.float32]:
    """Return how many mm of each voxel lie in each bin, shape (bins, count)."""
    starts = np.arange(count) * size_mm
    low = np.maximum(edges_mm[:-1, None], starts[None])
    high = np.minimum(edges_mm[1:, None], starts[None] + size_mm)
    return np.maximum(high - low, 0.0).astype(np.float32)


def _normalised(fingerprint: bytes) -> npt.NDArray[np.float32]:
    pictures = np.frombuffer(fingerprint, np.uint8).reshape(-1, CELLS * CELLS).astype(np.float32)
    pictures = pictures - pictures.mean(axis=1, keepdims=True)
    return pictures / np.maximum(np.linalg.norm(pictures, axis=1, keepdims=True), 1e-6)


def _best_shift(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    alike = first @ second.T
    rows, columns = alike.shape
    least = max(1, min(rows, columns) // 2)
    means = [
        float(alike.diagonal(shift).mean()) for shift in range(least - rows, columns - least + 1)
    ]
    return max(means)
