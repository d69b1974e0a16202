"""Random changes of a training patch, each a setting; mirroring alone moves left and right.

A turn, even by 90 or 180 degrees, is a patient who lies otherwise: the left kidney stays the left
one. A mirrored patient's left kidney is a right one, so whoever reads a mirrored patch swaps the
sides of its labels, see ``is_mirrored`` and ``model.sides``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from configs.errors import ConfigError

_SHARES = ("affine_share", "quarter_turn_share", "mirror_share", "zoom_share", "shift_share")
_SPREADS = ("rotation_degrees", "scale", "shift", "contrast", "brightness", "noise")


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSettings:
    """How far patches are changed, and how many of them; 0 turns a change off.

    Attributes:
        affine_share: Share of the patches that are turned and scaled; the others are read faster,
            without interpolation.
        rotation_degrees: Largest turn about each axis.
        scale: Largest relative change of size along each axis.
        quarter_turn_share: Share that is turned by 90, 180 or 270 degrees about the body's long
            axis.
        mirror_share: Share that is mirrored left to right, with the sides of the labels swapped.
            Off by default: a mirrored liver lies where hardly any patient has it.
        zoom_share: Share that is enlarged by a factor from ``zoom``, alike along all axes.
        zoom: Smallest and largest factor.
        shift_share: Share whose intensities are all shifted by up to ``shift``.
        shift: Largest shift, as a share of the window.
        contrast: Standard deviation of the relative change of contrast.
        brightness: Standard deviation of the shift, as a share of the window.
        noise: Largest standard deviation of voxel noise, as a share of the window.
    """

    affine_share: float = 1.0
    rotation_degrees: float = 6.0
    scale: float = 0.12
    quarter_turn_share: float = 0.0
    mirror_share: float = 0.0
    zoom_share: float = 0.0
    zoom: tuple[float, float] = (1.3, 1.5)
    shift_share: float = 0.0
    shift: float = 0.10
    contrast: float = 0.10
    brightness: float = 0.04
    noise: float = 0.04

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        for name in _SPREADS:
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ConfigError(
                    f"{name} must be finite and at least 0, got {getattr(self, name)}"
                )
        low, high = self.zoom
        if not (0 < low <= high and math.isfinite(high)):
            raise ConfigError(f"zoom must rise and be positive, got {self.zoom}")
        if self.scale >= 1:
            raise ConfigError(f"scale must be below 1, got {self.scale}")


PAPER_AUGMENTATION = AugmentationSettings(
    affine_share=0.0,
    quarter_turn_share=0.10,
    zoom_share=0.3,
    shift_share=0.20,
    contrast=0.0,
    brightness=0.0,
    noise=0.0,
)
"""That of the CLIP-driven universal model (Liu et al. 2023); there, only the CTs of the Medical
Segmentation Decathlon are zoomed, and images are zoomed before a patch is chosen."""


def draw_transform(settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    """Return a random map from offsets in the patch to offsets in the volume, shape (3, 3)."""
    transform = torch.eye(3)
    if _happens(settings.affine_share, generator):
        transform = _turn(settings, generator) * _scale(settings, generator)
    if _happens(settings.zoom_share, generator):
        low, high = settings.zoom
        transform = transform / (low + (high - low) * _uniform(generator))
    if _happens(settings.quarter_turn_share, generator):
        quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        turns = int(torch.randint(1, 4, (), generator=generator))
        transform = transform @ torch.linalg.matrix_power(quarter, turns)
    if _happens(settings.mirror_share, generator):
        transform = transform @ torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    return transform


def is_mirrored(transform: Tensor) -> bool:
    """Whether a map of offsets turns left into right."""
    return float(torch.det(transform)) < 0


def change_intensities(
    image: Tensor, settings: AugmentationSettings, generator: torch.Generator
) -> Tensor:
    """Return an image in [0, 1] with other contrast, brightness and noise, clipped to [0, 1]."""
    factor = 1 + settings.contrast * _normal(generator)
    shift = settings.brightness * _normal(generator)
    if _happens(settings.shift_share, generator):
        shift += settings.shift * _symmetric(generator)
    deviation = settings.noise * _uniform(generator)
    if factor == 1 and shift == 0 and deviation == 0:
        return image
    changed = (image - 0.5) * factor + (0.5 + shift)
    if deviation > 0:
        noise = torch.randn(image.shape, generator=generator).to(image.device)
        changed = changed.add_(noise, alpha=deviation)
    return changed.clamp_(0.0, 1.0)


def _turn(settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    turn = torch.eye(3)
    for axis in range(3):
        angle = math.radians(settings.rotation_degrees) * _symmetric(generator)
        plane = [other for other in range(3) if other != axis]
        step = torch.eye(3)
        step[plane[0], plane[0]] = step[plane[1], plane[1]] = math.cos(angle)
        step[plane[0], plane[1]] = -math.sin(angle)
        step[plane[1], plane[0]] = math.sin(angle)
        turn = turn @ step
    return turn


def _scale(settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    return torch.tensor([1 + settings.scale * _symmetric(generator) for _ in range(3)])


def _happens(share: float, generator: torch.Generator) -> bool:
    return share > 0 and _uniform(generator) < share


def _symmetric(generator: torch.Generator) -> float:
    return 2 * _uniform(generator) - 1


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((), generator=generator))
