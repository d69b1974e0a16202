"""Truth from one person's label map: scaled, bent, cropped and resampled at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from configs.errors import UsageError
from model.grid import Grid, Triple
from model.midline import Midline
from model.phantom.smooth import Displacement
from model.placed_crop import Mask

Labels = npt.NDArray[np.integer]

# Source: a generator's figures that gave recognisable patients, from three real men.
_SCALES = (0.92, 1.08)
_KNOT_MM = 55.0
_BEND_SD_MM = 6.0
# Our choice: fields of view as in clinics, and organs that surgery took.
_KEPT_HEIGHT = (0.45, 1.0)
_MISSING_CHANCE = 0.05
_CORD_MM = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """A label map.

    Attributes:
        labels: Shape (I, J, K), RAS.
        spacing_mm: Of that grid.
        values: Structure -> value; structures that are left out are covered by nobody.
        cord: Value of the spinal cord, which lies in the midline.
        removable: Structures that a patient may lack.
    """

    labels: Labels
    spacing_mm: Triple
    values: Mapping[str, int]
    cord: int
    removable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class DeformedCase:
    """A new person.

    Attributes:
        masks: Structure -> mask, shape ``grid.shape``; empty where it is not in the field of view.
        grid: Of them.
        midline: Within 10 mm of the spinal cord's; None where that is not in view.
    """

    masks: dict[str, Mask]
    grid: Grid
    midline: Midline | None


def deformed_case(
    anatomy: Anatomy, spacing_mm: Triple, generator: np.random.Generator
) -> DeformedCase:
    """Return a person who was drawn from a label map.

    Random scales along the axes, a smooth displacement on knots of 55 mm, and a random part of the
    height; each place of the new grid takes the value of the place that it comes from, the nearest.
    Each removable structure is missing with a chance of 5 %.

    Args:
        anatomy: Whom to start from.
        spacing_mm: Of the new grid.
        generator: Draws everything.

    Raises:
        UsageError: The label map is not a volume.
    """
    if anatomy.labels.ndim != 3:
        raise UsageError(f"a label map has shape (I, J, K), got {anatomy.labels.shape}")
    scale = generator.uniform(*_SCALES, 3)
    extent_mm = np.asarray(anatomy.labels.shape) * anatomy.spacing_mm * scale
    height_mm = extent_mm[2] * generator.uniform(*_KEPT_HEIGHT)
    low_mm = np.array([0.0, 0.0, generator.uniform(0, extent_mm[2] - height_mm)])
    size_mm = np.array([extent_mm[0], extent_mm[1], height_mm])
    i, j, k = (int(n) for n in np.maximum(1, size_mm // np.asarray(spacing_mm)))
    axes = tuple(
        (low + (np.arange(count) + 0.5) * size).astype(np.float32)
        for low, count, size in zip(low_mm, (i, j, k), spacing_mm, strict=True)
    )
    labels = _resampled(anatomy, (axes[0], axes[1], axes[2]), scale, generator)
    missing = [name for name in anatomy.removable if generator.random() < _MISSING_CHANCE]
    masks = {
        name: np.zeros(labels.shape, np.bool_) if name in missing else labels == value
        for name, value in anatomy.values.items()
    }
    cord = np.nonzero(labels == anatomy.cord)[0]
    middle, half = float(np.median(cord)) if len(cord) else 0.0, _CORD_MM / spacing_mm[0]
    midline = Midline(middle - half, middle + half) if len(cord) else None
    return DeformedCase(masks, Grid((i, j, k), spacing_mm), midline)


def _resampled(
    anatomy: Anatomy,
    axes_mm: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]],
    scale: npt.NDArray[np.float64],
    generator: np.random.Generator,
) -> Labels:
    """Return the values at the places that a new grid's voxels come from; 0 outside."""
    centre_mm = [float(axis.mean()) for axis in axes_mm]
    reach_mm = max(float(np.ptp(axis)) for axis in axes_mm) / 2 + _KNOT_MM
    bend = Displacement.draw(
        generator, sd_mm=_BEND_SD_MM, knot_mm=_KNOT_MM, half_extent_mm=reach_mm
    )
    centred = [axis - np.float32(middle) for axis, middle in zip(axes_mm, centre_mm, strict=True)]
    places = []
    for axis, values in enumerate(axes_mm):
        shape = [1, 1, 1]
        shape[axis] = -1
        moved = bend.on_grid(axis, (centred[0], centred[1], centred[2])) + values.reshape(shape)
        places.append(moved / (scale[axis] * anatomy.spacing_mm[axis]) - 0.5)
    found = ndimage.map_coordinates(anatomy.labels, places, order=0, mode="constant", cval=0)
    return np.asarray(found, anatomy.labels.dtype)
