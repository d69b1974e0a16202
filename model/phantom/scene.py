"""Everything a painter needs, in one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from model.phantom.anatomy import CAVITY, Tissue
from model.phantom.canvas import Box, Canvas
from model.phantom.patient import Patient
from model.phantom.shapes import Ellipsoid, Path, Tube, rasterise
from model.phantom.smooth import Field
from model.phantom.tissue import Radiodensity
from model.phantom.torso import Torso


@dataclass(frozen=True, slots=True)
class Scene:
    """A patient on a canvas; painters change the canvas in place and draw from ``rng``."""

    canvas: Canvas
    torso: Torso
    patient: Patient
    density: Radiodensity
    rng: np.random.Generator

    def blob(
        self, shape: Ellipsoid, *, rough_mm: float = 1.5, knot_mm: float = 22.0
    ) -> tuple[Box, Field] | None:
        """Return box and distance of an ellipsoid with an uneven surface; None when outside."""
        box = shape.box(self.canvas, 3 * rough_mm)
        if box is None:
            return None
        distance = shape.distance(self.canvas, box)
        rough = rough_mm * self.patient.irregularity
        return box, distance + self.canvas.noise(box, knot_mm, self.rng) * np.float32(rough)

    def fill(
        self,
        box: Box,
        distance_mm: Field,
        *,
        hu: float | Field,
        tissue: Tissue,
        over: Iterable[Tissue] = CAVITY,
    ) -> None:
        """Paint an organ into the room that the cavity still has."""
        self.canvas.paint(box, distance_mm, hu=hu, tissue=tissue, over=over)

    def tube(
        self,
        path: Path,
        *,
        hu: float,
        tissue: Tissue,
        over: Iterable[Tissue] = CAVITY,
        squash: float = 1.0,
    ) -> Tube | None:
        """Paint a solid tube and return it; None when outside the grid."""
        tube = rasterise(self.canvas, path, squash=squash)
        if tube is not None:
            self.fill(tube.box, tube.distance_mm, hu=hu, tissue=tissue, over=over)
        return tube

    def jitter(self, knots: object, sd_mm: float) -> np.ndarray:
        """Return points moved at random."""
        points = np.asarray(knots, float)
        return points + np.clip(self.rng.normal(0, sd_mm, points.shape), -2 * sd_mm, 2 * sd_mm)
