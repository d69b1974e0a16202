"""How a piece of gut is painted: wall, fluid or faeces, and gas above them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from model.phantom.anatomy import CAVITY, Tissue
from model.phantom.canvas import Box
from model.phantom.scene import Scene
from model.phantom.shapes import Path, Tube, rasterise
from model.phantom.smooth import Field


@dataclass(frozen=True, slots=True)
class Content:
    """What a piece of gut holds.

    Attributes:
        hu: Radiodensity of fluid or faeces.
        gas: Share of the length that holds gas, 0 to 1.
        mottle_hu: Strength of the mottled look of faeces; 0 for fluid.
        wall_mm: Thickness of the wall.
        run_mm: Length over which the gas share stays alike.
    """

    hu: float
    gas: float
    mottle_hu: float = 0.0
    wall_mm: float = 2.6
    run_mm: float = 60.0


def paint_gut(
    scene: Scene,
    path: Path,
    content: Content,
    *,
    tissue: Tissue,
    over: Iterable[Tissue] = CAVITY,
) -> Tube | None:
    """Paint a gut tube with wall, content and gas; return it, or None when outside the grid.

    Gas collects on the ventral side, since patients lie on their backs; its level changes along
    the gut.
    """
    tube = rasterise(scene.canvas, path)
    if tube is None:
        return None
    wobble = scene.canvas.noise(tube.box, 16.0, scene.rng) * np.float32(1.0)
    distance = tube.distance_mm + wobble
    scene.fill(tube.box, distance, hu=scene.density.gut_wall, tissue=tissue, over=over)
    level = gas_level(scene, path, content)[tube.nearest]
    fill_lumen(scene, tube.box, distance + np.float32(content.wall_mm), (content, level), tissue)
    return tube


def gas_level(scene: Scene, path: Path, content: Content) -> Field:
    """Return the scanner height of the gas level at every path point, shape (N,)."""
    along = path.along_mm
    marks = np.arange(0, along[-1] + content.run_mm, content.run_mm)
    # The lowest level leaves a tube full of gas, the highest leaves none.
    fullness = scene.rng.uniform(-1, 1, len(marks)) + (2 * content.gas - 1)
    height = scene.canvas.pose.to_scanner(path.points_mm)[:, 1]
    offset = -np.interp(along, marks, fullness) * 1.3 * path.radii_mm
    return (height + offset).astype(np.float32)


def fill_lumen(
    scene: Scene, box: Box, lumen: Field, what: tuple[Content, float | Field], tissue: Tissue
) -> None:
    """Paint content and gas into the lumen of an organ that is already painted."""
    content, level = what
    canvas = scene.canvas
    hu: float | Field = content.hu
    if content.mottle_hu > 0:
        first = canvas.noise(box, 7.0, scene.rng)
        bubbles = np.clip(first - np.float32(0.9), 0, 1.2) * np.float32(-11 * content.mottle_hu)
        hu = hu + first * np.float32(0.5 * content.mottle_hu) + bubbles
    inside = (tissue,)
    canvas.paint(box, lumen, hu=hu, tissue=None, over=inside)
    height = canvas.axes_mm[1][box[1]][:, None]
    above = (level - height).astype(np.float32)
    if above.shape != lumen.shape:
        above = np.broadcast_to(above, lumen.shape)
    canvas.paint(box, np.maximum(lumen, above), hu=-940.0, tissue=None, over=inside)
