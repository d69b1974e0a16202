"""Shapes that gross faults add to a structure or take from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.grid import Box, Grid
from model.placed_crop import grown
from model.simulated_committee.members import Scene, blob, body_box
from model.simulated_committee.signed_field import FAR_MM, SignedField

_CONTACT_VOXELS = 2
_TRIES = 20


def cut_side(shape: SignedField, generator: np.random.Generator) -> SignedField | None:
    """Return what lies beyond a plane that leaves 40 to 85 % of a structure.

    The plane is axial in two of three cases, as at the edge of a field of view, else along another
    axis. None where the structure is too short to be cut.
    """
    axis = int(generator.choice(3, p=(1 / 6, 1 / 6, 2 / 3)))
    inside = shape.values > 0
    counts = np.count_nonzero(inside, axis=tuple(n for n in range(3) if n != axis))
    upwards = generator.random() < 0.5
    kept = float(generator.uniform(0.4, 0.85))
    share = np.cumsum(counts if upwards else counts[::-1]) / counts.sum()
    left = int(np.searchsorted(share, kept)) + 1
    if left >= np.count_nonzero(share < 1) + 1:
        return None
    planes = slice(left, None) if upwards else slice(None, len(counts) - left)
    return _slab(shape.box, axis, planes)


def dropped_slices(shape: SignedField, generator: np.random.Generator) -> SignedField | None:
    """Return a run of axial slices, 10 to 35 % of the structure's; None where it has too few."""
    slices = np.flatnonzero((shape.values > 0).any(axis=(0, 1)))
    count = max(1, round(len(slices) * float(generator.uniform(0.1, 0.35))))
    if len(slices) < 4:
        return None
    first = int(slices[0] + 1 + generator.integers(max(1, len(slices) - count - 1)))
    return _slab(shape.box, 2, slice(first, first + count))


def hole(name: str, scene: Scene, generator: np.random.Generator) -> SignedField:
    """Return a ball of 8 to 30 % of a structure's volume round a place in it.

    So does a network leave out what looks unlike the organ, such as a tumor.
    """
    places = np.argwhere(scene.masks[name])
    center = places[generator.integers(len(places))]
    volume_mm3 = len(places) * 1000 * scene.grid.voxel_ml * float(generator.uniform(0.08, 0.3))
    return blob(center, _radius_mm(volume_mm3), scene.grid)


def island(name: str, scene: Scene, generator: np.random.Generator) -> SignedField | None:
    """Return a ball of 3 to 20 % of a structure's volume, apart from it and inside the body."""
    volume_mm3 = np.count_nonzero(scene.masks[name]) * 1000 * scene.grid.voxel_ml
    radius_mm = _radius_mm(volume_mm3 * float(generator.uniform(0.03, 0.2)))
    truth, inside = scene.fields[name], body_box(scene)
    for _ in range(_TRIES):
        extra = blob(generator.uniform(inside.start, inside.stop), radius_mm, scene.grid)
        if not ((extra.values > -radius_mm) & (truth.over(extra.box) > 0)).any():
            return extra
    return None


def leak(
    name: str, neighbours: Sequence[str], scene: Scene, generator: np.random.Generator
) -> SignedField | None:
    """Return the part of a touching neighbour round a place of contact; None without neighbours.

    The ball round that place has 10 to 60 % of the structure's volume.
    """
    truth = scene.fields[name]
    i, j, k = (_CONTACT_VOXELS,) * 3
    near = grown(truth.box, (i, j, k), scene.grid.shape)
    reach_mm = _CONTACT_VOXELS * max(scene.grid.spacing_mm)
    contacts = {
        other: np.argwhere((scene.fields[other].over(near) > 0) & (truth.over(near) > -reach_mm))
        for other in neighbours
        if other in scene.fields
    }
    touching = [other for other, places in contacts.items() if len(places)]
    if not touching:
        return None
    other = touching[int(generator.integers(len(touching)))]
    places = contacts[other]
    center = places[generator.integers(len(places))] + np.asarray(near.start)
    volume_mm3 = np.count_nonzero(scene.masks[name]) * 1000 * scene.grid.voxel_ml
    extra = blob(center, _radius_mm(volume_mm3 * float(generator.uniform(0.1, 0.6))), scene.grid)
    part = np.minimum(extra.values, scene.fields[other].over(extra.box))
    return SignedField(part, extra.box)


def hallucination(
    scene: Scene, hosts: Sequence[str], generator: np.random.Generator
) -> SignedField:
    """Return a ball of 8 to 35 mm across in a host that is there, or else anywhere in the body."""
    radius_mm = float(generator.uniform(4.0, 17.5))
    present = [host for host in hosts if host in scene.fields]
    if present:
        places = np.argwhere(scene.masks[present[int(generator.integers(len(present)))]])
        return blob(places[generator.integers(len(places))], radius_mm, scene.grid)
    inside = body_box(scene)
    return blob(generator.uniform(inside.start, inside.stop), radius_mm, scene.grid)


def shift_voxels(grid: Grid, generator: np.random.Generator) -> tuple[int, int, int]:
    """Return a step of 8 to 20 mm in a random direction, in whole voxels and never zero."""
    direction = generator.standard_normal(3)
    direction *= float(generator.uniform(8, 20)) / np.linalg.norm(direction)
    step = np.rint(direction / np.asarray(grid.spacing_mm)).astype(int)
    if not step.any():
        step[int(np.argmax(np.abs(direction)))] = 1
    return int(step[0]), int(step[1]), int(step[2])


def shifted(field: SignedField, step: tuple[int, int, int], grid: Grid) -> SignedField:
    """Return a surface moved by whole voxels; what leaves the volume is cut off."""
    start = np.asarray(field.box.start) + step
    stop = np.asarray(field.box.stop) + step
    low, high = np.maximum(start, 0), np.minimum(stop, grid.shape)
    if (low >= high).any():
        return field
    kept = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    box = Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
    return SignedField(field.values[kept], box)


def _slab(box: Box, axis: int, planes: slice) -> SignedField:
    values = np.full(box.shape, -FAR_MM, np.float32)
    where = [slice(None)] * 3
    where[axis] = planes
    values[tuple(where)] = FAR_MM
    return SignedField(values, box)


def _radius_mm(volume_mm3: float) -> float:
    return float((volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3))
