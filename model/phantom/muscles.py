"""Muscles inside the trunk and the fat between muscles."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from model.phantom.anatomy import Tissue
from model.phantom.canvas import Canvas
from model.phantom.patient import Patient
from model.phantom.shapes import Ellipsoid, rasterise, smooth_max, spline_path
from model.phantom.skeleton import LEFT, RIGHT, wing_outline, wing_surface
from model.phantom.tissue import Radiodensity
from model.phantom.torso import Torso

Course: TypeAlias = tuple[tuple[tuple[float, float, float], ...], tuple[float, ...]]

_GIRDLE: tuple[tuple[Course, ...], ...] = (
    # Each muscle: courses on the right side with radii. Later muscles push earlier ones in.
    ((((22, -34, -142), (20, -48, -168), (13, -62, -215)), (13, 14, 7)),),  # multifidus
    ((((34, -38, -222), (70, -26, -245), (118, -2, -278)), (8, 11, 7)),),  # piriformis
    ((((44, 36, -296), (76, 10, -296), (118, -2, -294)), (10, 13, 8)),),  # obturator externus
    ((((110, 28, -200), (124, 16, -240), (142, 2, -276)), (24, 22, 10)),),  # gluteus minimus
    (
        (((26, 66, -290), (58, 48, -306), (92, 30, -335)), (11, 16, 16)),
        (((18, 50, -318), (36, 40, -330), (60, 30, -350)), (12, 20, 24)),
        (((40, 10, -326), (60, 4, -336), (84, 6, -350)), (14, 24, 24)),
    ),  # pectineus and adductors
    (
        (((148, 16, -300), (148, 24, -350)), (20, 26)),
        (((124, 44, -300), (128, 46, -350)), (16, 24)),
    ),  # vasti
    ((((106, 74, -222), (110, 74, -275), (114, 70, -340)), (10, 17, 22)),),  # rectus femoris
    (
        (((120, 80, -194), (138, 56, -262), (144, 44, -340)), (10, 13, 10)),
        (((128, 66, -205), (146, 36, -262), (154, 20, -330)), (8, 10, 8)),
    ),  # tensor of the fascia
    ((((114, 88, -196), (96, 98, -262), (74, 92, -340)), (8, 10, 10)),),  # sartorius
    (
        (((46, -50, -182), (52, -54, -235), (64, -44, -290), (76, -30, -345)), (10, 22, 27, 24)),
        (((62, -46, -186), (84, -44, -240), (100, -36, -290), (114, -22, -345)), (10, 25, 28, 24)),
        (((78, -36, -196), (108, -26, -240), (128, -14, -285), (140, 2, -340)), (9, 19, 21, 14)),
    ),  # gluteus maximus
)
"""Muscles of hip, buttock and upper thigh."""


def paint_muscles(
    canvas: Canvas,
    torso: Torso,
    patient: Patient,
    density: Radiodensity,
    rng: np.random.Generator,
) -> None:
    """Paint psoas, iliacus and diaphragm, and fat planes between the muscles of the wall."""
    _fat_planes(canvas, torso, patient, density, rng)
    for side in (RIGHT, LEFT):
        for courses in _GIRDLE:
            _belly(canvas, density, courses, side)
        _gluteus_medius(canvas, density, side)
        _iliacus(canvas, density, side)
        _psoas(canvas, density, side, bulk=1.0 if patient.is_male else 0.88)
        _fat_pads(canvas, density, side)
    _obturator_internus(canvas, torso, density)
    _diaphragm(canvas, torso, density)


def _fat_planes(
    canvas: Canvas,
    torso: Torso,
    patient: Patient,
    density: Radiodensity,
    rng: np.random.Generator,
) -> None:
    """Paint thin sheets of fat: between the flat muscles, the gluteal muscles, and at random."""
    whole = (slice(None), slice(None), slice(None))
    depth = torso.wall_depth
    flank = (np.abs(canvas.x) > 80) & (canvas.y > -20) & (torso.height > -125)
    sheet = np.minimum(np.abs(depth - 5.5), np.abs(depth - 11.5)) - np.float32(0.35)
    sheet = np.where(flank, sheet, np.float32(9))
    ridge = np.abs(canvas.noise(whole, 32.0, rng)) * 22 - np.float32(0.3 + 1.4 * patient.fatness)
    ridge += np.float32(9) * (depth < 14)
    thin = np.minimum(sheet, ridge)
    canvas.paint(whole, thin, hu=density.fat + 15, tissue=None, over=(Tissue.MUSCLE,))


def _belly(canvas: Canvas, density: Radiodensity, courses: tuple[Course, ...], side: int) -> None:
    """Paint one muscle in the fat of the hip, with a rim of fat against its neighbours."""
    over = (Tissue.MUSCLE, Tissue.FAT)
    mirror = np.array([side, 1, 1])
    paths = [spline_path(np.array(knots) * mirror, r, step_mm=12.0) for knots, r in courses]
    tubes = [tube for path in paths if (tube := rasterise(canvas, path)) is not None]
    for tube in tubes:
        canvas.paint(tube.box, tube.distance_mm - 1.3, hu=density.fat, tissue=Tissue.FAT, over=over)
    for tube in tubes:
        canvas.paint(tube.box, tube.distance_mm, hu=density.muscle, tissue=Tissue.MUSCLE, over=over)


def _obturator_internus(canvas: Canvas, torso: Torso, density: Radiodensity) -> None:
    """Paint the muscle that lines the side walls of the true pelvis."""
    low = np.flatnonzero(torso.height < -205)
    if low.size == 0:
        return
    box = (slice(None), slice(None), slice(int(low.min()), int(low.max()) + 1))
    x, y, _ = canvas.local(box)
    thick = np.clip((np.abs(x) - 28) * np.float32(0.4), 0, 11)
    sheet = np.maximum(torso.cavity_depth[box] - thick, -y - np.float32(20))
    canvas.paint(box, sheet, hu=density.muscle, tissue=Tissue.MUSCLE, over=(Tissue.VISCERAL_FAT,))


def _gluteus_medius(canvas: Canvas, density: Radiodensity, side: int) -> None:
    box = canvas.anatomy_box(np.array([side * 105, 22, -185.0]), np.array([62, 82, 74.0]))
    if box is None:
        return
    x, y, z = canvas.local(box)
    outward = (side * x - wing_surface(y, z)) * np.float32(0.74)
    rim = wing_outline(y, z + 4)
    bulk = np.float32(30) - 0.006 * (y - 10) ** 2
    sheet = np.abs(outward - bulk / 2 - 2) - bulk / 2
    distance = smooth_max(sheet.astype(np.float32), rim + 2, 16.0)
    canvas.paint(box, distance, hu=density.muscle, tissue=Tissue.MUSCLE, over=(Tissue.FAT,))
    plane = np.maximum(np.abs(outward - 15) - np.float32(0.6), distance + 3)
    canvas.paint(box, plane, hu=density.fat, tissue=None, over=(Tissue.MUSCLE,))


def _iliacus(canvas: Canvas, density: Radiodensity, side: int) -> None:
    box = canvas.anatomy_box(np.array([side * 80, 22, -180.0]), np.array([55, 82, 68.0]))
    if box is None:
        return
    x, y, z = canvas.local(box)
    inward = (wing_surface(y, z) - side * x) * np.float32(0.74)
    sheet = np.abs(inward - 7) - np.float32(9)
    distance = np.maximum(sheet, wing_outline(y, z) + 4)
    canvas.paint(
        box, distance, hu=density.muscle, tissue=Tissue.MUSCLE, over=(Tissue.VISCERAL_FAT,)
    )


def _psoas(canvas: Canvas, density: Radiodensity, side: int, bulk: float) -> None:
    s = side
    path = spline_path(
        [
            (s * 24, 14, 16),
            (s * 33, 20, -36),
            (s * 41, 27, -85),
            (s * 49, 36, -125),
            (s * 62, 58, -178),
            (s * 78, 74, -222),
            (s * 92, 66, -256),
            (s * 106, 34, -300),
        ],
        np.array([6, 13, 18, 20, 18, 16, 15, 14]) * bulk,
    )
    tube = rasterise(canvas, path, squash=1.1)
    if tube is not None:
        canvas.paint(
            tube.box,
            tube.distance_mm,
            hu=density.muscle,
            tissue=Tissue.MUSCLE,
            over=(Tissue.VISCERAL_FAT, Tissue.MUSCLE, Tissue.FAT),
        )


def _fat_pads(canvas: Canvas, density: Radiodensity, side: int) -> None:
    """Paint the fat of the groin and beside the anal canal."""
    pads = (
        Ellipsoid((side * 66.0, 98.0, -268.0), (24, 20, 46)),
        Ellipsoid((side * 24.0, -32.0, -300.0), (15, 24, 26)),
        Ellipsoid((side * 30.0, 92.0, -300.0), (26, 12, 16)),
    )
    for pad in pads:
        box = pad.box(canvas)
        if box is not None:
            canvas.paint(
                box,
                pad.distance(canvas, box),
                hu=density.fat,
                tissue=Tissue.FAT,
                over=(Tissue.MUSCLE,),
            )


def _diaphragm(canvas: Canvas, torso: Torso, density: Radiodensity) -> None:
    high = np.flatnonzero(torso.height > -20)
    if high.size == 0:
        return
    box = (slice(None), slice(None), slice(int(high.min()), int(high.max()) + 1))
    sheet = np.abs(torso.below_dome[box] - 1) - np.float32(1.6)
    sheet = np.maximum(sheet, -torso.cavity_depth[box])
    canvas.paint(
        box, sheet, hu=density.muscle, tissue=Tissue.DIAPHRAGM, over=(Tissue.VISCERAL_FAT,)
    )
    for side, top, low in ((RIGHT, 60, -60), (LEFT, 60, -45)):
        x = 7 if side == RIGHT else -24
        path = spline_path([(x, 40, top), (x + 2, 42, 10), (x * 0.8, 44, low)], [6, 6, 3])
        tube = rasterise(canvas, path)
        if tube is not None:
            canvas.paint(
                tube.box,
                tube.distance_mm,
                hu=density.muscle,
                tissue=Tissue.DIAPHRAGM,
                over=(Tissue.VISCERAL_FAT, Tissue.DIAPHRAGM),
            )
