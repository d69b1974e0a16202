"""How a network must be shown a volume; kept with its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from configs.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceSettings:
    """What the weights were trained for.

    Attributes:
        spacing_mm: Voxel size that volumes are resampled to.
        hu_window: Intensities that become 0 and 1.
        patch: Window size in voxels (I, J, K).
        overlap: Share of a window that the next one covers again, in [0, 1).
    """

    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 1.5)
    hu_window: tuple[float, float] = (-175.0, 250.0)
    patch: tuple[int, int, int] = (96, 96, 96)
    overlap: float = 0.5

    def __post_init__(self) -> None:
        if not all(math.isfinite(size) and size > 0 for size in self.spacing_mm):
            raise ConfigError(f"inference.spacing_mm must be positive, got {self.spacing_mm} mm")
        low, high = self.hu_window
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ConfigError(f"inference.hu_window must rise, got ({low}, {high}) HU")
        if min(self.patch) < 1:
            raise ConfigError(f"inference.patch must be positive, got {self.patch} voxels")
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"inference.overlap must be in [0, 1), got {self.overlap}")

    def scale(self, hu: Tensor) -> Tensor:
        """Return intensities in [0, 1] as float32; Hounsfield units of any shape go in."""
        low, high = self.hu_window
        return ((hu.to(torch.float32) - low) / (high - low)).clamp_(0.0, 1.0)
