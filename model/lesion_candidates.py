"""Places that may be a lesion: connected voxels above a low probability, and what they are like."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from model.grid import Box, Shape, Triple
from model.scores import Bytes, Mask

Labels = npt.NDArray[np.integer]

LOW_PROBABILITY = 0.1
_EVERY_NEIGHBOUR = 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One candidate of a lesion.

    Attributes:
        peak: Highest probability inside, in [0, 1].
        box: Where it lies in the volume.
        centre: Voxel of the volume nearest to its centre of mass; a bent one may not hold it.
        voxels: How many it has.
        volume_mm3: Their volume.
        diameter_mm: Of a ball of that volume.
        host_share: Share of its voxels inside the organ that it belongs to; None where that organ
            was not looked at.
    """

    peak: float
    box: Box
    centre: Shape
    voxels: int
    volume_mm3: float
    diameter_mm: float
    host_share: float | None


@dataclass(frozen=True, slots=True)
class LabeledCandidates:
    """Candidates with the voxels that they consist of.

    Attributes:
        candidates: Number n has the label n + 1.
        labels: 0 outside every candidate, shape of the levels.
    """

    candidates: tuple[Candidate, ...]
    labels: Labels


def lesion_candidates(
    levels: Bytes,
    spacing_mm: Triple,
    *,
    origin: Shape = (0, 0, 0),
    low_probability: float = LOW_PROBABILITY,
    host: Mask | None = None,
) -> LabeledCandidates:
    """Return the candidates in a crop of one lesion's probabilities.

    A candidate is a set of voxels above ``low_probability`` that touch, if only by a corner. What
    touches at that probability is one candidate. Beside the levels, memory is 5 bytes a voxel
    of the crop at most, and what the labelling of connected components needs.

    Args:
        levels: 255 times the probability, uint8, shape (I, J, K).
        spacing_mm: Of that grid.
        origin: Where the crop's first voxel lies in the volume.
        low_probability: In [0, 1).
        host: Mask of the organ, same shape.

    Raises:
        ValueError: The probability is out of range, or the host has another shape.
    """
    if not 0 <= low_probability < 1:
        raise ValueError(f"low_probability must be in [0, 1), got {low_probability}")
    if host is not None and host.shape != levels.shape:
        raise ValueError(f"host {host.shape} and levels {levels.shape} must share one shape")
    above = levels > level_of(low_probability)
    if not above.any():
        return LabeledCandidates((), np.zeros(levels.shape, np.uint8))
    labels, count = cc3d.connected_components(above, connectivity=_EVERY_NEIGHBOUR, return_N=True)
    peaks = np.zeros(count + 1, np.uint8)
    hosted = None if host is None else np.zeros(count + 1, np.int64)
    # Plane by plane: indices of a whole crop would take more memory than its labels.
    for plane, (names, values) in enumerate(zip(labels, levels, strict=True)):
        np.maximum.at(peaks, names[above[plane]], values[above[plane]])
        if hosted is not None and host is not None:
            hosted += np.bincount(names[host[plane]], minlength=count + 1)
    facts = cc3d.statistics(labels)
    candidates = tuple(
        _candidate(
            int(facts["voxel_counts"][label]),
            (
                _box(facts["bounding_boxes"][label], origin),
                _centre(facts["centroids"][label], origin),
            ),
            spacing_mm,
            peak=int(peaks[label]) / 255,
            hosted=None if hosted is None else int(hosted[label]),
        )
        for label in range(1, count + 1)
    )
    return LabeledCandidates(candidates, labels)


def level_of(probability: float) -> int:
    """Return the highest level, 0 to 255, that is not above a probability."""
    return math.floor(255 * probability + 1e-9)


def touching(labels: Labels, others: Labels) -> set[tuple[int, int]]:
    """Return the pairs of labels (n, m), neither 0, that share a voxel; both of one shape."""
    found: set[tuple[int, int]] = set()
    for one, other in zip(labels, others, strict=True):
        both = (one > 0) & (other > 0)
        found.update(zip(one[both].tolist(), other[both].tolist(), strict=True))
    return found


def _candidate(
    voxels: int, place: tuple[Box, Shape], spacing_mm: Triple, *, peak: float, hosted: int | None
) -> Candidate:
    volume_mm3 = voxels * math.prod(spacing_mm)
    return Candidate(
        peak=peak,
        box=place[0],
        centre=place[1],
        voxels=voxels,
        volume_mm3=volume_mm3,
        diameter_mm=(6 * volume_mm3 / math.pi) ** (1 / 3),
        host_share=None if hosted is None else hosted / voxels,
    )


def _box(slices: tuple[slice, slice, slice], origin: Shape) -> Box:
    i, j, k = (int(part.start) + first for part, first in zip(slices, origin, strict=True))
    a, b, c = (int(part.stop) + first for part, first in zip(slices, origin, strict=True))
    return Box((i, j, k), (a, b, c))


def _centre(centroid: npt.NDArray[np.floating], origin: Shape) -> Shape:
    i, j, k = (int(np.rint(c + first)) for c, first in zip(centroid, origin, strict=True))
    return i, j, k
