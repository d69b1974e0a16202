"""Large vessels of the trunk: aorta, caval, portal and splenic veins, and their branches."""

from __future__ import annotations

import numpy as np

from model.phantom.anatomy import Tissue
from model.phantom.scene import Scene
from model.phantom.shapes import Ellipsoid, spline_path

_FAT = (Tissue.VISCERAL_FAT, Tissue.MEDIASTINUM, Tissue.FAT, Tissue.FLUID, Tissue.RENAL_FAT)
_DEEP = (*_FAT, Tissue.DIAPHRAGM, Tissue.MUSCLE)


def paint_great_vessels(scene: Scene) -> None:
    """Paint aorta, caval vein, their branches to the pelvis, and the renal vessels."""
    _aorta(scene)
    _cava(scene)
    _renal_vessels(scene)


def _aorta(scene: Scene) -> None:
    rng, hu = scene.rng, scene.density.aorta
    r = float(np.clip(rng.normal(10.5, 1.3), 8, 14))
    bend = rng.normal(0, 4)
    trunk = spline_path(
        [
            (-24, 16, 230),
            (-22, 20, 150),
            (-16, 30, 100),
            (-9, 42, 50),
            (-8, 47, 0),
            (-8 + bend, 54, -60),
            (-3, 54, -108),
        ],
        [r * 1.15, r * 1.12, r * 1.08, r, r * 0.95, r * 0.85, r * 0.8],
    )
    scene.tube(trunk, hu=hu, tissue=Tissue.AORTA, over=_DEEP)
    for s in (1, -1):
        iliac = spline_path(
            [
                (-3 + s * 3, 55, -106),
                (s * 24, 53, -140),
                (s * 46, 52, -175),
                (s * 58, 74, -215),
                (s * 62, 98, -255),
                (s * 68, 96, -310),
            ],
            [6.5, 6, 5.5, 5, 4.8, 4.5],
        )
        scene.tube(iliac, hu=hu, tissue=Tissue.VESSEL, over=_DEEP)
        internal = spline_path([(s * 42, 52, -168), (s * 48, 22, -195), (s * 48, 0, -225)], 3.5)
        scene.tube(internal, hu=hu, tissue=Tissue.VESSEL, over=_DEEP)


def _cava(scene: Scene) -> None:
    rng, hu = scene.rng, scene.density.cava
    r = float(np.clip(rng.normal(10.8, 1.2), 8, 14))
    trunk = spline_path(
        scene.jitter(
            [
                (14, 48, -128),
                (19, 52, -80),
                (20, 54, -30),
                (22, 52, 20),
                (24, 50, 60),
                (20, 62, 98),
                (12, 74, 125),
            ],
            1.5,
        ),
        [r * 0.95, r, r, r * 1.1, r * 1.15, r * 1.15, r * 1.2],
    )
    squash = float(rng.uniform(0.7, 0.95))
    scene.tube(trunk, hu=hu, tissue=Tissue.POSTCAVA, over=_DEEP, squash=squash)
    for s in (1, -1):
        iliac = spline_path(
            [
                (14, 46, -126),
                (8 + s * 24, 44, -152),
                (s * 50, 44, -182),
                (s * 56, 66, -215),
                (s * 54, 90, -252),
                (s * 58, 86, -310),
            ],
            [7.5, 7, 6.5, 6, 6, 5.5],
        )
        scene.tube(iliac, hu=hu - 8, tissue=Tissue.VESSEL, over=_DEEP)


def _renal_vessels(scene: Scene) -> None:
    for name, s, z in (("kidney_right", 1, -30), ("kidney_left", -1, -16)):
        if name in scene.patient.missing:
            continue
        root = (22, 52, z + 8) if s > 0 else (14, 58, z + 6)
        bridge = [root] if s > 0 else [root, (-8, 61, z + 6), (-28, 50, z + 4)]
        vein = spline_path([*bridge, (s * 38, 40, z + 2), (s * 55, 24, z)], 4.8)
        scene.tube(vein, hu=scene.density.cava, tissue=Tissue.VESSEL)
        artery = spline_path([(-8, 46, z + 8), (s * 25, 36, z + 4), (s * 54, 18, z + 3)], 2.6)
        scene.tube(artery, hu=scene.density.aorta, tissue=Tissue.VESSEL)


def paint_visceral_vessels(scene: Scene) -> None:
    """Paint celiac trunk, mesenteric vessels, portal and splenic vein."""
    rng, density = scene.rng, scene.density
    shift = float(rng.normal(0, 3))
    r = float(rng.uniform(3.0, 3.9))
    tip = (-6.0, 78.0, 20.0 + shift)
    trunk = spline_path([(-8, 48, 15 + shift), (-7, 62, 19 + shift), tip], [r, r, r * 0.95])
    scene.tube(trunk, hu=density.aorta, tissue=Tissue.CELIAC)
    hepatic = spline_path([tip, (8, 82, 17), (26, 80, 16), (42, 78, 24)], [r * 0.75, 2.4, 2.2, 2])
    splenic = spline_path(
        [tip, (-25, 74, 22), (-45, 56, 28), (-66, 40, 22), (-84, 28, 26)],
        [r * 0.75, 2.5, 2.5, 2.4, 2],
    )
    for path in (hepatic, splenic):
        tube = scene.tube(path, hu=density.aorta, tissue=Tissue.VESSEL)
        if tube is not None:
            start = (tube.distance_mm < 0) & (tube.nearest <= 1)
            codes = scene.canvas.tissue[tube.box]
            codes[start & (codes == Tissue.VESSEL)] = Tissue.CELIAC
    _mesenteric_stems(scene)
    _portal(scene)


def _mesenteric_stems(scene: Scene) -> None:
    artery = spline_path(
        [(-7, 48, 2), (-5, 66, -8), (-2, 72, -40), (6, 74, -90), (18, 70, -130)],
        [3.6, 3.4, 3.2, 2.6, 2.0],
    )
    scene.tube(artery, hu=scene.density.aorta, tissue=Tissue.VESSEL)
    vein = spline_path([(9, 76, -22), (12, 76, -50), (16, 76, -90), (26, 72, -130)], [5, 5, 4, 3])
    scene.tube(vein, hu=scene.density.portal - 8, tissue=Tissue.VESSEL)


def _portal(scene: Scene) -> None:
    rng, hu = scene.rng, scene.density.portal
    r = float(np.clip(rng.normal(6.2, 0.7), 4.8, 8))
    confluence = scene.jitter((8.0, 74.0, -4.0), 2.0)
    stem = spline_path(
        [(10, 76, -24), confluence, (24, 72, 8), (40, 74, 22), (54, 76, 32)],
        [r * 0.8, r, r, r, r * 0.9],
    )
    spleen = [confluence, (-12, 76, 2), (-36, 66, 10), (-62, 46, 14), (-84, 30, 20)]
    knots = np.concatenate([spleen[:1], scene.jitter(spleen[1:], 2.0)])
    splenic = spline_path(knots, np.array([0.8, 0.72, 0.68, 0.64, 0.55]) * r)
    for path in (stem, splenic):
        scene.tube(path, hu=hu, tissue=Tissue.PORTAL)


def paint_liver_vessels(scene: Scene) -> None:
    """Paint portal branches and hepatic veins into the painted liver."""
    density = scene.density
    hilum = np.array([54.0, 76.0, 32.0])
    liver = (Tissue.LIVER,)
    for end, r in (((88, 52, 34), 5.0), ((30, 96, 44), 4.4), ((-6, 110, 50), 3.6)):
        path = spline_path([hilum, (hilum + np.array(end)) / 2 + [0, 0, 3], end], [r, r, r * 0.8])
        scene.tube(path, hu=density.portal, tissue=Tissue.LIVER_PORTAL, over=liver)
    roots = {
        (88, 52, 34): [
            (118, 20, 40),
            (112, 62, 6),
            (108, 28, -14),
            (122, 50, 58),
            (92, 60, -30),
            (118, 90, 20),
        ],
        (30, 96, 44): [(44, 128, 20), (48, 118, 66), (60, 120, 0)],
        (-6, 110, 50): [(-36, 124, 60), (-22, 130, 36), (-30, 110, 74)],
    }
    for root, tips in roots.items():
        for tip in tips:
            _branch(scene, np.array(root, float), np.array(tip, float), (3.4, density.portal))
    top = np.array([20.0, 60.0, 88.0])
    for middle, tip in (
        ((70, 48, 72), (116, 40, 30)),
        ((44, 90, 74), (66, 118, 22)),
        ((0, 88, 80), (-40, 118, 58)),
        ((80, 70, 78), (122, 84, 52)),
    ):
        middle_point = scene.jitter(middle, 6.0)
        path = spline_path([top, middle_point, scene.jitter(tip, 8.0)], [5.2, 4.0, 2.2])
        scene.tube(path, hu=density.hepatic_vein, tissue=Tissue.LIVER_VESSEL, over=liver)
        for _ in range(2):
            _branch(scene, middle_point, scene.jitter(tip, 22.0), (2.6, density.hepatic_vein))


def _branch(scene: Scene, start: np.ndarray, end: np.ndarray, kind: tuple[float, float]) -> None:
    radius, hu = kind
    end = scene.jitter(end, 8.0)
    bend = scene.jitter((start + end) / 2, 6.0)
    path = spline_path([start, bend, end], [radius, radius * 0.75, radius * 0.5])
    scene.tube(path, hu=hu, tissue=Tissue.LIVER_VESSEL, over=(Tissue.LIVER,))
    twig = scene.jitter(end, 18.0)
    thin = spline_path([bend, twig], [radius * 0.6, radius * 0.4])
    scene.tube(thin, hu=hu, tissue=Tissue.LIVER_VESSEL, over=(Tissue.LIVER,))


def paint_lymph_nodes(scene: Scene) -> None:
    """Paint a few small nodes beside the great vessels."""
    for _ in range(int(scene.rng.poisson(5))):
        z = scene.rng.uniform(-180, 20)
        side = scene.rng.choice([-1, 1])
        center = (side * scene.rng.uniform(8, 34), scene.rng.uniform(46, 66), z)
        radius = scene.rng.uniform(2.5, 4.5)
        found = scene.blob(Ellipsoid(center, (radius, radius, radius * 1.4)), rough_mm=0.3)
        if found is not None:
            scene.fill(*found, hu=scene.density.muscle + 15, tissue=Tissue.VESSEL)
