"""Refining a mask by a random walk from the reader's scribbles, near them only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import random_walker

from model.components import labeled
from model.grid import Box, Shape, Triple
from model.mask_operation import grown_by
from model.placed_crop import cropped, grown
from model.refiner import INSIDE, OUTSIDE, Marks

Mask = npt.NDArray[np.bool_]

_SOFT_TISSUE_HU = (-200.0, 300.0)
_NOT_FREE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomWalkRefiner:
    """Frees what lies near a scribble that contradicts it, and lets walkers decide on it.

    A scribble "inside" frees the background within reach, one "outside" the mask within reach,
    where the HU are like those about the scribble; everything else keeps its side and is where
    walkers may arrive, with the scribbles. A free voxel goes to the side that a walker from it,
    kept off steps of HU, reaches first more likely.

    Attributes:
        reach_mm: How far from a click the mask may change: on real errors of a model at 3 mm, 8 mm
            and more made masks worse. A longer scribble reaches half its length.
        most_reach_mm: However long it is.
        tolerance_hu: How far from the scribble's HU, in means of 3^3 voxels, a voxel may be.
        beta: How much a step of HU hinders; 130 and 500 were tried on real CTs, 500 did better.
        most_voxels: Larger problems are solved on every nth voxel.

    Source:
        Grady, Random walks for image segmentation, IEEE TPAMI 2006; solved by scikit-image. What is
        freed and what holds: our decision.
    """

    reach_mm: float = 5.0
    most_reach_mm: float = 20.0
    tolerance_hu: float = 40.0
    beta: float = 500.0
    most_voxels: int = 400_000

    @property
    def name(self) -> str:
        """What a request calls it."""
        return "random_walker"

    def refine(self, marks: Marks) -> Mask:
        """Return the mask after the walk; only what lies within reach of a scribble changes."""
        result = marks.mask.copy()
        inside, outside = marks.scribbles == INSIDE, marks.scribbles == OUTSIDE
        for drawn, is_inside in ((inside, True), (outside, False)):
            crop = cropped(drawn & (result != is_inside))
            if crop is None:
                continue
            length_mm = _longest_mm(crop.mask, marks.spacing_mm)
            reach_mm = max(self.reach_mm, min(length_mm / 2, self.most_reach_mm))
            box = _around(crop.box, marks.spacing_mm, reach_mm, _shape(result.shape))
            near = grown_by(drawn[box.slices], marks.spacing_mm, reach_mm=reach_mm)
            result[box.slices] = self._walked(marks, result, box, near, is_inside=is_inside)
        result[inside], result[outside] = True, False
        return result

    def _alike(self, hu: npt.NDArray[np.int16], drawn: Mask) -> Mask:
        """Return the voxels whose HU are like those about the scribble, in a mean of 3^3 voxels."""
        mean = ndimage.uniform_filter(hu.astype(np.float32), 3, mode="nearest")
        return np.abs(mean - np.median(mean[drawn])) <= self.tolerance_hu

    def _walked(self, marks: Marks, mask: Mask, box: Box, near: Mask, *, is_inside: bool) -> Mask:
        """Return a box of the mask after walking from the scribbles of one kind."""
        before, scribbles = mask[box.slices], marks.scribbles[box.slices]
        kind = INSIDE if is_inside else OUTSIDE
        free = near & (before != is_inside) & (scribbles == 0)
        free &= self._alike(marks.hu[box.slices], scribbles == kind)
        labels = np.where(before, INSIDE, OUTSIDE).astype(np.int32)
        labels[scribbles > 0] = scribbles[scribbles > 0]
        labels[free] = 0
        if not free.any() or len(np.unique(labels[labels > 0])) < 2:
            return np.where(scribbles > 0, scribbles == INSIDE, before)
        n = max(1, math.ceil((free.size / self.most_voxels) ** (1 / 3)))
        found = _solved(
            marks.hu[box.slices][::n, ::n, ::n],
            _coarse(labels, scribbles, n),
            _scaled(marks.spacing_mm, n),
            self.beta,
        )
        for axis in range(3):
            found = np.repeat(found, n, axis=axis)
        i, j, k = free.shape
        found = found[:i, :j, :k]
        return np.where(free & (found != _NOT_FREE), found == INSIDE, labels == INSIDE)


def _longest_mm(drawn: Mask, spacing_mm: Triple) -> float:
    """Return the longest side of the boxes round the connected scribbles."""
    labels, _ = labeled(drawn)
    sides = [
        (place.stop - place.start - 1) * size
        for box in ndimage.find_objects(labels)
        if box is not None
        for place, size in zip(box, spacing_mm, strict=True)
    ]
    return max(sides, default=0.0)


def _solved(
    hu: npt.NDArray[np.int16], labels: npt.NDArray[np.int32], spacing_mm: Triple, beta: float
) -> npt.NDArray[np.int32]:
    """Return 1 or 2 for each voxel, and -1 where no walker can arrive."""
    low, high = _SOFT_TISSUE_HU
    scaled = (np.clip(hu, low, high) - low) / (high - low)
    # Probabilities may leave [0, 1] by what the solver's tolerance allows; the larger one decides.
    return random_walker(
        scaled, labels, beta=beta, mode="cg_j", tol=1e-3, prob_tol=1.0, spacing=spacing_mm
    )


def _coarse(
    labels: npt.NDArray[np.int32], scribbles: npt.NDArray[np.uint8], n: int
) -> npt.NDArray[np.int32]:
    """Return every nth label, and the scribbles of every block, lest a thin one falls between."""
    if n == 1:
        return labels
    chosen = labels[::n, ::n, ::n].copy()
    padded = np.pad(scribbles, [(0, -length % n) for length in labels.shape])
    i, j, k = chosen.shape
    drawn = padded.reshape(i, n, j, n, k, n).max(axis=(1, 3, 5))
    chosen[drawn > 0] = drawn[drawn > 0]
    return chosen


def _around(box: Box, spacing_mm: Triple, reach_mm: float, shape: Shape) -> Box:
    """Return a box grown by the reach and one voxel, whose labels the walk ends at."""
    i, j, k = (math.ceil(reach_mm / size) + 1 for size in spacing_mm)
    return grown(box, (i, j, k), shape)


def _scaled(spacing_mm: Triple, n: int) -> Triple:
    i, j, k = (size * n for size in spacing_mm)
    return i, j, k


def _shape(shape: tuple[int, ...]) -> Shape:
    i, j, k = shape
    return i, j, k
