"""An imperfect outline of a known mask: the demo's reader, on phantoms only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from configs.simulated_reader import ReaderSkill
from model.grid import Triple
from model.metrics import Mask

_SPREADS = 4.0


def outline(
    truth: Mask,
    spacing_mm: Triple,
    structure: str,
    *,
    skill: ReaderSkill,
    lesion: bool,
    generator: np.random.Generator,
) -> Mask:
    """Return what the reader draws, shape of ``truth``.

    The true surface is moved in and out by a smooth random distance. A lesion may be missed.

    Args:
        truth: The true mask, shape (I, J, K).
        spacing_mm: Voxel size.
        structure: Sets how large the error is.
        skill: Of the reader.
        lesion: Whether the structure can be missed.
        generator: Draws the error.
    """
    result = np.zeros_like(truth)
    if not truth.any() or (lesion and generator.random() < skill.lesion_miss_share):
        return result
    error_mm = skill.error_mm(structure)
    box = _grown_box(truth, _SPREADS * error_mm, spacing_mm)
    crop = truth[box]
    inward = np.asarray(ndimage.distance_transform_edt(np.pad(crop, 1), sampling=spacing_mm))
    outward = np.asarray(ndimage.distance_transform_edt(~np.pad(crop, 1), sampling=spacing_mm))
    distance_mm = (inward - outward)[1:-1, 1:-1, 1:-1]
    result[box] = (
        distance_mm + error_mm * _smooth_noise(crop.shape, spacing_mm, skill, generator) > 0
    )
    return result


def _smooth_noise(
    shape: tuple[int, ...], spacing_mm: Triple, skill: ReaderSkill, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return noise of standard deviation 1 that is alike over ``smooth_mm``."""
    noise = generator.standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, [skill.smooth_mm / s for s in spacing_mm], mode="wrap")
    return smooth / max(float(smooth.std()), 1e-12)


def _grown_box(truth: Mask, margin_mm: float, spacing_mm: Triple) -> tuple[slice, ...]:
    slices = ndimage.find_objects(truth.astype(np.uint8))[0]
    grown = []
    for where, size, spacing in zip(slices, truth.shape, spacing_mm, strict=True):
        margin = int(np.ceil(margin_mm / spacing)) + 1
        grown.append(slice(max(0, where.start - margin), min(size, where.stop + margin)))
    return tuple(grown)
