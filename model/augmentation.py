"""Small random changes of a training patch that leave the sides of the body where they are.

There is no mirroring: structures are sided, and a mirrored liver lies where no patient has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSettings:
    """How far patches are changed.

    Attributes:
        rotation_degrees: Largest turn about each axis.
        scale: Largest relative change of size along each axis.
        contrast: Standard deviation of the relative change of contrast.
        brightness: Standard deviation of the shift, as a share of the window.
        noise: Largest standard deviation of voxel noise, as a share of the window.
    """

    rotation_degrees: float = 6.0
    scale: float = 0.12
    contrast: float = 0.10
    brightness: float = 0.04
    noise: float = 0.04


def draw_transform(settings: AugmentationSettings, generator: torch.Generator) -> Tensor:
    """Return a random rotation times scaling, shape (3, 3), that maps offsets to offsets."""
    turn = torch.eye(3)
    for axis in range(3):
        angle = math.radians(settings.rotation_degrees) * _symmetric(generator)
        plane = [other for other in range(3) if other != axis]
        step = torch.eye(3)
        step[plane[0], plane[0]] = step[plane[1], plane[1]] = math.cos(angle)
        step[plane[0], plane[1]] = -math.sin(angle)
        step[plane[1], plane[0]] = math.sin(angle)
        turn = turn @ step
    scale = torch.tensor([1 + settings.scale * _symmetric(generator) for _ in range(3)])
    return turn * scale


def change_intensities(
    image: Tensor, settings: AugmentationSettings, generator: torch.Generator
) -> Tensor:
    """Return an image in [0, 1] with other contrast, brightness and noise, clipped to [0, 1]."""
    factor = 1 + settings.contrast * _normal(generator)
    shift = settings.brightness * _normal(generator)
    deviation = settings.noise * float(torch.rand((), generator=generator))
    noise = torch.randn(image.shape, generator=generator).to(image.device)
    return ((image - 0.5) * factor + 0.5 + shift + deviation * noise).clamp_(0.0, 1.0)


def _symmetric(generator: torch.Generator) -> float:
    return 2 * float(torch.rand((), generator=generator)) - 1


def _normal(generator: torch.Generator) -> float:
    return float(torch.randn((), generator=generator))
