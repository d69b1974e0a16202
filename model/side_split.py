"""One mask of a pair of organs becomes a left and a right one, by the midline of the body."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.components import Counts, Labels, label_counts
from model.grid import Triple
from model.midline import Midline, Side

Mask = npt.NDArray[np.bool_]

_EVERY_NEIGHBOUR = 26
# A component belongs to a side that at least half of it is surely on, if under a tenth is surely on
# the other; a tenth surely on each means that two organs touch.
_MOST = 0.5
_SOME = 0.1
# Smaller components near the midline are left out rather than holding up the rest.
_SPECK = 0.01
# A core is what is left of a fused organ when its surface is taken off; smaller ones are crumbs.
_CORE = 0.1
_DEEPEST_MM = 20.0


class SideFinding(StrEnum):
    """What to know about a split."""

    UNSURE = "unsure"
    FUSED = "fused"
    ONE_SIDE = "one_side"
    SPECKS = "specks"


@dataclass(frozen=True, slots=True, eq=False)
class SideSplit:
    """The two sides of a mask.

    Attributes:
        left: Shape (I, J, K); empty where the split is unsure.
        right: The same; no voxel is in both.
        findings: UNSURE: a part lies where the midline may be, so neither side is told. FUSED: both
            organs touched and were parted where they are thinnest. ONE_SIDE: one side is empty.
            SPECKS: small parts where the midline may be are in neither.
        left_out: Voxels in neither.
    """

    left: Mask
    right: Mask
    findings: tuple[SideFinding, ...]
    left_out: int

    @property
    def is_sure(self) -> bool:
        """Whether the sides are told."""
        return SideFinding.UNSURE not in self.findings


def split_sides(mask: Mask, midline: Midline, spacing_mm: Triple) -> SideSplit:
    """Part the mask of a pair of organs into left and right.

    Every component goes to the side of the midline that it lies on, however many there are: two
    fragments on one side are one organ, one kidney leaves the other side empty. A component with
    much on both sides is worn off from outside until one core on each side is left; every voxel
    goes with the nearer core. Where this fails, or a component lies where the midline may be,
    nothing is told.

    Args:
        mask: Both organs, shape (I, J, K), RAS order: the first axis runs from left to right.
        midline: Where the body's midline may lie.
        spacing_mm: Of the grid.
    """
    left, right = np.zeros(mask.shape, np.bool_), np.zeros(mask.shape, np.bool_)
    components, count = cc3d.connected_components(
        mask, connectivity=_EVERY_NEIGHBOUR, return_N=True
    )
    total = int(np.count_nonzero(mask))
    findings: set[SideFinding] = set()
    left_out = 0
    for number, box in enumerate(ndimage.find_objects(components, count), start=1):
        component = components[box] == number
        parted = _parted(component, midline, start=box[0].start, spacing_mm=spacing_mm)
        voxels = int(np.count_nonzero(component))
        if parted is None and voxels > _SPECK * total:
            return _unsure(mask)
        if parted is None:
            findings.add(SideFinding.SPECKS)
            left_out += voxels
            continue
        left[box] |= parted[0]
        right[box] |= parted[1]
        if parted[0].any() and parted[1].any():
            findings.add(SideFinding.FUSED)
    if total > left_out and not (left.any() and right.any()):
        findings.add(SideFinding.ONE_SIDE)
    return SideSplit(left, right, tuple(sorted(findings)), left_out)


def side_of(mask: Mask, midline: Midline) -> Side | None:
    """Return the side that a mask lies on for the most part; None when empty or not told."""
    left, right = midline.shares(mask)
    if max(left, right) < _MOST:
        return None
    return "left" if left > right else "right"


def labels_on(
    side: Side, labels: Labels, counts: Counts, midline: Midline, *, start: int = 0
) -> npt.NDArray[np.bool_]:
    """Return which components surely lie on a side, one entry a label; none of no voxels does.

    Args:
        side: Of the body.
        labels: Shape (I, J, K), RAS order, 0 outside of components.
        counts: Voxels by label, 0 for the background.
        midline: Where the body's midline may lie.
        start: Index of the first voxel along the first axis, for a crop.
    """
    count = len(counts) - 1
    other: Side = "right" if side == "left" else "left"
    here = label_counts(midline.beyond(labels, side, start=start), count)
    there = label_counts(midline.beyond(labels, other, start=start), count)
    return (counts > 0) & (here >= _MOST * counts) & (there < _SOME * counts)


def _unsure(mask: Mask) -> SideSplit:
    nothing = np.zeros(mask.shape, np.bool_)
    return SideSplit(nothing, nothing, (SideFinding.UNSURE,), int(np.count_nonzero(mask)))


def _parted(
    component: Mask, midline: Midline, *, start: int, spacing_mm: Triple
) -> tuple[Mask, Mask] | None:
    """Return the left and the right part of one component; None where that cannot be told."""
    left, right = midline.shares(component, start=start)
    nothing = np.zeros(component.shape, np.bool_)
    if left >= _MOST and right < _SOME:
        return component, nothing
    if right >= _MOST and left < _SOME:
        return nothing, component
    if left < _SOME or right < _SOME:
        return None
    return _parted_by_cores(component, midline, start=start, spacing_mm=spacing_mm)


def _parted_by_cores(
    component: Mask, midline: Midline, *, start: int, spacing_mm: Triple
) -> tuple[Mask, Mask] | None:
    padded = np.pad(component, 1)
    depth_mm = np.asarray(ndimage.distance_transform_edt(padded, sampling=spacing_mm))[
        1:-1, 1:-1, 1:-1
    ]
    step_mm = min(spacing_mm)
    worn_mm = step_mm
    while worn_mm < min(_DEEPEST_MM, float(depth_mm.max())):
        cores = _cores(depth_mm > worn_mm, midline, start)
        if cores is not None:
            distances = [
                ndimage.distance_transform_edt(~core, sampling=spacing_mm) for core in cores
            ]
            is_left = component & (np.asarray(distances[0]) <= np.asarray(distances[1]))
            return is_left, component & ~is_left
        worn_mm += step_mm
    return None


def _cores(worn: Mask, midline: Midline, start: int) -> tuple[Mask, Mask] | None:
    """Return the cores on the left and on the right, if all of them are told and both are there."""
    components, count = cc3d.connected_components(
        worn, connectivity=_EVERY_NEIGHBOUR, return_N=True
    )
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    sides: dict[Side, list[int]] = {"left": [], "right": []}
    for number, size in enumerate(sizes, start=1):
        if size < _CORE * sizes.sum():
            continue
        left, right = midline.shares(components == number, start=start)
        if left >= _MOST and right < _SOME:
            sides["left"].append(number)
        elif right >= _MOST and left < _SOME:
            sides["right"].append(number)
        else:
            return None
    if not (sides["left"] and sides["right"]):
        return None
    return np.isin(components, sides["left"]), np.isin(components, sides["right"])
