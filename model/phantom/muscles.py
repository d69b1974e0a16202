"""Muscles inside the trunk and the fat between muscles."""

from __future__ import annotations

import numpy as np

from model.phantom.anatomy import Tissue
from model.phantom.canvas import Canvas
from model.phantom.patient import Patient
from model.phantom.shapes import Ellipsoid, rasterise, spline_path
from model.phantom.skeleton import LEFT, RIGHT, wing_outline, wing_surface
from model.phantom.tissue import Radiodensity
from model.phantom.torso import Torso


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
        _iliacus(canvas, density, side)
        _psoas(canvas, density, side, bulk=1.0 if patient.is_male else 0.88)
        _fat_pads(canvas, density, side)
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
    low = np.interp(torso.height, [-170, -130], [1, 0]).astype(np.float32)
    flank = (np.abs(canvas.x) > 80) & (canvas.y > -20)
    sheet = np.minimum(np.abs(depth - 5.5), np.abs(depth - 11.5)) - np.float32(0.35)
    sheet = np.where(flank, sheet, np.float32(9)) + low * 9
    wave = canvas.noise(whole, 45.0, rng) * 4
    gluteal = np.minimum(np.abs(depth - 24 + wave), np.abs(depth - 46 + wave)) - np.float32(1.1)
    gluteal += (1 - low) * 9
    ridge = np.abs(canvas.noise(whole, 32.0, rng)) * 22 - np.float32(0.4 + 1.6 * patient.fatness)
    ridge += np.float32(9) * ((depth < 14) & (torso.height > -150))
    thin = np.minimum(np.minimum(sheet, gluteal), ridge)
    canvas.paint(whole, thin, hu=density.fat + 15, tissue=None, over=(Tissue.MUSCLE,))


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
