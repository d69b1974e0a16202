"""Kidneys with cortex, medulla, sinus and fat capsule; adrenal glands."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from model.phantom.anatomy import Tissue
from model.phantom.canvas import Box
from model.phantom.scene import Scene
from model.phantom.shapes import Ellipsoid, rotation, smooth_max, spline_path
from model.phantom.smooth import Field

_PLACES = {
    # side: (sign of x, usual centre, tissue)
    "kidney_right": (1, (70.0, 12.0, -34.0), Tissue.KIDNEY_RIGHT),
    "kidney_left": (-1, (-70.0, 12.0, -18.0), Tissue.KIDNEY_LEFT),
}


def paint_kidneys(scene: Scene) -> None:
    """Paint both kidneys, unless removed, and both adrenal glands."""
    for name, (side, center, tissue) in _PLACES.items():
        place = scene.jitter(np.add(center, (0, 0, 3)), 5.0)
        if name not in scene.patient.missing:
            alone = len([n for n in _PLACES if n in scene.patient.missing]) == 1
            _kidney(scene, side, place, (tissue, 1.25 if alone else 1.0))
    _adrenal(scene, 1, (33.0, 30.0, 24.0), Tissue.ADRENAL_RIGHT)
    _adrenal(scene, -1, (-44.0, 38.0, 14.0), Tissue.ADRENAL_LEFT)


def _kidney(scene: Scene, side: int, center: np.ndarray, what: tuple[Tissue, float]) -> None:
    tissue, growth = what
    rng = scene.rng
    volume = np.clip(rng.normal(165, 32), 95, 250) * growth
    radii = np.array([27.0, 28.0, 53.0]) * rng.normal(1, 0.04, 3)
    radii *= (volume * 1000 / (4.19 * radii.prod())) ** (1 / 3)
    turn = rotation(
        about_x=rng.normal(-8, 5),
        about_y=side * rng.normal(12, 5),
        about_z=side * rng.normal(28, 10),
    )
    shape = Ellipsoid(tuple(center), tuple(radii), turn)
    box = shape.box(scene.canvas, 10)
    if box is None:
        return
    distance = shape.distance(scene.canvas, box)
    distance += scene.canvas.noise(box, 20.0, rng) * np.float32(1.6 * scene.patient.irregularity)
    capsule = float(2 + 8 * scene.patient.fatness * rng.uniform(0.6, 1.2))
    scene.fill(box, distance - capsule, hu=scene.density.fat - 4, tissue=Tissue.RENAL_FAT)
    inward = turn.T @ np.array([-side, 0.25, 0.0])
    sinus = Ellipsoid(
        tuple(center + inward * radii[0] * 0.75), (radii[0] * 0.75, 9.5, radii[2] * 0.42), turn
    ).distance(scene.canvas, box)
    sinus += scene.canvas.noise(box, 9.0, rng) * np.float32(3.0)
    body = smooth_max(distance, -sinus, 4.0)
    over = (Tissue.VISCERAL_FAT, Tissue.RENAL_FAT, Tissue.FLUID)
    scene.fill(box, body, hu=_parenchyma(scene, box, distance, sinus), tissue=tissue, over=over)
    _collecting_system(scene, center, inward, side)


def _parenchyma(scene: Scene, box: Box, distance: Field, sinus: Field) -> Field:
    """Return cortex HU with pyramids of medulla between the surface and the sinus."""
    density = scene.density
    lobes = scene.canvas.noise(box, 12.0, scene.rng)
    deep = expit((distance + 7.5) * np.float32(-1.3))
    pyramid = expit((lobes + np.float32(0.35)) * np.float32(5))
    near_sinus = np.exp(-np.clip(sinus, 0, None) / np.float32(30))
    share = deep * pyramid * near_sinus
    return density.kidney_cortex + share * np.float32(
        density.kidney_medulla - density.kidney_cortex
    )


def _collecting_system(scene: Scene, center: np.ndarray, inward: np.ndarray, side: int) -> None:
    pelvis = center + inward * 17
    ureter = [
        tuple(center + inward * 8),
        tuple(pelvis),
        (pelvis[0] - side * 8, pelvis[1] + 4, pelvis[2] - 22),
        (side * 44, 48, -95),
        (side * 46, 52, -140),
        (side * 50, 20, -200),
        (side * 24, 28, -258),
    ]
    wide = float(scene.rng.uniform(4, 7))
    path = spline_path(ureter, [wide, wide, 2.5, 2.0, 2.0, 2.0, 2.0])
    over = (Tissue.VISCERAL_FAT, Tissue.RENAL_FAT)
    scene.tube(path, hu=scene.density.renal_pelvis, tissue=Tissue.VESSEL, over=over)


def _adrenal(scene: Scene, side: int, center: tuple[float, float, float], tissue: Tissue) -> None:
    """Paint a gland: a body in front and two thin limbs that spread backwards."""
    rng = scene.rng
    place = scene.jitter(center, 2.5)
    size = float(np.clip(rng.normal(0.88 if side > 0 else 1.0, 0.1), 0.7, 1.25))
    box = scene.canvas.anatomy_box(place, np.array([22, 24, 24.0]))
    if box is None:
        return
    x, y, z = (
        (values - np.float32(at)) / np.float32(size)
        for values, at in zip(scene.canvas.local(box), place, strict=True)
    )
    x = x * side + z * np.float32(0.25)
    thick = np.float32(2.1 * rng.uniform(0.85, 1.25))
    tall = np.abs(z) - np.float32(15 if side < 0 else 16)
    back = -y
    spread = np.float32(rng.uniform(0.25, 0.45))
    lateral = np.abs(x - spread * back - 1) - thick
    medial = np.abs(x + spread * back + 1) - thick
    lateral = np.maximum(lateral, np.abs(back - 8) - 11)
    medial = np.maximum(medial, np.abs(back - 6) - 9)
    distance = smooth_max(np.minimum(lateral, medial), tall, 3.0) * np.float32(size)
    distance += scene.canvas.noise(box, 12.0, rng) * np.float32(0.6)
    over = (Tissue.VISCERAL_FAT, Tissue.RENAL_FAT, Tissue.DIAPHRAGM, Tissue.FLUID)
    scene.fill(
        box,
        distance - 1.8,
        hu=scene.density.fat,
        tissue=Tissue.RENAL_FAT,
        over=(Tissue.VISCERAL_FAT, Tissue.FLUID),
    )
    scene.fill(box, distance, hu=scene.density.adrenal, tissue=tissue, over=over)
