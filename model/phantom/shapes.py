"""Implicit shapes: signed distances in mm, negative inside, and paths that tubes follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from model.phantom.canvas import Box, Canvas
from model.phantom.smooth import Field

Points: TypeAlias = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid in anatomy space.

    Attributes:
        center_mm: Centre.
        radii_mm: Half axes.
        axes: Rows are the directions of the half axes; the coordinate axes by default.
    """

    center_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    axes: Points | None = None

    def box(self, canvas: Canvas, margin_mm: float = 0.0) -> Box | None:
        """Return the voxels that the ellipsoid may touch, or None when out of the grid."""
        half = np.array(self.radii_mm)
        if self.axes is not None:
            half = np.sqrt(((self.axes * half[:, None]) ** 2).sum(axis=0))
        return canvas.anatomy_box(np.array(self.center_mm), half + margin_mm)

    def distance(self, canvas: Canvas, box: Box) -> Field:
        """Return the approximate signed distance inside a box.

        Source:
            First-order distance of the implicit ellipsoid, k0 (k0 - 1) / k1 (I. Quilez).
        """
        parts = [
            values - np.float32(center)
            for values, center in zip(canvas.local(box), self.center_mm, strict=True)
        ]
        if self.axes is not None:
            rows = self.axes.astype(np.float32)
            parts = [row[0] * parts[0] + row[1] * parts[1] + row[2] * parts[2] for row in rows]
        # At the very centre the quotient is 0 / 0; the offsets make it minus the smallest radius.
        inner = np.full(parts[0].shape, 1e-6, np.float32)
        slope = np.full(parts[0].shape, 1e-6 / min(self.radii_mm) ** 2, np.float32)
        for part, radius in zip(parts, self.radii_mm, strict=True):
            part /= np.float32(radius)
            part *= part
            inner += part
            slope += part / np.float32(radius * radius)
        k0 = np.sqrt(inner)
        return k0 * (k0 - 1) / np.sqrt(slope)


def rotation(*, about_x: float = 0, about_y: float = 0, about_z: float = 0) -> Points:
    """Return the rotation matrix for angles in degrees, applied about x, then y, then z."""
    result = np.eye(3)
    for axis, angle in enumerate((about_x, about_y, about_z)):
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn = np.eye(3)
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        turn[first, first] = turn[second, second] = c
        turn[first, second], turn[second, first] = -s, s
        result = turn @ result
    return result


def smooth_max(first: Field, second: Field, width_mm: float) -> Field:
    """Return the maximum of two distances with a rounded edge: a smooth intersection.

    Source:
        Quadratic polynomial smooth minimum (I. Quilez), mirrored.
    """
    h = np.maximum(np.float32(width_mm) - np.abs(first - second), 0)
    return np.maximum(first, second) + h * h * np.float32(0.25 / width_mm)


def smooth_min(first: Field, second: Field, width_mm: float) -> Field:
    """Return the minimum of two distances with a rounded edge: a smooth union."""
    return -smooth_max(-first, -second, width_mm)


@dataclass(frozen=True, slots=True)
class Path:
    """A centre line with a radius at every point.

    Attributes:
        points_mm: Anatomy positions, shape (N, 3), close enough for straight pieces between.
        radii_mm: Tube radius at every point, shape (N,).
    """

    points_mm: npt.NDArray[np.float64]
    radii_mm: npt.NDArray[np.float64]

    @property
    def along_mm(self) -> npt.NDArray[np.float64]:
        """Arc length from the first point, shape (N,)."""
        steps = np.linalg.norm(np.diff(self.points_mm, axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def volume_ml(self) -> float:
        """Volume of a straight tube of the same length and radii."""
        steps = np.diff(self.along_mm)
        r = self.radii_mm
        return float(np.sum(steps * np.pi * (r[1:] ** 2 + r[:-1] ** 2) / 2) / 1000)

    def scaled(self, factor: float) -> Path:
        """Return the path with all radii multiplied."""
        return Path(self.points_mm, self.radii_mm * factor)


def spline_path(
    knots_mm: Sequence[npt.ArrayLike] | Points, radii_mm: npt.ArrayLike, *, step_mm: float = 8.0
) -> Path:
    """Return a smooth path through knots, sampled about every ``step_mm``.

    Args:
        knots_mm: Points to pass through, shape (M, 3), M >= 2.
        radii_mm: One radius, or one for each knot, shape (M,).
        step_mm: Distance of the samples.
    """
    knots = np.asarray(knots_mm, float)
    radii = np.broadcast_to(np.asarray(radii_mm, float), len(knots))
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    count = max(2, int(np.ceil(chord[-1] / step_mm)) + 1)
    where = np.linspace(0, chord[-1], count)
    return Path(_hermite(knots, chord, where), np.interp(where, chord, radii))


def _hermite(knots: Points, at: Points, where: Points) -> npt.NDArray[np.float64]:
    """Return the cubic curve through knots whose slope at a knot joins its two neighbours.

    Source:
        Catmull-Rom spline with chord-length parameters, any textbook on curves.
    """
    slope = np.empty_like(knots)
    slope[1:-1] = (knots[2:] - knots[:-2]) / (at[2:] - at[:-2])[:, None]
    slope[0] = (knots[1] - knots[0]) / (at[1] - at[0])
    slope[-1] = (knots[-1] - knots[-2]) / (at[-1] - at[-2])
    left = np.clip(np.searchsorted(at, where, side="right") - 1, 0, len(at) - 2)
    length = (at[left + 1] - at[left])[:, None]
    t = (where - at[left])[:, None] / length
    start = (1 + 2 * t) * (1 - t) ** 2 * knots[left] + t * (1 - t) ** 2 * length * slope[left]
    end = t * t * (3 - 2 * t) * knots[left + 1] + t * t * (t - 1) * length * slope[left + 1]
    return start + end


@dataclass(frozen=True, slots=True)
class Tube:
    """A rasterised path.

    Attributes:
        box: Voxels that the arrays cover.
        distance_mm: Signed distance to the tube's surface, 1000 where far, shape of the box.
        nearest: Index of the nearest path point, shape of the box; 0 where far.
    """

    box: Box
    distance_mm: Field
    nearest: npt.NDArray[np.int16]


def rasterise(
    canvas: Canvas, path: Path, *, margin_mm: float = 4.0, squash: float = 1.0
) -> Tube | None:
    """Return the distance field of a tube, or None when it lies outside the grid.

    Works piece by piece in small boxes, since a gut of 2 m has a bounding box of half a body.

    Args:
        canvas: Grid to draw on; not changed.
        path: Centre line in anatomy space.
        margin_mm: How far outside the surface distances are wanted.
        squash: Height over width of the cross-section, along the front-back axis.
    """
    points = canvas.pose.to_scanner(path.points_mm)
    reach = path.radii_mm.max() + margin_mm
    box = canvas.scanner_box(points.min(axis=0) - reach, points.max(axis=0) + reach)
    if box is None:
        return None
    shape = tuple(part.stop - part.start for part in box)
    tube = Tube(box, np.full(shape, 1000, np.float32), np.zeros(shape, np.int16))
    first, stop = _piece_bounds(canvas, points, path.radii_mm + margin_mm)
    for index in np.flatnonzero((first < stop).all(axis=1)).tolist():
        piece = tuple(slice(a, b) for a, b in zip(first[index], stop[index], strict=True))
        ends = np.concatenate([points[index : index + 2].T, [path.radii_mm[index : index + 2]]])
        _add_piece_in_place(canvas, tube, (piece[0], piece[1], piece[2]), (ends, squash, index))
    return tube


def _piece_bounds(
    canvas: Canvas, points: Points, reach_mm: Points
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return first and end voxel of the box of every piece of a path, shape (N - 1, 3) each."""
    reach = np.maximum(reach_mm[1:], reach_mm[:-1])[:, None]
    origin = np.array([axis[0] for axis in canvas.axes_mm])
    low = (np.minimum(points[1:], points[:-1]) - reach - origin) / canvas.spacing_mm
    high = (np.maximum(points[1:], points[:-1]) + reach - origin) / canvas.spacing_mm
    first = np.maximum(np.floor(low).astype(np.intp), 0)
    return first, np.minimum(np.ceil(high).astype(np.intp) + 1, canvas.shape)


def _add_piece_in_place(
    canvas: Canvas, tube: Tube, piece: Box, what: tuple[Points, float, int]
) -> None:
    """Lower the tube's distances by one straight piece.

    Args:
        canvas: Grid.
        tube: Changed in place.
        piece: Voxels to touch.
        what: Both ends as columns of x, y, z, radius, shape (4, 2); squash; index of the piece.
    """
    ends, squash, index = what
    start, step = ends[:, 0], (ends[:, 1] - ends[:, 0]).astype(np.float32)
    offsets = [
        axis[part] - np.float32(origin)
        for axis, part, origin in zip(canvas.axes_mm, piece, start[:3], strict=True)
    ]
    i, j, k = offsets[0][:, None, None], offsets[1][:, None], offsets[2]
    a = step[:3] / np.float32(max(float(step[:3] @ step[:3]), 1e-6))
    t = a[0] * i + a[1] * j + a[2] * k
    np.clip(t, 0, 1, out=t)
    square = (i - t * step[0]) ** 2
    square += ((j - t * step[1]) * np.float32(1 / squash)) ** 2
    square += (k - t * step[2]) ** 2
    distance = np.sqrt(square, out=square)
    distance -= t * step[3] + np.float32(start[3])
    local = tuple(
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(piece, tube.box, strict=True)
    )
    target = tube.distance_mm[local]
    closer = distance < target
    np.copyto(target, distance, where=closer)
    np.copyto(tube.nearest[local], index + (t > 0.5), where=closer, casting="same_kind")
