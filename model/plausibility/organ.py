"""What is kept of one structure's mask to judge it by: measured once, then read by every rule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from configs.plausibility import PlausibilityRules
from model.components import label_counts, labeled
from model.grid import Box, Shape, Triple
from model.midline import Midline
from model.placed_crop import PlacedMask, cropped
from model.plausibility.working_scan import WorkingScan

Mask = npt.NDArray[np.bool_]
# Pieces that are looked at; a mask in more of them is told of by the largest.
_MOST_PIECES = 24
_EDGES = (("left", "right"), ("back", "front"), ("lower", "upper"))


@dataclass(frozen=True, slots=True)
class Piece:
    """A component of a mask.

    Attributes:
        volume_ml: Of it.
        place: One of its voxels, of the CT, near its middle.
        edges: Borders of the scan that it reaches.
        box: In working voxels of the scan.
    """

    volume_ml: float
    place: Shape
    edges: frozenset[str]
    box: Box


@dataclass(frozen=True, eq=False)
class Organ:
    """One structure that is there.

    Attributes:
        name: Of the structure.
        scan: What it was seen in.
        counts: The CT's voxels in each working voxel of its box, uint8.
        box: In working voxels.
        volume_ml: Exact.
        areas_mm2: Of each of its slices, shape (K,).
        cut_cm2: Border of the scan -> what it shows there.
    """

    name: str
    scan: WorkingScan
    counts: npt.NDArray[np.uint8]
    box: Box
    volume_ml: float
    areas_mm2: npt.NDArray[np.float64]
    cut_cm2: Mapping[str, float]

    @cached_property
    def mask(self) -> Mask:
        """Working voxels that it fills to more than half."""
        return self.counts * np.uint8(2) > self.scan.cell

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """Components, the largest first; what touches on the working grid is one."""
        labels, count = labeled(self.counts > 0)
        weights = np.bincount(labels.ravel(), self.counts.ravel(), minlength=count + 1)
        if self.scan.cell == 1:
            weights = label_counts(labels, count)
        weights[0] = 0
        order = np.argsort(-weights, kind="stable")[:count]
        return tuple(
            self._piece(labels, int(number), float(weights[number]))
            for number in order[:_MOST_PIECES]
        )

    @cached_property
    def centre(self) -> tuple[float, float, float]:
        """Centre of mass in voxels of the CT, RAS order."""
        return centre_of(self.counts, self.box.start, self.scan)

    @property
    def centre_mm(self) -> Triple:
        """The same in mm from the scan's corner."""
        i, j, k = (c * s for c, s in zip(self.centre, self.scan.grid.spacing_mm, strict=True))
        return i, j, k

    @property
    def place(self) -> Shape:
        """One of its voxels, near its centre."""
        return inner_voxel(self.counts > 0, self.box.start, self.scan)

    def _piece(self, labels: npt.NDArray[np.integer], number: int, voxels: float) -> Piece:
        found = cropped(labels == number, origin=self.box.start)
        if found is None:
            raise ValueError(f"a component has voxels, number {number} has none")
        edges = {
            name
            for axis, names in enumerate(_EDGES)
            for name, is_there in zip(
                names,
                (found.box.start[axis] == 0, found.box.stop[axis] == self.scan.shape[axis]),
                strict=True,
            )
            if is_there
        }
        place = inner_voxel(found.mask, found.box.start, self.scan)
        volume_ml = voxels * self.scan.grid.voxel_ml
        return Piece(volume_ml, place, frozenset(edges), found.box)


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """All that is known of one case.

    Attributes:
        scan: The grid.
        organs: Those that are there, by name.
        covered: Structures that somebody looked for, there or not.
        midline: In voxels of the CT; None where it is not known.
        rules: To judge by.
    """

    scan: WorkingScan
    organs: Mapping[str, Organ]
    covered: frozenset[str]
    midline: Midline | None
    rules: PlausibilityRules

    def seen(self, name: str) -> Organ | None:
        """Return a structure of which there is enough to lean on."""
        organ = self.organs.get(name)
        least_ml = self.rules.seen_share * self.rules.range_ml(name)[0]
        return organ if organ is not None and organ.volume_ml >= least_ml else None


def measured(crops: Iterable[tuple[str, PlacedMask]], scan: WorkingScan) -> dict[str, Organ]:
    """Return what is kept of each mask that is not empty; one crop is held at a time."""
    found = {}
    for name, crop in crops:
        tight = cropped(crop.mask, origin=crop.box.start)
        if tight is not None:
            found[name] = _organ(name, tight, scan)
    return found


def centre_of(
    weights: npt.NDArray[np.generic], start: Shape, scan: WorkingScan
) -> tuple[float, float, float]:
    """Return the centre of mass in voxels of the CT of an array on the working grid."""
    total = float(weights.sum(dtype=np.float64))
    flat = weights.sum(axis=2, dtype=np.float64)
    sums = (flat.sum(axis=1), flat.sum(axis=0), weights.sum(axis=(0, 1), dtype=np.float64))
    i, j, k = (
        (float(along @ np.arange(len(along))) / total + first + 0.5) * step - 0.5
        for along, first, step in zip(sums, start, scan.steps, strict=True)
    )
    return i, j, k


def inner_voxel(mask: Mask, start: Shape, scan: WorkingScan) -> Shape:
    """Return the CT's voxel of the foreground that is nearest to its centre.

    Args:
        mask: On the working grid; not empty.
        start: Where it lies there.
        scan: The grid.
    """
    i, j, k = centre_of(mask, start, scan)
    centre = [
        (value + 0.5) / step - 0.5 - first
        for value, step, first in zip((i, j, k), scan.steps, start, strict=True)
    ]
    near = tuple(min(max(0, round(c)), n - 1) for c, n in zip(centre, mask.shape, strict=True))
    if not mask[near]:
        places = np.argwhere(mask)
        away = (places - np.array(centre)) * np.array(scan.spacing_mm)
        near = tuple(int(value) for value in places[int((away**2).sum(axis=1).argmin())])
    a, b, c = (value + first for value, first in zip(near, start, strict=True))
    return scan.voxel((a, b, c))


def _organ(name: str, tight: PlacedMask, scan: WorkingScan) -> Organ:
    counts, box = scan.gathered(tight)
    profile = counts.sum(axis=(0, 1), dtype=np.int64)
    di, dj, _ = scan.grid.spacing_mm
    return Organ(
        name=name,
        scan=scan,
        counts=counts,
        box=box,
        volume_ml=int(profile.sum()) * scan.grid.voxel_ml,
        areas_mm2=profile * (di * dj),
        cut_cm2=_shown_on_borders(tight, scan),
    )


def _shown_on_borders(tight: PlacedMask, scan: WorkingScan) -> dict[str, float]:
    """Return what a mask shows on each border of the scan that it reaches."""
    sizes = scan.grid.spacing_mm
    found = {}
    for axis, names in enumerate(_EDGES):
        face_cm2 = scan.grid.voxel_ml * 10 / sizes[axis]
        ends = (tight.box.start[axis] == 0, tight.box.stop[axis] == scan.grid.shape[axis])
        for name, is_there, place in zip(names, ends, (0, -1), strict=True):
            if is_there:
                shown = int(np.count_nonzero(np.take(tight.mask, place, axis=axis)))
                found[name] = shown * face_cm2
    return found
