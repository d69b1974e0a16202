"""Bones: spine with posterior elements, ribs, pelvis and femora."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.phantom.anatomy import Tissue
from model.phantom.canvas import Box, Canvas
from model.phantom.shapes import Ellipsoid, rasterise, smooth_max, smooth_min, spline_path
from model.phantom.smooth import Field
from model.phantom.tissue import Radiodensity
from model.phantom.torso import Section, Torso

_VERTEBRA_Z = np.array([-183, -146, -110, -73, -36, 0, 34, 64, 92, 118, 143, 168, 192, 216.0])
"""Heights of the vertebral bodies S1, L5 .. L1, T12 .. T5."""
_SPINE_Z = np.array([-183, -146, -110, -73, -36, 0, 34, 64, 92, 120, 170, 220.0])
_SPINE_Y = np.array([12, 21, 26, 26, 23, 18, 13, 8, 4, 1, -3, -2.0])

_SACRUM_Z = np.array([-162, -180, -200, -220, -245, -262, -285.0])
_SACRUM_Y = np.array([8, -4, -20, -36, -50, -54, -46.0])
_SACRUM_HALF_WIDTH = np.array([46, 54, 50, 38, 22, 10, 5.0])
_SACRUM_HALF_DEPTH = np.array([17, 19, 16, 12, 8, 6, 4.0])

RIGHT, LEFT = 1, -1


def spine_y(z: np.ndarray) -> np.ndarray:
    """Return the front-back position of the vertebral bodies' centres at heights z."""
    return np.interp(z, _SPINE_Z, _SPINE_Y)


def paint_skeleton(canvas: Canvas, torso: Torso, density: Radiodensity) -> None:
    """Paint all bones, in place; ribs first, since the chest wall lies outermost."""
    _ribs(canvas, torso, density)
    _spine(canvas, density)
    _sacrum(canvas, density)
    for side in (RIGHT, LEFT):
        _ilium(canvas, density, side)
        _pubis_and_ischium(canvas, density, side)
        _acetabulum(canvas, density, side)
        _femur(canvas, density, side)


def bone_hu(distance: Field, density: Radiodensity, shell_mm: float = 2.2) -> Field:
    """Return marrow inside and cortical bone near the surface."""
    near = np.clip(1 + distance / np.float32(2 * shell_mm), 0, 1)
    return np.float32(density.marrow) + np.float32(density.cortical - density.marrow) * near


def _bone(
    canvas: Canvas, box: Box, distance: Field, density: Radiodensity, shell_mm: float = 2.2
) -> None:
    canvas.paint(box, distance, hu=bone_hu(distance, density, shell_mm), tissue=Tissue.BONE)


def _spine(canvas: Canvas, density: Radiodensity) -> None:
    box = canvas.anatomy_box(np.array([0, -10, 30.0]), np.array([48, 62, 205.0]))
    if box is None:
        return
    x, y, z = canvas.local(box)
    level = np.interp(z, _VERTEBRA_Z, np.arange(len(_VERTEBRA_Z))).astype(np.float32)
    pitch = np.interp(z, [-183, 0, 34, 220], [36.5, 35, 31, 24]).astype(np.float32)
    phase = level - np.round(level)
    size = np.interp(z, [-170, 0, 200], [1.08, 1.0, 0.78]).astype(np.float32)
    x = np.abs(x) / size
    y = (y - spine_y(z).astype(np.float32)) / size
    high = np.abs(phase) * pitch - pitch * np.float32(0.37)
    waist = np.float32(2.2) * (1 - (phase / 0.4) ** 2)
    body = np.sqrt((x / 1.38) ** 2 + y * y) - (np.float32(17.2) - waist)
    sacral = z < -163
    disc = np.maximum(body, np.abs(phase) * 0 - 1)
    disc[sacral] = 1000
    canvas.paint(box, disc, hu=85.0, tissue=Tissue.CARTILAGE)
    vertebra = np.maximum(body, high)
    arch = _arch(x, y, phase * pitch)
    vertebra = np.minimum(vertebra, arch)
    vertebra[sacral] = 1000
    _bone(canvas, box, vertebra, density, 0.9)
    canal = np.sqrt((x / 1.2) ** 2 + (y + 25) ** 2) - np.float32(8.2)
    canal[z < -215] = 1000
    canvas.paint(box, canal, hu=28.0, tissue=Tissue.CANAL)


def _arch(x: Field, y: Field, up: Field) -> Field:
    """Return the distance to lamina, pedicles, spinous, transverse and articular processes."""
    ring = np.abs(np.sqrt((x / 1.15) ** 2 + (y + 25) ** 2) - np.float32(12)) - np.float32(2.8)
    lamina = np.maximum(ring, np.abs(up + 4) - 11)
    lamina = np.maximum(lamina, y + 18)
    pedicle = np.sqrt(((x - 13.5) / 0.8) ** 2 + (up - 5) ** 2) - 6
    pedicle = np.maximum(pedicle, np.abs(y + 18) - 11)
    droop = up + 8 + (y + 48) * np.float32(-0.15)
    spinous = np.maximum(np.maximum(x - 3, np.abs(droop) - 9), np.abs(y + 51) - 17)
    transverse = np.sqrt((y + 23 + x * 0.08) ** 2 + (up - 3) ** 2) - 4
    transverse = np.maximum(transverse, np.abs(x - 26) - 15)
    facet = np.sqrt((x - 17) ** 2 + (y + 29) ** 2) - 6.5
    facet = np.maximum(facet, np.abs(np.abs(up) - 15) - 6)
    result = np.minimum(lamina, pedicle)
    for part in (spinous, transverse, facet):
        result = np.minimum(result, part)
    return result.astype(np.float32)


def _sacrum(canvas: Canvas, density: Radiodensity) -> None:
    box = canvas.anatomy_box(np.array([0, -20, -222.0]), np.array([62, 55, 66.0]))
    if box is None:
        return
    x, y, z = canvas.local(box)
    center, half, depth = (
        np.interp(-z, -_SACRUM_Z, values).astype(np.float32)
        for values in (_SACRUM_Y, _SACRUM_HALF_WIDTH, _SACRUM_HALF_DEPTH)
    )
    u = x / half
    v = (y - center + u * u * 7) / depth
    norm = np.sqrt(np.sqrt(u**4 + v**4))
    distance = (norm - 1) * depth
    tilt = z + np.float32(0.45) * (y - 8)
    distance = np.maximum(distance, np.maximum(tilt + 166, -286 - z) * np.float32(0.9))
    for level in (-192, -212, -230):
        hole = np.sqrt((np.abs(x) - 19) ** 2 + (z - level) ** 2) - 4
        distance = np.maximum(distance, -hole)
    _bone(canvas, box, distance.astype(np.float32), density, 1.6)
    crest = np.maximum(np.abs(x) - 3, np.abs(y - center + depth + 3) - 6)
    crest = np.maximum(crest, np.abs(z + 195) - 35)
    _bone(canvas, box, crest.astype(np.float32), density, 1.6)


def wing_surface(y: Field, z: Field) -> Field:
    """Return the distance of the iliac wing from the midline at (y, z)."""
    forward = y - np.float32(25)
    return (
        np.float32(101)
        + np.where(forward > 0, np.float32(0.27), np.float32(0.88)) * forward
        + np.float32(0.30) * (z + 190)
    )


def wing_outline(y: Field, z: Field) -> Field:
    """Return the distance to the rim of the iliac wing in its own plane, negative inside."""
    crest = np.float32(-118) - np.float32(0.0117) * (y - 15) ** 2
    lower = np.float32(-240) + np.float32(0.0062) * (y - 25) ** 2
    notch = np.float32(-38) + np.clip(-200 - z, 0, 40) * np.float32(0.9) - y
    ends = smooth_max(y - 92, notch, 4.0)
    return smooth_max(smooth_max(z - crest, lower - z, 10.0) * np.float32(0.75), ends, 14.0)


def _ilium(canvas: Canvas, density: Radiodensity, side: int) -> None:
    box = canvas.anatomy_box(np.array([side * 88, 22, -180.0]), np.array([55, 82, 68.0]))
    if box is None:
        return
    x, y, z = canvas.local(box)
    rim = wing_outline(y, z)
    half = 3.6 + 4.0 * np.exp(rim / 9) + 7 * np.exp(-(((z + 242) / 18) ** 2))
    half += 5 * np.exp(-(((y + 38) / 20) ** 2))
    slant = np.float32(0.74)
    plate = np.abs(side * x - wing_surface(y, z)) * slant - np.clip(half, 3, 13)
    _bone(canvas, box, smooth_max(plate, rim, 7.0).astype(np.float32), density, 1.5)


def _strand(
    canvas: Canvas,
    density: Radiodensity,
    knots: Sequence[tuple[float, float, float]],
    radii: Sequence[float],
    *,
    shell_mm: float = 2.0,
) -> None:
    tube = rasterise(canvas, spline_path(knots, radii))
    if tube is not None:
        _bone(canvas, tube.box, tube.distance_mm, density, shell_mm)


def _pubis_and_ischium(canvas: Canvas, density: Radiodensity, side: int) -> None:
    s = side
    _strand(
        canvas,
        density,
        [(s * 80, 52, -252), (s * 50, 74, -270), (s * 24, 76, -282), (s * 10, 70, -290)],
        [11, 8, 8, 10],
    )
    _strand(
        canvas, density, [(s * 9, 68, -296), (s * 22, 44, -314), (s * 44, 16, -330)], [7, 6.5, 7]
    )
    _strand(
        canvas,
        density,
        [(s * 84, -2, -250), (s * 76, -12, -280), (s * 64, -14, -310), (s * 52, 0, -330)],
        [13, 13, 15, 10],
    )


def hip_center(side: int) -> tuple[float, float, float]:
    """Return the centre of a femoral head."""
    return (side * 90.0, 32.0, -262.0)


def _acetabulum(canvas: Canvas, density: Radiodensity, side: int) -> None:
    center = hip_center(side)
    ball = Ellipsoid(center, (36, 36, 36))
    box = ball.box(canvas)
    if box is None:
        return
    x, y, z = canvas.local(box)
    dx, dy, dz = side * x - side * center[0], y - center[1], z - center[2]
    radius = np.sqrt(dx * dx + dy * dy + dz * dz)
    cup = np.abs(radius - 30) - np.float32(4.2)
    opening = dx * np.float32(0.82) - dz * np.float32(0.55) - np.float32(4)
    _bone(canvas, box, np.maximum(cup, opening).astype(np.float32), density, 1.8)
    joint = np.maximum(np.abs(radius - 24.5) - 1.2, opening - 4)
    canvas.paint(box, joint.astype(np.float32), hu=70.0, tissue=Tissue.CARTILAGE)


def _femur(canvas: Canvas, density: Radiodensity, side: int) -> None:
    x0, y0, z0 = hip_center(side)
    s = side
    code = Tissue.FEMUR_RIGHT if side == RIGHT else Tissue.FEMUR_LEFT
    box = canvas.anatomy_box(np.array([s * 112, 24, -300.0]), np.array([52, 40, 66.0]))
    if box is None:
        return
    distance = Ellipsoid((x0, y0, z0), (23.5, 23.5, 23.5)).distance(canvas, box)
    neck = spline_path([(x0, y0, z0), (s * 112, 22, -276), (s * 130, 12, -292)], [14, 13, 15])
    shaft = spline_path(
        [(s * 132, 10, -284), (s * 130, 12, -310), (s * 124, 20, -370)], [15, 17, 14]
    )
    for path in (neck, shaft):
        distance = smooth_min(
            distance, _path_distance(canvas, box, path.points_mm, path.radii_mm), 6
        )
    knob = Ellipsoid((s * 142, 2, -284), (12, 15, 19)).distance(canvas, box)
    distance = smooth_min(distance, knob, 6)
    canvas.paint(box, distance, hu=bone_hu(distance, density, 1.8) + 40, tissue=Tissue.BONE)
    proximal = np.maximum(distance, np.float32(z0 + 23.5 - 50) - canvas.z[box])
    inside = proximal < 0
    canvas.tissue[box][inside] = code


def _path_distance(canvas: Canvas, box: Box, points: np.ndarray, radii: np.ndarray) -> Field:
    """Return the distance to a short path in anatomy space inside a given box."""
    x, y, z = canvas.local(box)
    best = np.full(x.shape, 1000, np.float32)
    for point, radius in zip(points, radii, strict=True):
        p = point.astype(np.float32)
        here = np.sqrt((x - p[0]) ** 2 + (y - p[1]) ** 2 + (z - p[2]) ** 2) - np.float32(radius)
        best = np.minimum(best, here)
    return best


def _ribs(canvas: Canvas, torso: Torso, density: Radiodensity) -> None:
    plans = [  # height of the head, angle where the bone ends, drop from back to front
        (192, 1.15, 95),
        (168, 1.1, 95),
        (143, 1.0, 95),
        (118, 0.8, 92),
        (92, 0.5, 85),
        (64, -0.1, 66),
        (34, -0.7, 40),
    ]
    for side in (RIGHT, LEFT):
        for head_z, end, drop in plans:
            points = _rib_points(torso.section, (head_z, end, drop), side)
            _strand(canvas, density, points.tolist(), [4.6] * len(points), shell_mm=2.0)
        _costal_cartilage(canvas, torso.section, side)
    z = np.array([230.0, 150, 95, 72])
    center = torso.section.outline(np.full(4, np.pi / 2), z, 7.0)
    tube = rasterise(canvas, spline_path(center, [9, 9, 7, 3]), squash=0.7)
    if tube is not None:
        _bone(canvas, tube.box, tube.distance_mm, density)


def _rib_points(section: Section, plan: tuple[float, float, float], side: int) -> np.ndarray:
    head_z, end, drop = plan
    angle = np.linspace(-1.22, end, 14)
    fraction = (angle + 1.22) / 2.37
    z = head_z + 6 - drop * np.sin(np.clip(fraction, 0, 1) * np.pi / 2) ** 1.1
    arc = section.outline(angle, z, 6.5)
    y = float(spine_y(np.array(head_z)))
    start = np.array([[15, y - 14, head_z + 6], [34, y - 30, head_z + 6.0]])
    points = np.concatenate([start, arc])
    return points * np.array([side, 1, 1])


def _costal_cartilage(canvas: Canvas, section: Section, side: int) -> None:
    angle = np.array([0.5, 0.75, 1.0, 1.2, 1.4])
    z = np.array([10, 8, 28, 52, 76.0])
    arc = section.outline(angle, z, 7.0) * np.array([side, 1, 1])
    tube = rasterise(canvas, spline_path(arc, 5.5))
    if tube is not None:
        canvas.paint(tube.box, tube.distance_mm, hu=115.0, tissue=Tissue.CARTILAGE)
