"""How a site scans: grid, contrast phases, noise, blur and the part of the body that it covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from configs.errors import UsageError


class Phase(StrEnum):
    """When the scan was taken after contrast medium was given, if it was."""

    NONCONTRAST = "noncontrast"
    ARTERIAL = "arterial"
    PORTAL = "portal"


class FieldOfView(StrEnum):
    """The part of the trunk that a scan covers."""

    TRUNK = "trunk"
    ABDOMEN_PELVIS = "abdomen_pelvis"
    UPPER_ABDOMEN = "upper_abdomen"
    PELVIS = "pelvis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Scan settings of a site; ranges are drawn from anew for every case.

    Attributes:
        spacing_mm: Voxel size along (I, J, K).
        slice_thickness_mm: Length that a slice averages over; at least the spacing along K.
        phases: Relative weight of each contrast phase.
        fields: Relative weight of each field of view.
        noise_sd_hu: Lowest and highest standard deviation of the noise; drawn log-uniformly.
        blur_mm: Lowest and highest standard deviation of the in-plane point spread.
        hu_offset: Calibration error of the scanner, added to every voxel.
    """

    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    slice_thickness_mm: float = 3.0
    phases: Mapping[Phase, float] = field(
        default_factory=lambda: {Phase.NONCONTRAST: 0.25, Phase.ARTERIAL: 0.2, Phase.PORTAL: 0.55}
    )
    fields: Mapping[FieldOfView, float] = field(
        default_factory=lambda: {
            FieldOfView.TRUNK: 0.3,
            FieldOfView.ABDOMEN_PELVIS: 0.4,
            FieldOfView.UPPER_ABDOMEN: 0.2,
            FieldOfView.PELVIS: 0.1,
        }
    )
    noise_sd_hu: tuple[float, float] = (8.0, 25.0)
    blur_mm: tuple[float, float] = (0.8, 1.6)
    hu_offset: float = 0.0

    def __post_init__(self) -> None:
        if min(self.spacing_mm) < 1.0 or max(self.spacing_mm) > 12.0:
            raise UsageError(f"phantom spacing must lie in 1 to 12 mm, got {self.spacing_mm}")
        for name, weights in (("phases", self.phases), ("fields", self.fields)):
            if min(weights.values(), default=0.0) < 0 or sum(weights.values()) <= 0:
                raise UsageError(f"{name} needs weights >= 0, one of them > 0; got {weights}")
        for name, (low, high) in (("noise_sd_hu", self.noise_sd_hu), ("blur_mm", self.blur_mm)):
            if not 0 < low <= high:
                raise UsageError(f"{name} must be a rising pair above 0, got ({low}, {high})")

    def draw_phase(self, rng: np.random.Generator) -> Phase:
        """Return a contrast phase, drawn by weight."""
        return Phase(_draw(rng, self.phases))

    def draw_field(self, rng: np.random.Generator) -> FieldOfView:
        """Return a field of view, drawn by weight."""
        return FieldOfView(_draw(rng, self.fields))

    def draw_noise_sd_hu(self, rng: np.random.Generator) -> float:
        """Return a noise level, drawn log-uniformly."""
        low, high = np.log(self.noise_sd_hu)
        return float(np.exp(rng.uniform(low, high)))

    def draw_blur_mm(self, rng: np.random.Generator) -> float:
        """Return a point-spread width, drawn uniformly."""
        return float(rng.uniform(*self.blur_mm))


def _draw(
    rng: np.random.Generator, weights: Mapping[Phase, float] | Mapping[FieldOfView, float]
) -> str:
    # Sorted, so that equal mixes draw alike whatever order they were written in.
    ordered = sorted((str(name), weight) for name, weight in weights.items())
    p = np.array([weight for _, weight in ordered], float)
    return str(rng.choice([name for name, _ in ordered], p=p / p.sum()))
