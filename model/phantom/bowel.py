"""Stomach, duodenum, colon and small intestine."""

from __future__ import annotations

import numpy as np

from model.phantom.anatomy import Tissue
from model.phantom.canvas import depth_inside
from model.phantom.gut import Content, fill_lumen, paint_gut
from model.phantom.scene import Scene
from model.phantom.shapes import Path, rasterise, smooth_max, spline_path

_ROOM = (Tissue.VISCERAL_FAT, Tissue.FLUID)


def paint_duodenum(scene: Scene) -> None:
    """Paint the C from the pylorus round the pancreatic head to the left of the aorta."""
    rng = scene.rng
    knots = scene.jitter(
        [
            (28, 96, 0),
            (46, 84, 2),
            (52, 70, -20),
            (50, 64, -52),
            (34, 64, -74),
            (4, 70, -76),
            (-20, 70, -64),
            (-30, 74, -42),
        ],
        3.0,
    )
    radii = np.clip(rng.normal(9.5, 1.2), 8, 13) * np.array([1.1, 1.25, 1.1, 1, 1, 0.9, 0.9, 1])
    hu = _fluid_hu(scene)
    content = Content(hu=hu, gas=float(rng.uniform(0, 0.25)), wall_mm=3.0)
    paint_gut(scene, spline_path(knots, radii), content, tissue=Tissue.DUODENUM)


def paint_stomach(scene: Scene) -> None:
    """Paint the stomach with a gas bubble over its fluid or food."""
    rng = scene.rng
    volume = float(np.clip(np.exp(rng.normal(np.log(330), 0.5)), 120, 900))
    knots = scene.jitter(
        [
            (-64, 44, 62),
            (-76, 58, 42),
            (-78, 88, 16),
            (-56, 112, -10),
            (-22, 118, -20),
            (6, 110, -10),
            (24, 100, 0),
        ],
        4.0,
    )
    knots[1:-1, 2] -= rng.uniform(-6, 14)
    path = spline_path(knots, [24, 33, 31, 27, 21, 14, 9])
    path = path.scaled(float(np.sqrt(volume / path.volume_ml)))
    tube = rasterise(scene.canvas, path)
    if tube is None:
        return
    box = tube.box
    wave = scene.canvas.noise(box, 26.0, rng) * np.float32(2.2 * scene.patient.irregularity)
    distance = smooth_max(tube.distance_mm + wave, 3 - scene.torso.below_dome[box], 6.0)
    distance = smooth_max(distance, 3 - scene.torso.cavity_depth[box], 6.0)
    scene.fill(box, distance, hu=scene.density.gut_wall, tissue=Tissue.STOMACH)
    folds = np.abs(scene.canvas.noise(box, 11.0, rng)) * np.float32(2.0)
    lumen = distance + np.float32(rng.uniform(3.5, 5.5)) + folds
    level = scene.canvas.pose.to_scanner(path.points_mm)[:, 1].mean() + rng.normal(8, 22)
    content = Content(hu=_fluid_hu(scene), gas=0.5, mottle_hu=float(rng.choice([0, 0, 14])))
    fill_lumen(scene, box, lumen, (content, float(level)), Tissue.STOMACH)


def _fluid_hu(scene: Scene) -> float:
    if scene.patient.oral_contrast:
        return float(scene.rng.uniform(150, 320))
    return scene.density.gut_fluid + float(scene.rng.normal(0, 6))


def paint_colon(scene: Scene) -> None:
    """Paint the colon from the caecum to the upper end of the rectum."""
    path = colon_path(scene)
    rng = scene.rng
    faeces = scene.density.faeces + (120 if scene.patient.oral_contrast else 0)
    content = Content(
        hu=float(faeces),
        gas=float(rng.uniform(0.25, 0.7)),
        mottle_hu=float(rng.uniform(20, 60)),
        wall_mm=2.4,
        run_mm=70.0,
    )
    over = (*_ROOM, Tissue.RENAL_FAT)
    paint_gut(scene, path, content, tissue=Tissue.COLON, over=over)


def colon_path(scene: Scene) -> Path:
    """Return the colon's centre line with haustra as a wave in its radius."""
    rng, section = scene.rng, scene.torso.section
    dip = float(rng.uniform(-75, -25))
    wide = float(section.half_width(np.array(-60.0))) - 42

    def front(x: float, z: float) -> float:
        deep = section.center_y(np.array(z)) + section.half_depth(np.array(z))
        return float(deep) - 34 - 0.0032 * x * x

    knots = np.array(
        [
            (wide - 4, 74, -158),
            (wide, 62, -128),
            (wide + 2, 48, -92),
            (wide - 2, 46, -56),
            (wide - 14, 72, -40),
            (60, front(60, dip + 12), dip + 12),
            (14, front(14, dip), dip),
            (-34, front(34, dip + 6), dip + 6),
            (-74, front(74, -22), -22),
            (-100, 62, 14),
            (-wide - 6, 34, 4),
            (-wide - 4, 26, -40),
            (-wide - 3, 34, -90),
            (-wide, 46, -134),
            (-84, 70, -166),
            (-54, 84, -190),
            (-22, 60, -204),
            (-40, 40, -180),
            (-14, 26, -186),
            (-6, 4, -200),
        ]
    )
    sd = 5.0 * scene.patient.irregularity
    moved = scene.jitter(knots, sd)
    moved[-1] = knots[-1]
    radii = np.array(
        [24, 25, 22, 20, 19, 18, 18, 17, 17, 16, 15, 14, 13, 13, 13, 14, 14, 13, 13, 12]
    )
    path = spline_path(moved, radii * rng.normal(1.0, 0.07), step_mm=6.0)
    along = path.along_mm
    upstream = along < along[-1] * 0.85
    wave = 1 + 0.14 * np.cos(2 * np.pi * along / 30 + rng.uniform(0, 6)) * upstream
    slow = 1 + 0.12 * np.interp(along, np.linspace(0, along[-1], 12), rng.normal(0, 1, 12))
    return Path(path.points_mm, np.clip(path.radii_mm * wave * slow, 8, 34))


def paint_intestine(scene: Scene) -> None:
    """Paint loops of small intestine, and the vessels to them, into the room that is left."""
    centers = _loop_centers(scene)
    if len(centers) < 4:
        return
    _mesenteric_branches(scene, centers)
    rng = scene.rng
    hu = _fluid_hu(scene) + 12
    for chain in _chains(centers):
        if len(chain) < 2:
            continue
        knots = scene.jitter(chain, 3.0)
        radii = np.clip(rng.normal(11.5, 1.6, len(chain)), 8, 16)
        content = Content(
            hu=hu,
            gas=float(rng.uniform(0.0, 0.3)),
            wall_mm=2.8,
            run_mm=50.0,
            mottle_hu=8.0,
        )
        paint_gut(scene, spline_path(knots, radii), content, tissue=Tissue.INTESTINE)


def _loop_centers(scene: Scene) -> np.ndarray:
    """Return anatomy points at least a loop apart, all in free room, shape (N, 3)."""
    canvas, rng = scene.canvas, scene.rng
    step = max(1, round(6.0 / canvas.edge_mm))
    thin = (slice(None, None, step),) * 3
    codes = canvas.tissue[thin]
    free = (codes == Tissue.VISCERAL_FAT) | (codes == Tissue.FLUID)
    x, y, z = canvas.x[thin], canvas.y[thin], canvas.z[thin]
    free &= (z < 0) & (z > -238) & (y > 52 - 0.18 * np.clip(np.abs(x) - 50, 0, None))
    free &= scene.torso.cavity_depth[thin] > 4
    root = ((x - 6) / 26) ** 2 + ((y - 74) / 24) ** 2 + ((z + 70) / 60) ** 2
    free &= root > 0.4 + 1.2 * scene.patient.fatness
    room = depth_inside(free, canvas.spacing_mm, step)
    candidates = np.argwhere(room > 8.5)
    if len(candidates) == 0:
        return np.zeros((0, 3))
    order = rng.permutation(len(candidates))
    places = candidates[order] * np.array(canvas.spacing_mm) * step
    kept = _spread(places, least_mm=24 + 6 * scene.patient.fatness, most=110)
    index = tuple(candidates[order[kept]].T)
    return np.stack([x[index], y[index], z[index]], axis=-1).astype(float)


def _spread(places: np.ndarray, *, least_mm: float, most: int) -> list[int]:
    """Return indices of points that are at least ``least_mm`` apart, first come, first kept."""
    kept: list[int] = []
    alive = np.ones(len(places), bool)
    while alive.any() and len(kept) < most:
        index = int(np.argmax(alive))
        kept.append(index)
        alive &= ((places - places[index]) ** 2).sum(axis=1) > least_mm**2
    return kept


def _chains(centers: np.ndarray) -> list[np.ndarray]:
    """Return the centres as chains of near neighbours; a long jump starts a new chain."""
    left = list(range(len(centers)))
    current = left.pop(int(np.argmax(centers[:, 2])))
    chain, chains = [current], []
    while left:
        gaps = np.linalg.norm(centers[left] - centers[current], axis=1)
        nearest = int(np.argmin(gaps))
        if gaps[nearest] > 48:
            chains.append(centers[chain])
            chain = []
        current = left.pop(nearest)
        chain.append(current)
    chains.append(centers[chain])
    return chains


def _mesenteric_branches(scene: Scene, centers: np.ndarray) -> None:
    rng = scene.rng
    for target in centers[rng.permutation(len(centers))[:26]]:
        z = float(np.clip(target[2] + 40, -120, -20))
        root = np.array([8.0, 74.0, z])
        middle = scene.jitter(root * 0.45 + target * 0.55, 6.0)
        enhanced = 0.8 * scene.density.portal + 0.2 * scene.density.muscle
        path = spline_path([root, middle, target], [2.2, 1.7, 1.2])
        scene.tube(path, hu=enhanced, tissue=Tissue.VESSEL, over=(Tissue.VISCERAL_FAT,))
