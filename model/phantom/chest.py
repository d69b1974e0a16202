"""Lower chest: lungs with vessels, heart, mediastinum and esophagus."""

from __future__ import annotations

import numpy as np

from model.phantom.anatomy import Tissue
from model.phantom.scene import Scene
from model.phantom.shapes import Ellipsoid, rotation, smooth_max, spline_path
from model.phantom.smooth import Field


def paint_chest(scene: Scene) -> None:
    """Paint what the field of view shows above the diaphragm, and the esophagus."""
    high = np.flatnonzero(scene.torso.height > -35)
    if high.size:
        low = int(high.min())
        _heart(scene)
        _lungs(scene, low)
    _esophagus(scene)


def _heart(scene: Scene) -> None:
    turn = rotation(about_y=25, about_z=-25)
    heart = Ellipsoid((-26.0, 108.0, 138.0), (56, 46, 48), turn)
    found = scene.blob(heart, rough_mm=2.0)
    if found is None:
        return
    box, distance = found
    distance = np.maximum(distance, scene.torso.below_dome[box] + 4)
    distance = np.maximum(distance, 6 - scene.torso.cavity_depth[box])
    pericardium = distance - 5
    scene.fill(box, pericardium, hu=-85.0, tissue=Tissue.MEDIASTINUM)
    muscle = scene.density.muscle + 0.5 * (scene.density.heart - scene.density.muscle)
    scene.fill(box, distance, hu=muscle, tissue=Tissue.HEART, over=(Tissue.MEDIASTINUM,))
    chambers = np.maximum(distance + 8, np.float32(4) - np.abs(scene.canvas.x[box] + 30))
    scene.fill(box, chambers, hu=scene.density.heart, tissue=Tissue.HEART, over=(Tissue.HEART,))


def _lungs(scene: Scene, low: int) -> None:
    canvas = scene.canvas
    box = (slice(None), slice(None), slice(low, canvas.shape[2]))
    x, y, _ = canvas.local(box)
    column = np.float32(24) + np.clip(y - 60, 0, 60) * np.float32(0.22)
    middle = column - np.abs(x + 4)
    room = smooth_max(
        np.float32(1.5) - scene.torso.cavity_depth[box], scene.torso.below_dome[box] + 1, 5.0
    )
    room = smooth_max(room, middle, 8.0)
    hu = scene.density.lung + _lung_vessels(scene, box) + (40 - y) * np.float32(0.35)
    # The lung is bounded by the chest wall and the back of the chest, which is muscle here.
    over = (Tissue.VISCERAL_FAT, Tissue.DIAPHRAGM)
    for tissue, side in ((Tissue.LUNG_RIGHT, 1), (Tissue.LUNG_LEFT, -1)):
        half = np.maximum(room, np.float32(-side) * (x + 4))
        scene.fill(box, half, hu=hu, tissue=tissue, over=over)


def _lung_vessels(scene: Scene, box: tuple[slice, slice, slice]) -> Field:
    """Return HU to add: lines where two smooth fields are both zero, thicker near the hilum."""
    first, second = (scene.canvas.noise(box, 17.0, scene.rng) for _ in range(2))
    wide, side = (scene.canvas.noise(box, 38.0, scene.rng) for _ in range(2))
    fine = np.exp((first * first + second * second) * np.float32(-60))
    coarse = np.exp((wide * wide + side * side) * np.float32(-110))
    return (fine * np.float32(420) + coarse * np.float32(800)).astype(np.float32)


def _esophagus(scene: Scene) -> None:
    knots = scene.jitter(
        [(-6, 36, 230), (-8, 38, 150), (-12, 44, 110), (-22, 58, 82), (-36, 66, 66)], 2.0
    )
    path = spline_path(knots, [8, 9, 9.5, 9, 9])
    over = (
        Tissue.VISCERAL_FAT,
        Tissue.MEDIASTINUM,
        Tissue.DIAPHRAGM,
        Tissue.LUNG_LEFT,
        Tissue.LUNG_RIGHT,
        Tissue.FLUID,
    )
    tube = scene.tube(
        path, hu=scene.density.gut_wall - 12, tissue=Tissue.ESOPHAGUS, over=over, squash=0.85
    )
    if tube is not None and scene.rng.random() < 0.6:
        lumen = tube.distance_mm + scene.rng.uniform(5.5, 8)
        gas = float(scene.rng.uniform(-500, 0))
        scene.canvas.paint(tube.box, lumen, hu=gas, tissue=None, over=(Tissue.ESOPHAGUS,))
