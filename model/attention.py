"""How much of a structure is worth a look: AbdomenAtlas' attention, and ours in mm3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.attention import CorrectedAttention, FaithfulAttention
from model.dilation import radii_of
from model.grid import Triple
from model.packed_volume import PackedVolume, packed_volume
from model.scores import ENTROPY, Bytes, Mask

_NATS = np.zeros(256)
_NATS[1:] = -np.arange(1, 256) / 255 * np.log(np.arange(1, 256) / 255)
HALF_ENTROPY = np.floor(255 * _NATS).astype(np.uint8)
"""255 times -p ln p of each level p, cut off: the foreground's half of the binary entropy."""

Places = npt.NDArray[np.intp]
"""Flat indices of voxels of a box."""


@dataclass(frozen=True, slots=True)
class AttentionSize:
    """AbdomenAtlas' two sizes of one structure's attention.

    Attributes:
        voxels: Voxels where members differ, where they are uncertain, or another organ claims it.
        heat: Sum over voxels of deviation, half entropy and overlap, rescaled so that the highest
            is 1, over the CT's slices; 0 where there is none.
    """

    voxels: int
    heat: float


def faithful_attention(
    members: Sequence[Bytes],
    masks: Sequence[Mask],
    overlap: Mask | None,
    *,
    slices: int,
    limits: FaithfulAttention,
) -> AttentionSize:
    """Return the size of one structure's attention in a box; all arrays of its shape (I, J, K).

    Every voxel where it may be other than 0 must lie in the box: see ``least_level``. What lies
    outside counts as background, also where the volume ends.

    Args:
        members: 255 times the probability, of each covering member.
        masks: Each one's mask; beyond a voxel from it a probability counts as 0 for the deviation.
        overlap: Where another organ claims the consensus' mask; None where none does.
        slices: Axial slices of the CT.
        limits: Thresholds.

    Source:
        AbdomenAtlas' code (2023), as ``reference-model`` describes it: population deviation, the
        mean of -p ln p, both cleaned by an opening; nothing is inconsistent with one member.
    """
    reach = limits.opening_steps
    near = [_near(mask) for mask in masks] if len(members) > 1 else []
    differing = _opened(_differing(members, near, limits), reach)
    uncertain = _opened(_uncertain(members, limits), reach)
    found = differing | uncertain
    where = found.unpacked() if overlap is None else found.unpacked() | overlap
    places = np.flatnonzero(where)
    if not places.size:
        return AttentionSize(0, 0.0)
    heat = np.where(_at(differing, places), _deviation(members, near, places), 0.0)
    heat += np.where(_at(uncertain, places), _mean_half_entropy(members, places), 0.0)
    if overlap is not None:
        heat += overlap.reshape(-1)[places]
    return AttentionSize(int(places.size), float(heat.sum() / heat.max()) / slices)


def least_level(limits: FaithfulAttention) -> int:
    """Return the lowest 8-bit probability of any member with which a voxel can be uncertain."""
    return int(_alone(limits)[0])


def corrected_attention_mm3(mean: Bytes, spacing_mm: Triple, limits: CorrectedAttention) -> float:
    """Return the volume where the consensus is uncertain, opened by a radius in mm.

    Args:
        mean: 255 times the consensus' probability in its box, shape (I, J, K).
        spacing_mm: Of these voxels. Along axes where the radius is below a voxel nothing is opened,
            so a thin structure in thick slices stays.
        limits: Threshold and radius.
    """
    above = np.flatnonzero(np.greater(ENTROPY, limits.entropy_bits))
    uncertain = _between(mean, above)
    radii = radii_of(limits.opening_mm, spacing_mm)
    kept = packed_volume(uncertain, reach=radii[2]).opened(radii)
    return kept.count() * float(np.prod(spacing_mm))


def _near(mask: Mask) -> Mask:
    return packed_volume(mask, reach=1).dilated((1, 1, 1)).unpacked()


def _opened(mask: Mask, steps: int) -> PackedVolume:
    """Open by so many steps of the full element of 3 x 3 x 3 voxels, which is one of a box."""
    return packed_volume(mask, reach=steps).opened((steps, steps, steps))


def _differing(members: Sequence[Bytes], near: Sequence[Mask], limits: FaithfulAttention) -> Mask:
    """Return where M * sum(x^2) - sum(x)^2 > (255 * deviation * M)^2, of levels x."""
    if len(members) < 2:
        return np.zeros(members[0].shape, np.bool_)
    low = high = members[0] * near[0]
    for levels, mask in zip(members[1:], near[1:], strict=True):
        own = levels * mask
        low, high = np.minimum(low, own), np.maximum(high, own)
    # A deviation is at most half of the range, and with two members it is half of it.
    wide = high - low > np.floor(2 * 255 * limits.deviation + 1e-9)
    if len(members) == 2:
        return wide
    places = np.flatnonzero(wide)
    return _only(wide.shape, places[_deviation(members, near, places) > limits.deviation + 1e-9])


def _uncertain(members: Sequence[Bytes], limits: FaithfulAttention) -> Mask:
    """Return where the members' mean is above the threshold; one of them must be, then."""
    alone = _alone(limits)
    found = [_between(levels, alone) for levels in members]
    if len(members) == 1:
        return found[0]
    places = np.flatnonzero(np.logical_or.reduce(found))
    return _only(
        members[0].shape, places[_mean_half_entropy(members, places) > limits.entropy_nats + 1e-9]
    )


def _alone(limits: FaithfulAttention) -> Places:
    """Return the levels, one after the other, at which one member is uncertain by itself."""
    return np.flatnonzero(np.greater(HALF_ENTROPY, 255 * limits.entropy_nats))


def _between(levels: Bytes, range_: Places) -> Mask:
    """Return which levels lie between the first and the last of a range."""
    # Those below the first wrap round to high ones.
    return levels - np.uint8(range_[0]) <= np.uint8(range_[-1] - range_[0])


def _only(shape: tuple[int, ...], places: Places) -> Mask:
    mask = np.zeros(shape, np.bool_)
    mask.reshape(-1)[places] = True
    return mask


def _at(volume: PackedVolume, places: Places) -> Mask:
    return volume.unpacked().reshape(-1)[places]


def _deviation(
    members: Sequence[Bytes], near: Sequence[Mask], places: Places
) -> npt.NDArray[np.float64]:
    """Return the population deviation of probabilities; 0 of one member."""
    if len(members) < 2:
        return np.zeros(places.shape)
    levels = np.stack(
        [
            one.reshape(-1)[places] * mask.reshape(-1)[places]
            for one, mask in zip(members, near, strict=True)
        ]
    )
    return levels.std(axis=0) / 255


def _mean_half_entropy(members: Sequence[Bytes], places: Places) -> npt.NDArray[np.float64]:
    total = np.zeros(places.shape, np.uint32)
    for levels in members:
        total += HALF_ENTROPY[levels.reshape(-1)[places]]
    return total / (255.0 * len(members))
