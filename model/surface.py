"""The surface of a mask as triangles, in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from skimage.measure import marching_cubes

from model.grid import Triple
from model.placed_crop import cropped

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A closed surface.

    Attributes:
        vertices_mm: float32, shape (n, 3), from the centre of the array's first voxel.
        triangles: uint32, shape (m, 3); which vertices, counterclockwise seen from outside.
    """

    vertices_mm: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.uint32]


def surface_of(mask: Mask, spacing_mm: Triple, *, most_triangles: int = 400_000) -> Surface:
    """Return the surface halfway between voxels of the mask and others; closed at the array's end.

    Args:
        mask: Shape (I, J, K); an empty one has an empty surface.
        spacing_mm: Voxel size.
        most_triangles: Above it every second, third, ... voxel is taken.

    Source:
        Lewiner et al., Efficient implementation of marching cubes, 2003; by scikit-image.
    """
    crop = cropped(mask)
    if crop is None:
        return Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint32))
    step = 1
    while True:
        # A margin of background on every side, however the steps fall.
        padded = np.pad(crop.mask, step + 1)
        coarse = padded[::step, ::step, ::step].astype(np.float32)
        vertices, triangles, _, _ = marching_cubes(coarse, 0.5, gradient_direction="ascent")
        if len(triangles) <= most_triangles:
            break
        step += 1
    start = np.array(crop.box.start) - (step + 1)
    placed = (vertices * step + start) * np.array(spacing_mm)
    return Surface(placed.astype(np.float32), triangles.astype(np.uint32))
