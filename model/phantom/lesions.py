"""Tumors and cysts: planned by the patient's luck, painted into their host organs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model.phantom.anatomy import STRUCTURES, Tissue
from model.phantom.canvas import Box, depth_inside
from model.phantom.scene import Scene
from model.phantom.shapes import Ellipsoid, rotation
from model.phantom.smooth import Field


@dataclass(frozen=True, slots=True)
class Lesion:
    """One tumor or cyst that lies in the field of view.

    Attributes:
        structure: Name in the taxonomy.
        host: The organ that contains it.
        diameter_mm: Diameter of the sphere of equal volume.
        volume_ml: Volume inside the field of view.
    """

    structure: str
    host: str
    diameter_mm: float
    volume_ml: float


@dataclass(frozen=True, slots=True)
class Kind:
    """How lesions of a kind occur and look.

    Attributes:
        structures: Names that share one mask; two where two protocols name the same anatomy.
        hosts: Organs it may sit in.
        chance: Probability that a patient has any.
        most: Largest number in one patient.
        median_mm: Median diameter.
        spread: Standard deviation of the logarithm of the diameter.
        bulge: How far from the host's surface a centre may lie, over the radius; 0 is on it.
        swells: Whether it pushes the host's surface outwards into fat.
    """

    structures: tuple[str, ...]
    hosts: tuple[str, ...]
    chance: float
    most: int
    median_mm: float
    spread: float
    bulge: float
    swells: bool


KINDS = (
    Kind(("liver_tumor", "hepatic_vessel_tumor"), ("liver",), 0.5, 5, 22, 0.5, 0.8, swells=False),
    Kind(("pancreas_tumor",), ("pancreas",), 0.36, 1, 27, 0.3, 0.0, swells=True),
    Kind(("kidney_tumor",), ("kidney_right", "kidney_left"), 0.34, 2, 32, 0.37, 0.1, swells=True),
    Kind(("kidney_cyst",), ("kidney_right", "kidney_left"), 0.42, 4, 18, 0.45, 0.1, swells=True),
    Kind(("lung_tumor",), ("lung_right", "lung_left"), 0.35, 3, 18, 0.45, 1.0, swells=False),
    Kind(("colon_tumor",), ("colon",), 0.34, 1, 38, 0.22, -0.1, swells=False),
)
TUMOR_FREE_SHARE = 0.2

_SWELLS_INTO = (Tissue.VISCERAL_FAT, Tissue.RENAL_FAT, Tissue.FLUID)


def paint_lesions(
    scene: Scene, *, wanted: bool | None
) -> tuple[dict[str, npt.NDArray[np.bool_]], tuple[Lesion, ...]]:
    """Paint lesions into the scene and return their masks and descriptions.

    Args:
        scene: A scene with all organs painted.
        wanted: True for every kind whose host is in view, False for none, None for chance.

    Returns:
        Masks by structure, shape (I, J, K), only of those present, and one entry per lesion.
    """
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    found: list[Lesion] = []
    free = scene.rng.random() < TUMOR_FREE_SHARE if wanted is None else not wanted
    for kind in KINDS:
        luck, count = scene.rng.random(), int(scene.rng.integers(1, kind.most + 1))
        if free or (wanted is None and luck > kind.chance):
            continue
        for _ in range(count):
            _place(scene, kind, masks, found)
    return masks, tuple(found)


def _place(
    scene: Scene, kind: Kind, masks: dict[str, npt.NDArray[np.bool_]], found: list[Lesion]
) -> None:
    """Paint one lesion, or none when no host is in view."""
    host = str(scene.rng.choice(kind.hosts))
    diameter = float(np.clip(np.exp(scene.rng.normal(np.log(kind.median_mm), kind.spread)), 6, 85))
    center = _choose_center(scene, kind, host, diameter / 2)
    if center is None:
        return
    turn = rotation(about_z=scene.rng.uniform(0, 180))
    radii = diameter / 2 * np.clip(scene.rng.normal(1, 0.13, 3), 0.7, 1.35)
    shape = Ellipsoid(tuple(center), tuple(radii), turn)
    blob = scene.blob(shape, rough_mm=min(2.0, 0.07 * diameter), knot_mm=max(8.0, diameter * 0.4))
    if blob is None:
        return
    box, distance = blob
    mask = _paint(scene, kind, host, box, distance)
    volume = float(mask.sum() * np.prod(scene.canvas.spacing_mm) / 1000)
    if volume < 0.1:
        return
    for structure in kind.structures:
        full = masks.setdefault(structure, np.zeros(scene.canvas.shape, bool))
        full[box] |= mask
        size = (volume * 1000 * 6 / np.pi) ** (1 / 3)
        found.append(Lesion(structure, host, round(float(size), 1), round(volume, 3)))


def _choose_center(scene: Scene, kind: Kind, host: str, radius: float) -> np.ndarray | None:
    """Return an anatomy point in the host at a depth that suits the kind; None when not in view."""
    canvas = scene.canvas
    inside = canvas.is_any(STRUCTURES[host])
    boxes = ndimage.find_objects(inside.view(np.uint8))
    if not boxes or np.count_nonzero(inside) * np.prod(canvas.spacing_mm) < 4000:
        return None
    box = boxes[0]
    step = 2 if inside[box].size > 120_000 else 1
    part = inside[box][(slice(None, None, step),) * 3]
    depth = depth_inside(part, canvas.spacing_mm, step)
    wanted = min(radius * kind.bulge, float(depth.max()) * 0.8)
    near = np.argwhere((depth > max(wanted, 1)) & (depth < max(wanted, 1) + radius + 6))
    if len(near) == 0:
        return None
    place = near[scene.rng.integers(len(near))] * step
    at = tuple(int(p + part_.start) for p, part_ in zip(place, box, strict=True))
    return np.array([canvas.x[at], canvas.y[at], canvas.z[at]], float)


def _paint(scene: Scene, kind: Kind, host: str, box: Box, distance: Field) -> npt.NDArray[np.bool_]:
    """Paint a lesion and return its mask inside the box."""
    canvas = scene.canvas
    hosts = STRUCTURES[host]
    if kind.swells:
        canvas.paint(box, distance, hu=scene.density.fat, tissue=hosts[0], over=_SWELLS_INTO)
    hu = _LOOKS[kind.structures[0]](scene, box, distance)
    canvas.paint(box, distance, hu=hu, tissue=None, over=hosts)
    return (distance < 0) & canvas.is_any(hosts, box)


def _liver_tumor(scene: Scene, box: Box, distance: Field) -> Field:
    density = scene.density
    necrotic = scene.rng.random() < 0.4
    hu = _solid(scene, box, density.tumor - float(scene.rng.uniform(0, 18)), 9.0)
    if necrotic:
        hu -= np.clip(-distance - 6, 0, 6) * np.float32(4)
    if scene.patient.phase == "arterial" and scene.rng.random() < 0.5:
        hu += 55
    return hu


def _kidney_tumor(scene: Scene, box: Box, distance: Field) -> Field:
    hu = _solid(scene, box, scene.density.kidney_tumor, 20.0)
    return hu - np.clip(-distance - 8, 0, 8) * np.float32(scene.rng.uniform(0, 4))


def _cyst(scene: Scene, box: Box, distance: Field) -> Field:
    dense = 45 if scene.rng.random() < 0.08 else 0
    return np.full(distance.shape, scene.density.cyst + dense, np.float32)


def _pancreas_tumor(scene: Scene, box: Box, distance: Field) -> Field:
    faint = 25.0 if scene.rng.random() < 0.15 else 0.0
    return _solid(scene, box, scene.density.pancreas_tumor + faint, 7.0)


def _lung_tumor(scene: Scene, box: Box, distance: Field) -> Field:
    return _solid(scene, box, float(scene.rng.uniform(20, 60)), 8.0)


def _colon_tumor(scene: Scene, box: Box, distance: Field) -> Field:
    return _solid(scene, box, scene.density.gut_wall + 2, 9.0)


def _solid(scene: Scene, box: Box, hu: float, texture_hu: float) -> Field:
    return np.float32(hu) + scene.canvas.noise(box, 9.0, scene.rng) * np.float32(texture_hu)


_LOOKS: dict[str, Callable[[Scene, Box, Field], Field]] = {
    "liver_tumor": _liver_tumor,
    "kidney_tumor": _kidney_tumor,
    "kidney_cyst": _cyst,
    "pancreas_tumor": _pancreas_tumor,
    "lung_tumor": _lung_tumor,
    "colon_tumor": _colon_tumor,
}
