"""Numbers that say how far a mask can be trusted, from 8-bit probabilities and masks.

Probabilities are uint8, 255 times the probability, and foreground is a value above 127: exactly p
    > 0.5.
A number that is not defined (no foreground, one voter) is None, never NaN.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.grid import Triple
from model.packed_volume import packed_volume

COMMITTEE = "committee"
THRESHOLD = 127
DEVIATION_SCALE = 510.0

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
LevelCounts = npt.NDArray[np.int64]
"""Voxels of each of the 256 levels."""

# What numpy widens to 8 bytes a voxel at a time: little enough for a processor's cache.
_CHUNK_VOXELS = 1 << 19

# Working grids of networks are no finer, and what lies between their voxels is interpolated.
_SAMPLE_MM = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """The scores of one structure by one member, or by the consensus (member ``"committee"``).

    Attributes:
        structure: Name in the taxonomy.
        member: Name of the committee member, or ``COMMITTEE``.
        volume_ml: Of the mask on the native grid.
        entropy_mean: Mean binary entropy in bits over the foreground; None without foreground.
        entropy_border: The same in a band round the mask's border; None without foreground.
        self_consistency: Dice of the probabilities with their own mask; None without foreground.
        pairwise_dice: Agreement with the other members; None when only one member covers the
            structure.
        inconsistency: Mean standard deviation over members inside the union of masks; committee
            only; None with one covering member or without foreground.
        overlap_exclusive: Share of the foreground that an exclusive neighbour, as the same voter
            sees it, claims too; on the working grid; None without foreground.
        max_probability: Highest probability in the volume, on the working grid.
        removed_ml: What the rules took from the raw mask; None where there are none.
        pairwise_dice_least: Lowest agreement of two covering members (a member's: with another);
            None when only one covers the structure.
        entropy_worst: Highest mean binary entropy in bits over a cube in the box; committee only.
        tta_dice: Agreement of one member with itself under small changes of what it sees; None
            where it was not asked, as where two families cover the structure.
        attention_voxels: Size of AbdomenAtlas' attention; committee only.
        attention_heat: Its heat over axial slices; committee only.
        attention_mm3: Volume where the consensus is uncertain, opened; committee only.

    With rules, ``volume_ml`` and the pairwise Dice are of the masks that they leave; all else is of
    what the networks said. What is committee only is None, too, where no member sees the structure.
    """

    structure: str
    member: str
    volume_ml: float
    entropy_mean: float | None = None
    entropy_border: float | None = None
    self_consistency: float | None = None
    pairwise_dice: float | None = None
    inconsistency: float | None = None
    overlap_exclusive: float | None = None
    max_probability: float | None = None
    removed_ml: float | None = None
    pairwise_dice_least: float | None = None
    entropy_worst: float | None = None
    tta_dice: float | None = None
    attention_voxels: int | None = None
    attention_heat: float | None = None
    attention_mm3: float | None = None


def entropy_bits(probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the binary entropy in bits of probabilities in [0, 1], any shape; 0 at 0 and at 1."""
    inside = (probability > 0) & (probability < 1)
    p = np.where(inside, probability, 0.5)
    return np.where(inside, -p * np.log2(p) - (1 - p) * np.log2(1 - p), 0.0)


def entropy_map(probability: Bytes) -> Bytes:
    """Return 255 times the binary entropy in bits of 8-bit probabilities, any shape."""
    return np.rint(255 * ENTROPY).astype(np.uint8)[probability]


def mean_entropy(probability: Bytes, where: Mask) -> float | None:
    """Return the mean binary entropy in bits inside a mask; None when the mask is empty."""
    counts = level_counts(probability[where])
    total = int(counts.sum())
    return float(counts @ ENTROPY) / total if total else None


def level_counts(probability: Bytes) -> LevelCounts:
    """Count the voxels of each of the 256 levels, any shape."""
    flat = np.ascontiguousarray(probability).reshape(-1)
    even = flat.size // 2 * 2
    counts = np.bincount(flat[even:], minlength=256)
    # Two voxels at a time: the counts of pairs of levels, of which there are 256 x 256.
    pairs = np.zeros(1 << 16, np.int64)
    both = flat[:even].view(np.uint16)
    for start in range(0, both.size, _CHUNK_VOXELS):
        pairs += np.bincount(both[start : start + _CHUNK_VOXELS], minlength=1 << 16)
    table = pairs.reshape(256, 256)
    return counts + table.sum(axis=0) + table.sum(axis=1)


def foreground_entropy(counts: LevelCounts) -> float | None:
    """Return the mean binary entropy in bits of what is above 0.5; None without foreground."""
    size = int(counts[THRESHOLD + 1 :].sum())
    return float(counts[THRESHOLD + 1 :] @ ENTROPY[THRESHOLD + 1 :]) / size if size else None


def self_consistency(counts: LevelCounts) -> float | None:
    """Return the Dice of probabilities p with their own mask a = [p > 0.5].

    ``2 * sum(p * a) / (sum p + sum a)``: the mask's expected Dice if p is calibrated. None without
    foreground.
    """
    level = np.arange(256) / 255.0
    size = int(counts[THRESHOLD + 1 :].sum())
    if not size:
        return None
    kept = float(counts[THRESHOLD + 1 :] @ level[THRESHOLD + 1 :])
    return 2 * kept / (float(counts @ level) + size)


def border_band(mask: Mask, spacing_mm: Triple, band_mm: float) -> Mask:
    """Return the voxels within ``band_mm`` of the mask's border along the axes, inside and outside.

    The neighbourhood is a box (a Chebyshev distance in mm), at least one voxel along each axis so
    that thick slices have a band too. Where the array ends there is no border: the field of view
    cut it.
    """
    radii = [max(1, int(band_mm / size)) for size in spacing_mm]
    packed = packed_volume(mask, reach=radii[2])
    return (packed.dilated(radii) & (~packed).dilated(radii)).unpacked()


def dice_of_counts(both: int, first: int, second: int) -> float:
    """Return the Dice of two masks from voxel counts; 1 when both are empty, 0 when one is.

    For agreement between members only: an accuracy reports "both empty" apart (``model.metrics``).
    """
    total = first + second
    return 2 * both / total if total else 1.0


def dice_between(masks: Mapping[str, Mask]) -> dict[tuple[str, str], float]:
    """Return the Dice of every pair of members, keyed by both names in the order of ``masks``."""
    sizes = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    return {
        (a, b): dice_of_counts(int(np.count_nonzero(masks[a] & masks[b])), sizes[a], sizes[b])
        for a, b in itertools.combinations(masks, 2)
    }


def committee_dice(
    pairs: Mapping[tuple[str, str], float], families: Mapping[str, str]
) -> float | None:
    """Return the mean Dice between families; None when there is no pair.

    The pairs of two families are averaged first, then the pairs of families, so a large family
    does not outvote the rest. Members of one family are compared only when the committee has no
    other family.
    """
    groups: dict[frozenset[str], list[float]] = {}
    for (a, b), value in pairs.items():
        groups.setdefault(frozenset((families[a], families[b])), []).append(value)
    between = {key: values for key, values in groups.items() if len(key) == 2}
    means = [float(np.mean(values)) for values in (between or groups).values()]
    return float(np.mean(means)) if means else None


def member_dice(pairs: Mapping[tuple[str, str], float], member: str) -> float | None:
    """Return a member's mean Dice with all others; None when it is alone."""
    values = [value for pair, value in pairs.items() if member in pair]
    return float(np.mean(values)) if values else None


def least_dice(pairs: Mapping[tuple[str, str], float], member: str | None = None) -> float | None:
    """Return the lowest Dice of two members, or of one with another; None when there is no pair."""
    return min(
        (dice for pair, dice in pairs.items() if member is None or member in pair), default=None
    )


def worst_region_entropy(uncertainty: Bytes, spacing_mm: Triple, side_mm: float) -> float:
    """Return the highest mean entropy in bits over a cube that lies in the box.

    Voxels finer than ``_SAMPLE_MM`` are sampled: every n-th along an axis, and cubes begin at any
    of these. Along an axis on which the box is shorter than the cube, all of it counts.

    Args:
        uncertainty: 255 times the binary entropy in bits, shape (I, J, K).
        spacing_mm: Of its voxels.
        side_mm: Of the cube.
    """
    steps = [max(1, int(_SAMPLE_MM / size + 1e-6)) for size in spacing_mm]
    sums = uncertainty[:: steps[0], :: steps[1], :: steps[2]].astype(np.uint32)
    voxels = 1
    for axis, (step, size) in enumerate(zip(steps, spacing_mm, strict=True)):
        side = min(max(1, round(side_mm / (step * size))), sums.shape[axis])
        sums = _window_sums(sums, side, axis)
        voxels *= side
    return int(sums.max()) / (255.0 * voxels)


def mean_deviation(deviation: Bytes, where: Mask) -> float | None:
    """Return the mean deviation inside a mask from a map of 510 times it; None if empty."""
    counts = level_counts(deviation[where])
    total = int(counts.sum())
    return float(counts @ np.arange(256)) / DEVIATION_SCALE / total if total else None


def claimed_share(mask_bits: Bytes, neighbour_bits: Sequence[Bytes]) -> float | None:
    """Return the share of a bit-packed mask that any neighbour claims; None when it is empty.

    All arrays come from ``np.packbits`` on one grid and have one shape.
    """
    size = _bit_count(mask_bits)
    if not size:
        return None
    claimed = np.zeros_like(mask_bits)
    for bits in neighbour_bits:
        claimed |= bits
    return _bit_count(claimed & mask_bits) / size


def _window_sums(values: npt.NDArray[np.uint32], side: int, axis: int) -> npt.NDArray[np.uint32]:
    """Return the sums of so many neighbours along an axis."""
    # Running sums may pass the highest number and begin anew; their differences stay right.
    running = np.moveaxis(np.cumsum(values, axis=axis, dtype=np.uint32), axis, 0)
    sums = running[side - 1 :].copy()
    sums[1:] -= running[:-side]
    return np.moveaxis(sums, 0, axis)


def _bit_count(bits: Bytes) -> int:
    whole = bits.size // 8 * 8
    words = np.bitwise_count(bits[:whole].view(np.uint64)).sum(dtype=np.int64)
    return int(words) + int(np.bitwise_count(bits[whole:]).sum(dtype=np.int64))


ENTROPY = entropy_bits(np.arange(256) / 255.0)
