"""The grid that a patient is painted on: coordinates, HU and one tissue per voxel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.phantom.anatomy import Tissue
from model.phantom.smooth import Displacement, Field, random_field

Box: TypeAlias = tuple[slice, slice, slice]
Points: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Pose:
    """Map between anatomy space and the scanner.

    Anatomy space has its origin at the first lumbar vertebra and axes to the right, front and head,
    in mm of an average patient. ``anatomy = matrix @ scanner + displacement(scanner)``.

    Attributes:
        matrix: Scale and rotation from scanner to anatomy, shape (3, 3).
        displacement: Smooth individual deviation, in scanner coordinates.
    """

    matrix: npt.NDArray[np.float64]
    displacement: Displacement

    def to_scanner(self, points_mm: Points) -> Points:
        """Return scanner positions of anatomy points, shape (N, 3), by fixed-point iteration."""
        inverse = np.linalg.inv(self.matrix)
        found = points_mm @ inverse.T
        for _ in range(3):
            found = (points_mm - self.displacement.at(found)) @ inverse.T
        return found


@dataclass(slots=True)
class Canvas:
    """Volumes under construction; painters change ``hu`` and ``tissue`` in place.

    Attributes:
        spacing_mm: Voxel size, shape (3,).
        axes_mm: Scanner positions along each axis.
        pose: Map between scanner and anatomy.
        x, y, z: Anatomy coordinates of every voxel, shape (I, J, K).
        hu: Radiodensity, shape (I, J, K).
        tissue: ``Tissue`` code of every voxel, shape (I, J, K).
    """

    spacing_mm: tuple[float, float, float]
    axes_mm: tuple[Field, Field, Field]
    pose: Pose
    x: Field
    y: Field
    z: Field
    hu: Field
    tissue: npt.NDArray[np.uint8]

    @classmethod
    def blank(
        cls,
        pose: Pose,
        *,
        low_mm: npt.NDArray[np.float64],
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float],
    ) -> Canvas:
        """Return a canvas of air whose voxel (0, 0, 0) lies at ``low_mm`` in the scanner."""
        i, j, k = (
            (low + step * np.arange(count)).astype(np.float32)
            for low, step, count in zip(low_mm, spacing_mm, shape, strict=True)
        )
        axes = (i, j, k)
        grids: list[Field] = []
        for axis in range(3):
            row = pose.matrix[axis].astype(np.float32)
            grid = pose.displacement.on_grid(axis, axes)
            grid += row[0] * i[:, None, None] + row[1] * j[:, None] + row[2] * k
            grids.append(grid)
        return cls(
            spacing_mm,
            axes,
            pose,
            x=grids[0],
            y=grids[1],
            z=grids[2],
            hu=np.full(shape, -1000, np.float32),
            tissue=np.zeros(shape, np.uint8),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along (I, J, K)."""
        return (len(self.axes_mm[0]), len(self.axes_mm[1]), len(self.axes_mm[2]))

    @property
    def edge_mm(self) -> float:
        """Width over which a border is blended: one mean voxel."""
        return float(np.mean(self.spacing_mm))

    def scanner_box(self, low_mm: Points, high_mm: Points) -> Box | None:
        """Return the voxels between two scanner corners, or None when outside the grid."""
        slices: list[slice] = []
        for axis in range(3):
            origin, step = float(self.axes_mm[axis][0]), self.spacing_mm[axis]
            start = max(0, int(np.floor((low_mm[axis] - origin) / step)))
            stop = min(self.shape[axis], int(np.ceil((high_mm[axis] - origin) / step)) + 1)
            if start >= stop:
                return None
            slices.append(slice(start, stop))
        return (slices[0], slices[1], slices[2])

    def anatomy_box(self, center_mm: Points, half_mm: Points) -> Box | None:
        """Return the voxels of an anatomy box, with room for the pose; None when outside."""
        center = np.asarray(center_mm, float)
        half = np.asarray(half_mm, float)
        signs = np.array([[a, b, c] for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)])
        corners = self.pose.to_scanner(center + signs * half)
        return self.scanner_box(corners.min(axis=0) - 6, corners.max(axis=0) + 6)

    def local(self, box: Box) -> tuple[Field, Field, Field]:
        """Return the anatomy coordinates inside a box."""
        return self.x[box], self.y[box], self.z[box]

    def is_any(self, tissues: Iterable[Tissue], box: Box | None = None) -> npt.NDArray[np.bool_]:
        """Return where a voxel holds one of the tissues, in a box or everywhere."""
        codes = self.tissue if box is None else self.tissue[box]
        found = np.zeros(codes.shape, np.bool_)
        for tissue in tissues:
            found |= codes == tissue
        return found

    def noise(self, box: Box, knot_mm: float, rng: np.random.Generator) -> Field:
        """Return a smooth unit-variance field inside a box."""
        i, j, k = (axis[part] for axis, part in zip(self.axes_mm, box, strict=True))
        return random_field((i, j, k), knot_mm, rng)

    def paint(
        self,
        box: Box,
        distance_mm: Field,
        *,
        hu: float | Field,
        tissue: Tissue | None,
        over: Iterable[Tissue] | None = None,
    ) -> None:
        """Blend a shape into the volumes, in place.

        Args:
            box: Voxels to touch.
            distance_mm: Signed distance to the surface, negative inside, shape of the box.
            hu: Radiodensity inside.
            tissue: Code for voxels whose centre lies inside; None changes HU alone.
            over: Tissues that may be painted over; all when None.
        """
        alpha = distance_mm * np.float32(-1 / self.edge_mm)
        alpha += np.float32(0.5)
        np.clip(alpha, 0, 1, out=alpha)
        codes = self.tissue[box]
        inside = distance_mm < 0
        if over is not None:
            allowed = lookup(over)[codes]
            alpha *= allowed
            inside &= allowed
        view = self.hu[box]
        alpha *= hu - view
        view += alpha
        if tissue is not None:
            codes[inside] = tissue


def depth_inside(
    mask: npt.NDArray[np.bool_], spacing_mm: tuple[float, float, float], step: int
) -> Field:
    """Return how deep voxels lie in a mask, in mm; the grid's border counts as outside.

    Args:
        mask: Every ``step``-th voxel of a volume.
        spacing_mm: Voxel size of the volume.
        step: Thinning of the mask, for speed.
    """
    spacing = [value * step for value in spacing_mm]
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing))
    return depth[1:-1, 1:-1, 1:-1]


def lookup(tissues: Iterable[Tissue]) -> npt.NDArray[np.bool_]:
    """Return a table that is True at the given tissue codes, shape (256,)."""
    table = np.zeros(256, bool)
    table[[int(tissue) for tissue in tissues]] = True
    return table
