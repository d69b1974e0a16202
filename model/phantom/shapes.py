"""Implicit shapes: signed distances in mm, negative inside, and paths that tubes follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import CubicSpline

from model.phantom.canvas import Box, Canvas
from model.phantom.smooth import F32

Points = npt.NDArray[np.floating]


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
    axes: npt.NDArray[np.float64] | None = None

    def box(self, canvas: Canvas, margin_mm: float = 0.0) -> Box | None:
        """Return the voxels that the ellipsoid may touch, or None when out of the grid."""
        half = np.array(self.radii_mm)
        if self.axes is not None:
            half = np.sqrt(((self.axes * half[:, None]) ** 2).sum(axis=0))
        return canvas.anatomy_box(np.array(self.center_mm), half + margin_mm)

    def distance(self, canvas: Canvas, box: Box) -> F32:
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
        inner = np.zeros(parts[0].shape, np.float32)
        slope = np.full(parts[0].shape, 1e-6, np.float32)
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


def smooth_max(first: F32, second: F32, width_mm: float) -> F32:
    """Return the maximum of two distances with a rounded edge: a smooth intersection.

    Source:
        Quadratic polynomial smooth minimum (I. Quilez), mirrored.
    """
    h = np.maximum(np.float32(width_mm) - np.abs(first - second), 0)
    return np.maximum(first, second) + h * h * np.float32(0.25 / width_mm)


def smooth_min(first: F32, second: F32, width_mm: float) -> F32:
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


def spline_path(knots_mm: npt.ArrayLike, radii_mm: npt.ArrayLike, *, step_mm: float = 6.0) -> Path:
    """Return a smooth path through knots, sampled about every ``step_mm``.

    Args:
        knots_mm: Points to pass through, shape (M, 3), M >= 2.
        radii_mm: One radius, or one for each knot, shape (M,).
    """
    knots = np.asarray(knots_mm, float)
    radii = np.broadcast_to(np.asarray(radii_mm, float), len(knots))
    chord = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    count = max(2, int(np.ceil(chord[-1] / step_mm)) + 1)
    where = np.linspace(0, chord[-1], count)
    points = CubicSpline(chord, knots)(where) if len(knots) > 2 else _straight(knots, count)
    return Path(points, np.interp(where, chord, radii))


def _straight(knots: Points, count: int) -> npt.NDArray[np.float64]:
    return np.linspace(knots[0], knots[1], count)


@dataclass(frozen=True, slots=True)
class Tube:
    """A rasterised path.

    Attributes:
        box: Voxels that the arrays cover.
        distance_mm: Signed distance to the tube's surface, 1000 where far, shape of the box.
        nearest: Index of the nearest path point, shape of the box; 0 where far.
    """

    box: Box
    distance_mm: F32
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
    for index in range(len(points) - 1):
        ends = points[index : index + 2]
        _add_piece_in_place(
            canvas, tube, ends, path.radii_mm[index : index + 2], index, (margin_mm, squash)
        )
    return tube


def _add_piece_in_place(
    canvas: Canvas,
    tube: Tube,
    ends: Points,
    radii: Points,
    index: int,
    margin_squash: tuple[float, float],
) -> None:
    margin, squash = margin_squash
    reach = radii.max() + margin
    piece = canvas.scanner_box(ends.min(axis=0) - reach, ends.max(axis=0) + reach)
    if piece is None:
        return
    start, along = ends[0], ends[1] - ends[0]
    offsets = [
        (axis[part] - np.float32(origin))
        for axis, part, origin in zip(canvas.axes_mm, piece, start, strict=True)
    ]
    i, j, k = offsets[0][:, None, None], offsets[1][:, None], offsets[2]
    length2 = float(along @ along) or 1.0
    a = (along / length2).astype(np.float32)
    t = np.clip(a[0] * i + a[1] * j + a[2] * k, 0, 1)
    u = along.astype(np.float32)
    square = (i - t * u[0]) ** 2 + ((j - t * u[1]) / np.float32(squash)) ** 2 + (k - t * u[2]) ** 2
    distance = np.sqrt(square) - (np.float32(radii[0]) + t * np.float32(radii[1] - radii[0]))
    local = tuple(
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(piece, tube.box, strict=True)
    )
    target = tube.distance_mm[local]
    closer = distance < target
    target[closer] = distance[closer]
    tube.nearest[local][closer] = index + (t[closer] > 0.5)
