"""Upper abdominal organs: pancreas, spleen, gall bladder and liver."""

from __future__ import annotations

import numpy as np

from model.phantom.anatomy import CAVITY, Tissue
from model.phantom.canvas import Box
from model.phantom.scene import Scene
from model.phantom.shapes import Ellipsoid, Tube, rasterise, rotation, smooth_max, spline_path
from model.phantom.smooth import Field


def paint_pancreas(scene: Scene) -> None:
    """Paint the pancreas: head in the duodenal loop, body over the spine, tail to the spleen."""
    rng = scene.rng
    volume = float(np.clip(rng.normal(72, 20), 32, 135))
    knots = scene.jitter(
        [
            (26, 68, -40),
            (24, 72, -22),
            (12, 84, -8),
            (-12, 88, 6),
            (-38, 76, 14),
            (-62, 54, 16),
            (-78, 38, 20),
        ],
        3.5,
    )
    knots[:, 2] += rng.normal(0, 4)
    radii = np.array([11, 15, 9.5, 9.5, 9.5, 10, 7]) * rng.normal(1, 0.08, 7)
    path = spline_path(knots, radii)
    path = path.scaled(float(np.sqrt(volume / path.volume_ml)))
    tube = rasterise(scene.canvas, path, margin_mm=6)
    if tube is None:
        return
    lobules = scene.canvas.noise(tube.box, 9.0, rng) * np.float32(1.6)
    lobules += scene.canvas.noise(tube.box, 24.0, rng) * np.float32(1.3)
    hu = scene.density.pancreas - np.clip(lobules, 0, None) * np.float32(
        6 + 14 * scene.patient.fatness
    )
    over = (Tissue.VISCERAL_FAT, Tissue.FLUID, Tissue.RENAL_FAT)
    scene.fill(tube.box, tube.distance_mm + lobules, hu=hu, tissue=Tissue.PANCREAS, over=over)


def paint_spleen(scene: Scene) -> None:
    """Paint the spleen: a lens against the left wall, hollowed from the middle."""
    if "spleen" in scene.patient.missing:
        return
    rng = scene.rng
    volume = float(np.clip(np.exp(rng.normal(np.log(195), 0.38)), 85, 600))
    grow = (volume / 195) ** (1 / 3)
    center = scene.jitter((-114.0 + 8 * grow, 10.0, 30.0 - 6 * grow), 4.0)
    turn = rotation(about_x=rng.normal(-18, 6), about_z=rng.normal(-12, 6))
    shape = Ellipsoid(tuple(center), tuple(np.array([37.0, 54, 53]) * grow), turn)
    found = scene.blob(shape, rough_mm=2.2, knot_mm=30)
    if found is None:
        return
    box, distance = found
    over = (Tissue.VISCERAL_FAT, Tissue.FLUID, Tissue.RENAL_FAT)
    hollow = Ellipsoid(
        tuple(center + np.array([62.0, 20, 0]) * grow), tuple(np.array([46.0, 46, 80]) * grow)
    ).distance(scene.canvas, box)
    distance = smooth_max(distance, -hollow, 8.0)
    bounds = smooth_max(3 - scene.torso.cavity_depth[box], 3 - scene.torso.below_dome[box], 5.0)
    room = scene.canvas.is_any(over, box) & (bounds < 0)
    shift = _shift_to_volume(scene, distance, room, (volume, 14.0))
    distance = smooth_max(bounds, distance - np.float32(shift), 5.0)
    hu: float | Field = scene.density.spleen
    if scene.patient.phase == "arterial":
        hu = hu + scene.canvas.noise(box, 10.0, rng) * np.float32(22)
    scene.fill(box, distance, hu=hu, tissue=Tissue.SPLEEN, over=over)


def paint_gall_bladder(scene: Scene) -> None:
    """Paint the gall bladder, with stones in some patients."""
    if "gall_bladder" in scene.patient.missing:
        return
    rng = scene.rng
    volume = float(np.clip(np.exp(rng.normal(np.log(30), 0.55)), 6, 100))
    knots = scene.jitter([(46, 80, 14), (54, 90, 0), (62, 108, -20), (66, 120, -34)], 3.0)
    path = spline_path(knots, [3.5, 8, 13, 11])
    path = path.scaled(float(np.sqrt(volume / path.volume_ml)))
    tube = rasterise(scene.canvas, path)
    if tube is None:
        return
    scene.fill(
        tube.box, tube.distance_mm, hu=scene.density.gut_wall - 20, tissue=Tissue.GALL_BLADDER
    )
    hu = scene.density.bile + (45 if rng.random() < 0.1 else 0)
    inner = tube.distance_mm + np.float32(1.6)
    bile = (Tissue.GALL_BLADDER,)
    scene.canvas.paint(tube.box, inner, hu=float(hu), tissue=None, over=bile)
    if rng.random() < 0.18:
        _stones(scene, tube, knots)


def _stones(scene: Scene, tube: Tube, knots: np.ndarray) -> None:
    for _ in range(int(scene.rng.integers(1, 5))):
        center = scene.jitter(knots[3] * 0.5 + knots[2] * 0.5 - [0, 8, 4], 4.0)
        radius = float(scene.rng.uniform(2.5, 6))
        stone = Ellipsoid(tuple(center), (radius, radius, radius)).distance(scene.canvas, tube.box)
        stone = np.maximum(stone, tube.distance_mm + 2)
        hu = float(scene.rng.uniform(80, 450))
        scene.canvas.paint(tube.box, stone, hu=hu, tissue=None, over=(Tissue.GALL_BLADDER,))


def paint_liver(scene: Scene) -> None:
    """Paint the liver into the room under the right dome; its size is drawn, its form follows."""
    rng = scene.rng
    box = scene.canvas.anatomy_box(np.array([42, 72, 10.0]), np.array([128, 112, 118.0]))
    if box is None:
        return
    bounds, free = _liver_distance(scene, box)
    mean = 1560 if scene.patient.is_male else 1380
    volume = float(np.clip(rng.normal(mean, 260), 900, 2500))
    allowed = scene.canvas.is_any(CAVITY, box)
    grow = _shift_to_volume(scene, free, allowed & (bounds < 0), (volume, 22.0))
    distance = smooth_max(bounds, free - np.float32(grow), 7.0)
    scene.fill(box, distance, hu=scene.density.liver, tissue=Tissue.LIVER)


def _liver_distance(scene: Scene, box: Box) -> tuple[Field, Field]:
    """Return the distance to the walls around the liver and to its own free surface."""
    rng = scene.rng
    x, y, z = scene.canvas.local(box)
    wall = np.float32(2.5) - scene.torso.cavity_depth[box]
    bounds = smooth_max(wall, 3.5 - scene.torso.below_dome[box], 6.0)
    turn = np.radians(rng.normal(43, 5))
    reach = rng.normal(0, 8)
    left = -(np.cos(turn) * (x - 12 + reach) + np.sin(turn) * (y - 26))
    steep = rng.normal(0.66, 0.06)
    lower = 8 - steep * x - 0.16 * (y - 70) - 0.0012 * np.clip(x - 60, 0, None) ** 2
    below = (lower - z) * np.float32(0.82)
    free = smooth_max(left.astype(np.float32), below.astype(np.float32), 26.0)
    # Kidney and adrenal gland lie behind the liver, not in it.
    for place, radii in (((50.0, -12.0, -42.0), (52, 46, 88)), ((26.0, 18.0, 24.0), (20, 24, 32))):
        bed = Ellipsoid(place, radii).distance(scene.canvas, box)
        free = smooth_max(free, -bed, 12.0)
    rough = scene.canvas.noise(box, 42.0, rng) * np.float32(5.0 * scene.patient.irregularity)
    return bounds, free + rough


def _shift_to_volume(
    scene: Scene, free: Field, allowed: np.ndarray, goal: tuple[float, float]
) -> float:
    """Return how far to move a free surface out so that the organ reaches a volume.

    An organ that the field of view cuts cannot be measured; it keeps its usual surface.

    Args:
        scene: The scene.
        free: Distance to the surface that may move.
        allowed: Where the organ may be.
        goal: Volume in mL, and the largest move in mm.
    """
    volume_ml, most_mm = goal
    height = scene.torso.height
    if height.max() < 100 or height.min() > -95:
        return float(scene.rng.normal(0, 0.2 * most_mm))
    voxels = int(volume_ml * 1000 / np.prod(scene.canvas.spacing_mm))
    candidates = free[allowed]
    if candidates.size <= voxels:
        return most_mm
    return float(np.clip(np.partition(candidates, voxels)[voxels], -0.6 * most_mm, most_mm))
