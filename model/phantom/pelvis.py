"""Pelvic organs: bladder, rectum, prostate with seminal vesicles, or uterus."""

from __future__ import annotations

import numpy as np

from model.phantom.anatomy import Tissue
from model.phantom.gut import Content, paint_gut
from model.phantom.scene import Scene
from model.phantom.shapes import Ellipsoid, rotation, smooth_max, spline_path

_ROOM = (Tissue.VISCERAL_FAT, Tissue.FLUID, Tissue.FAT, Tissue.MUSCLE)


def paint_pelvis(scene: Scene) -> None:
    """Paint the pelvic organs from front to back."""
    if scene.torso.height.min() > -150:
        return
    if scene.patient.is_male:
        _prostate(scene)
    _bladder(scene)
    _rectum(scene)
    if not scene.patient.is_male:
        _uterus(scene)


def _bladder(scene: Scene) -> None:
    rng = scene.rng
    volume = float(np.clip(np.exp(rng.normal(np.log(170), 0.6)), 45, 560))
    shape = np.array([1.15, 0.95, 0.9]) * rng.normal(1, 0.06, 3)
    radii = shape * (volume * 1000 / (4.19 * shape.prod())) ** (1 / 3)
    center = scene.jitter((0.0, 54.0, -268.0 + radii[2] * 0.95), 2.5)
    found = scene.blob(Ellipsoid(tuple(center), tuple(radii)), rough_mm=1.8, knot_mm=30)
    if found is None:
        return
    box, distance = found
    distance = smooth_max(distance, 2 - scene.torso.cavity_depth[box], 6.0)
    scene.fill(box, distance, hu=scene.density.muscle - 8, tissue=Tissue.BLADDER)
    inner = distance + float(rng.uniform(2.0, 4.0))
    inside = (Tissue.BLADDER,)
    scene.canvas.paint(box, inner, hu=scene.density.urine, tissue=None, over=inside)


def _prostate(scene: Scene) -> None:
    rng = scene.rng
    volume = float(np.clip(np.exp(rng.normal(np.log(32), 0.38)), 15, 85))
    shape = np.array([1.12, 0.84, 1.0])
    radii = shape * (volume * 1000 / (4.19 * shape.prod())) ** (1 / 3)
    center = scene.jitter((0.0, 36.0, -272.0), 1.5) - [0, 0, radii[2] * 0.8]
    found = scene.blob(Ellipsoid(tuple(center), tuple(radii)), rough_mm=0.8, knot_mm=14)
    if found is not None:
        scene.fill(*found, hu=scene.density.prostate, tissue=Tissue.PROSTATE, over=_ROOM)
    for s in (1, -1):
        turn = rotation(about_y=s * -25)
        vesicle = Ellipsoid((s * 15.0, 17.0, -258.0), (17, 5.5, 7), turn)
        found = scene.blob(vesicle, rough_mm=0.8, knot_mm=10)
        if found is not None:
            scene.fill(*found, hu=25.0, tissue=Tissue.SEMINAL)


def _uterus(scene: Scene) -> None:
    rng = scene.rng
    tilt = float(rng.normal(-35, 15))
    side = float(rng.normal(0, 7))
    size = float(rng.uniform(0.75, 1.15))
    body = Ellipsoid(
        (side, 34.0, -226.0), (24 * size, 20 * size, 33 * size), rotation(about_x=tilt)
    )
    found = scene.blob(body, rough_mm=1.6, knot_mm=20)
    if found is not None:
        scene.fill(*found, hu=scene.density.uterus, tissue=Tissue.UTERUS)
    vagina = spline_path([(side, 20, -250), (0, 16, -275), (0, 28, -310)], [11, 9, 8])
    scene.tube(vagina, hu=scene.density.uterus - 20, tissue=Tissue.UTERUS, over=_ROOM, squash=0.6)
    for s in (1, -1):
        radius = float(rng.uniform(8, 14))
        center = scene.jitter((s * 42.0, 30.0, -218.0), 5.0)
        ovary = Ellipsoid(tuple(center), (radius, radius * 0.8, radius))
        found = scene.blob(ovary, rough_mm=0.8, knot_mm=12)
        if found is not None:
            scene.fill(*found, hu=float(rng.uniform(15, 55)), tissue=Tissue.UTERUS)


def _rectum(scene: Scene) -> None:
    rng = scene.rng
    wide = float(rng.uniform(12, 19))
    knots = scene.jitter(
        [(-4, -4, -206), (4, -22, -228), (-2, -26, -252), (0, -14, -278), (0, -6, -294)], 2.0
    )
    path = spline_path([*knots, (0, -12, -318)], [wide * 0.85, wide, wide * 1.1, wide * 0.9, 10, 8])
    content = Content(
        hu=scene.density.faeces,
        gas=float(rng.uniform(0.2, 0.8)),
        mottle_hu=40.0,
    )
    paint_gut(scene, path, content, tissue=Tissue.RECTUM, over=_ROOM)
