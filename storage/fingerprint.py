"""Low-resolution pictures of scans, and the pairs among them that may be one scan twice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from configs.errors import StorageError

SLICE_STEP_MM = 10.0
CELL_MM = 17.0
CELLS = 24
TWIN_THRESHOLD = 0.97
"""Least similarity of twin candidates; benchmarks/results/twins.md shows what it lies between."""

Fingerprint: TypeAlias = bytes | npt.NDArray[np.uint8]

_CASES_AT_ONCE = 512
_ROUGH_MARGIN = 0.1
"""More than half a step of misfit costs: at most 0.04 was seen, on crops by 5 mm."""

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
    """Return a stack of 24 x 24 pictures, one per 10 mm from the lowest slice up.

    A picture shows the mean HU in cells of 17 mm, clipped to -200..300 HU and scaled to 0..255,
    round the centroid of what is denser than -300 HU in its own 10 mm. So a picture depends on
    nothing but the anatomy at its height: a scan cropped, resaved or re-sliced along S keeps the
    pictures of what is left. Cropping in the axial plane moves the centroid and is not covered.

    Args:
        hu_ras: HU, shape (I, J, K).
        spacing_ras_mm: Voxel size along R, A, S.

    Returns:
        uint8 bytes, shape (heights, 24, 24) in C order; axes are S, R, A.
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


def fingerprint_similarity(first: Fingerprint, second: Fingerprint) -> float:
    """Return how alike two scans look where they may overlap, in [-1, 1].

    The pictures are correlated (Pearson) height by height; the similarity is the mean at the best
    shift along S, in steps of 5 mm, at which at least half of the shorter scan overlaps.
    """
    own, other = _pictures(first), _pictures(second)
    shifts = [
        _best_shifts(_normalised(own), _stack([other])),
        _best_shifts(_normalised(_half_step_up(own)), _stack([other])),
        _best_shifts(_normalised(own), _stack([_half_step_up(other)])),
    ]
    return float(np.max(shifts))


def find_twins(
    fingerprints: Mapping[str, Fingerprint],
    *,
    among: Collection[str] | None = None,
    threshold: float = TWIN_THRESHOLD,
) -> list[TwinPair]:
    """Return the pairs of cases whose similarity reaches a threshold, the most alike first.

    All pairs are compared at shifts of 10 mm; only those that come near the threshold, in steps of
    5 mm as well.

    Args:
        fingerprints: Case id -> fingerprint.
        among: Only pairs with at least one of these cases; all pairs when None.
        threshold: Least similarity of a pair, see ``TWIN_THRESHOLD``.
    """
    ids = sorted(fingerprints)
    asked = set(ids) if among is None else set(among) & set(ids)
    pairs = []
    for start in range(0, len(ids), _CASES_AT_ONCE):
        block = ids[start : start + _CASES_AT_ONCE]
        stack = _stack([_pictures(fingerprints[case_id]) for case_id in block])
        for new in sorted(asked):
            if new >= block[-1] and asked.issuperset(block):
                continue
            rough = _best_shifts(_normalised(_pictures(fingerprints[new])), stack)
            near = np.flatnonzero(rough >= threshold - _ROUGH_MARGIN)
            partners = [block[place] for place in near]
            pairs += [(new, old) for old in partners if old not in asked or new < old]
    return _twins_of(pairs, fingerprints, threshold)


def _twins_of(
    pairs: Iterable[tuple[str, str]],
    fingerprints: Mapping[str, Fingerprint],
    threshold: float,
) -> list[TwinPair]:
    twins = []
    for pair in pairs:
        first, second = sorted(pair)
        similarity = fingerprint_similarity(fingerprints[first], fingerprints[second])
        if first != second and similarity >= threshold:
            twins.append(TwinPair(first, second, similarity))
    return sorted(twins, key=lambda twin: (-twin.similarity, twin.first, twin.second))


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


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """The pictures of many scans one after the other, each of mean 0 and length 1."""

    pictures: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.intp]


def _stack(scans: Sequence[npt.NDArray[np.float32]]) -> _Stack:
    lengths = np.array([len(scan) for scan in scans], np.intp)
    return _Stack(_normalised(np.concatenate(scans)), lengths)


def _best_shifts(own: npt.NDArray[np.float32], stack: _Stack) -> npt.NDArray[np.float64]:
    """Return the best mean along a diagonal of each scan's block of correlations, shape (scans,).

    A diagonal of a block is one shift along S. All are summed at once: in a view whose rows are
    each moved one further to the left, diagonals are columns. Gaps of zeros keep scans apart.
    """
    gap = len(own) - 1
    starts = gap + np.concatenate([[0], np.cumsum(stack.lengths + gap)])
    places = np.repeat(starts[:-1] - np.cumsum(stack.lengths) + stack.lengths, stack.lengths)
    places += np.arange(len(stack.pictures))
    alike = np.zeros((len(own), int(starts[-1])), np.float32)
    alike[:, places] = own @ stack.pictures.T
    occupied = np.zeros(int(starts[-1]), np.intp)
    occupied[places] = 1
    columns = alike.shape[1] - gap
    row, item = alike.strides
    sheared = np.lib.stride_tricks.as_strided(alike, (len(own), columns), (row + item, item))
    overlaps = np.convolve(occupied, np.ones(len(own), np.intp), "valid")
    least = np.repeat((np.minimum(stack.lengths, len(own)) + 1) // 2, stack.lengths + gap)
    means = np.where(overlaps >= least, sheared.sum(axis=0) / np.maximum(overlaps, 1), -1.0)
    return np.maximum.reduceat(means, starts[:-1] - gap)


def _pictures(fingerprint: Fingerprint) -> npt.NDArray[np.float32]:
    flat = np.frombuffer(fingerprint, np.uint8)
    if flat.size == 0 or flat.size % CELLS**2:
        raise StorageError(
            f"a fingerprint must hold pictures of {CELLS**2} bytes, got {flat.size} bytes; take "
            "the case in again"
        )
    return flat.reshape(-1, CELLS**2).astype(np.float32)


def _half_step_up(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if len(pictures) == 1:
        return pictures
    return np.asarray((pictures[1:] + pictures[:-1]) / 2, np.float32)


def _normalised(pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    normalised = pictures.copy()
    normalised -= pictures.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.square(normalised).sum(axis=1, keepdims=True))
    normalised /= np.maximum(lengths, 1e-6)
    return normalised
