"""The trunk's envelope: skin, fat, muscular wall, body cavity and diaphragm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from model.phantom.anatomy import Tissue
from model.phantom.canvas import Canvas
from model.phantom.patient import Patient
from model.phantom.smooth import Field
from model.phantom.tissue import Radiodensity

Profile: TypeAlias = Field

_LEVELS = np.array([200, 120, 60, 0, -60, -120, -180, -230, -270, -330.0])
_HALF_WIDTH = np.array([138, 146, 145, 140, 136, 138, 146, 153, 156, 154.0])
_HALF_DEPTH = np.array([100, 108, 110, 106, 103, 101, 102, 104, 102, 98.0])
_CENTER_Y = np.array([48, 54, 60, 61, 60, 56, 47, 41, 38, 36.0])

_PELVIS_LEVELS = np.array([-110, -150, -180, -210, -240, -265, -290, -305, -320.0])
_PELVIS_HALF_WIDTH = np.array([220, 128, 112, 92, 70, 60, 46, 28, -20.0])
_PELVIS_FRONT = np.array([260, 172, 162, 150, 136, 112, 72, 50, 30.0])
_PELVIS_BACK = np.array([-120, 0, -12, -34, -44, -42, -22, 0, 20.0])

_EXPONENT = 2.3


@dataclass(frozen=True, slots=True)
class Section:
    """The muscular outline of the trunk: a superellipse at every height.

    Attributes:
        fatness: Body fat, 0 to 1; a fat patient's belly is wider and bulges forward.
    """

    fatness: float

    def half_width(self, z: Profile) -> Profile:
        """Return half the width at heights z, in mm."""
        return self._profile(z, _HALF_WIDTH) * (1 + 0.10 * (self.fatness - 0.4) * self.belly(z))

    def half_depth(self, z: Profile) -> Profile:
        """Return half the front-to-back depth at heights z, in mm."""
        return self._profile(z, _HALF_DEPTH) * (1 + 0.30 * (self.fatness - 0.4) * self.belly(z))

    def center_y(self, z: Profile) -> Profile:
        """Return the front-back position of the centre: the back stays, the front bulges."""
        grown = self.half_depth(z) - self._profile(z, _HALF_DEPTH)
        return self._profile(z, _CENTER_Y) + grown

    def belly(self, z: Profile) -> Profile:
        """Return how far a height belongs to the soft belly, 0 to 1."""
        return np.interp(z, [-250, -170, -20, 90], [0, 1, 1, 0.3])

    def outline(self, angle: Profile, z: Profile, inset_mm: float) -> Profile:
        """Return outline points ``inset_mm`` under the muscle's surface, shape (N, 3).

        Args:
            angle: Direction from the centre: 0 to the right, pi / 2 to the front.
            z: Height of every point.
            inset_mm: Depth under the surface.
        """
        c, s = np.cos(angle), np.sin(angle)
        a, b = self.half_width(z), self.half_depth(z)
        norm = (np.abs(c / a) ** _EXPONENT + np.abs(s / b) ** _EXPONENT) ** (1 / _EXPONENT)
        radius = 1 / norm - inset_mm
        return np.stack([radius * c, self.center_y(z) + radius * s, z], axis=-1)

    def _profile(self, z: Profile, values: Profile) -> Profile:
        return np.interp(-z, -_LEVELS, values)


@dataclass(frozen=True, slots=True)
class Torso:
    """Depth fields that other painters place their organs by, shape (I, J, K), in mm.

    Attributes:
        section: The muscular outline.
        height: Anatomy height of every slice on the body's axis, shape (K,).
        wall_depth: Depth under the outer surface of the muscles, negative outside.
        cavity_depth: Depth inside the body cavity, negative in the wall.
        below_dome: Distance below the diaphragm, negative in the chest.
    """

    section: Section
    height: Field
    wall_depth: Field
    cavity_depth: Field
    below_dome: Field


def paint_torso(
    canvas: Canvas, patient: Patient, density: Radiodensity, rng: np.random.Generator
) -> Torso:
    """Paint skin, fat, muscle and the fat-filled cavity; return the depth fields."""
    section = Section(patient.fatness)
    middle = tuple(count // 2 for count in canvas.shape[:2])
    height = canvas.z[middle[0], middle[1]]
    wall_depth, frontness = _wall_depth(canvas, section, height)
    skin_depth = wall_depth + _fat_thickness(patient, frontness, height)
    skin_depth -= _back_furrow(canvas, frontness, height)
    cavity_depth = wall_depth - _wall_thickness(canvas, frontness, height)
    _narrow_to_pelvis_in_place(cavity_depth, canvas, height)
    whole = (slice(None), slice(None), slice(None))
    canvas.paint(whole, -skin_depth, hu=5.0, tissue=Tissue.FAT)
    canvas.paint(whole, 2.0 - skin_depth, hu=density.fat, tissue=Tissue.FAT)
    canvas.paint(
        whole,
        _muscle_distance(wall_depth, cavity_depth, height),
        hu=density.muscle,
        tissue=Tissue.MUSCLE,
    )
    back = _back_muscle(canvas, height)
    canvas.paint(
        whole,
        np.maximum(-cavity_depth, -back),
        hu=density.fat - 3,
        tissue=Tissue.VISCERAL_FAT,
        over=(Tissue.MUSCLE, Tissue.FAT),
    )
    below_dome = _dome(canvas, cavity_depth, rng) - canvas.z
    return Torso(section, height, wall_depth, cavity_depth, below_dome)


def _wall_depth(canvas: Canvas, section: Section, height: Field) -> tuple[Field, Field]:
    y = canvas.y - section.center_y(height).astype(np.float32)
    radius = np.sqrt(canvas.x * canvas.x + y * y) + np.float32(0.1)
    u = np.abs(canvas.x) / section.half_width(height).astype(np.float32)
    v = np.abs(y) / section.half_depth(height).astype(np.float32)
    # u ** 2.3 is written with square roots because a general power costs five times as much.
    norm = u * u * np.sqrt(np.sqrt(u)) + v * v * np.sqrt(np.sqrt(v)) + np.float32(1e-6)
    rho = np.exp(np.log(norm) * np.float32(1 / 2.25))
    frontness = y / radius
    behind = np.clip(-frontness, 0, 1)
    aside = np.abs(canvas.x)
    bulge = 7 * np.exp(-(((aside - 40) / 22) ** 2)) - 5 * np.exp(-((aside / 10) ** 2))
    return radius / rho - radius + bulge * behind * behind, frontness


def _muscle_distance(wall_depth: Field, cavity_depth: Field, height: Field) -> Field:
    """Return the distance to the muscular wall: all round the belly, a lining in the pelvis."""
    lining = np.interp(height, [-140, -122], [13, 300]).astype(np.float32)
    return np.maximum(-wall_depth, -(cavity_depth + lining))


def _fat_thickness(patient: Patient, frontness: Field, height: Field) -> Field:
    fat = patient.fatness
    female = 0.0 if patient.is_male else 1.0
    hips = np.interp(height, [-300, -230, -120, 0, 100], [1.25, 1.3, 1.0, 0.8, 0.6])
    side = (5 + 30 * fat) * (hips + 0.3 * female * (height < -100))
    front = (6 + 36 * fat) * np.interp(height, [-280, -200, -60, 40, 120], [0.9, 1, 1, 0.6, 0.5])
    back = (7 + 22 * fat) * hips
    square = frontness * frontness
    end = np.where(frontness > 0, front.astype(np.float32), back.astype(np.float32))
    base = side.astype(np.float32)
    return base + (end - base) * square


def _back_furrow(canvas: Canvas, frontness: Field, height: Field) -> Field:
    behind = np.clip(-frontness, 0, 1)
    near = np.float32(1) / (1 + (canvas.x / np.float32(16)) ** 2)
    cleft = np.interp(height, [-250, -200, -150], [34, 12, 8]).astype(np.float32)
    return cleft * behind * behind * near


def _wall_thickness(canvas: Canvas, frontness: Field, height: Field) -> Field:
    aside = np.abs(canvas.x)
    rectus = 2.5 + 9 * np.clip(1 - ((aside - 34) / 31) ** 2, 0, None)
    lateral = np.clip((aside - 68) / 24, 0, 1) * np.clip(frontness + 0.9, 0, 1)
    belly = np.interp(height, [-10, 50], [1, 0]).astype(np.float32)
    abdominal = rectus + lateral * (17 - rectus)
    abdominal = np.where(frontness > 0, abdominal, np.float32(17))
    return (np.float32(13) + (abdominal - 13) * belly).astype(np.float32)


def _narrow_to_pelvis_in_place(cavity_depth: Field, canvas: Canvas, height: Field) -> None:
    low = np.flatnonzero(height < -112)
    if low.size == 0:
        return
    part = (slice(None), slice(None), slice(low.min(), low.max() + 1))
    level = -height[part[2]]
    half, front, back = (
        np.interp(level, -_PELVIS_LEVELS, values).astype(np.float32)
        for values in (_PELVIS_HALF_WIDTH, _PELVIS_FRONT, _PELVIS_BACK)
    )
    closed = half <= 5
    half = np.maximum(half, 5)
    u = canvas.x[part] / half
    v = (canvas.y[part] - (front + back) / 2) / np.maximum((front - back) / 2, 5)
    depth = (1 - np.sqrt(u * u + v * v)) * np.minimum(half, np.maximum((front - back) / 2, 5))
    depth[..., closed] = -20
    cavity_depth[part] = np.minimum(cavity_depth[part], depth)


def _back_muscle(canvas: Canvas, height: Field) -> Field:
    """Return the distance in front of the muscles beside the spine, negative inside them."""
    aside = np.abs(canvas.x)
    chest = np.interp(height, [-40, 20], [0, 1]).astype(np.float32)
    low = np.interp(height, [-165, -135], [-200, 0]).astype(np.float32)
    lumbar = np.clip(2 - 0.10 * np.clip(aside - 50, 0, None) - 0.004 * (aside - 50) ** 2, -60, 2)
    thoracic = np.where(aside < 46, np.float32(-24), np.float32(-24) - 1.2 * (aside - 46))
    return (canvas.y - low - (lumbar + (thoracic - lumbar) * chest)).astype(np.float32)


def _dome(canvas: Canvas, cavity_depth: Field, rng: np.random.Generator) -> Field:
    """Return the height of the diaphragm above every voxel, in anatomy mm."""
    right = 104 + rng.normal(0, 8)
    left = right - 20 + rng.normal(0, 5)
    middle = left - 6
    x = canvas.x
    top = np.where(x > 0, np.float32(right), np.float32(left))
    top -= np.float32(top.mean() - middle) * np.exp(-(((x + 8) / 28) ** 2)) * np.float32(0.8)
    top -= np.float32(0.0032) * (np.abs(x) - 66) ** 2 + np.float32(0.0022) * (canvas.y - 62) ** 2
    drop = np.clip(72 + 0.45 * (50 - canvas.y), 22, 115)
    depth = np.clip(cavity_depth, 0, None)
    return (top - drop * np.exp(depth * np.float32(-1 / 12.0))).astype(np.float32)
