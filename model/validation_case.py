"""A labeled CT to validate a network on, and what to measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.grid import Triple
from model.lesion_candidates import LOW_PROBABILITY
from model.lesion_curve import THRESHOLDS
from model.network_options import DEFAULT, NetworkOptions
from model.placed_crop import Mask, PlacedMask, cropped


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationCase:
    """One CT with what is known of it.

    Attributes:
        hu: Hounsfield units, int16, shape (I, J, K), RAS.
        references: Of every annotated structure its mask, or None where it is absent; a structure
            that is not named here is not known and counts nowhere. May be a lazy mapping: a mask is
            asked for once and let go.
        role: The patient's in the frozen split, if any.
    """

    case_id: str
    patient_id: str
    hu: npt.NDArray[np.int16]
    spacing_mm: Triple
    references: Mapping[str, PlacedMask | None]
    role: str | None = None


def crops(masks: Mapping[str, Mask]) -> dict[str, PlacedMask | None]:
    """Return the references of a case from whole masks; an empty one says that it is absent."""
    return {name: cropped(mask) for name, mask in masks.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationOptions:
    """What is measured, and how the network runs.

    Attributes:
        surface: Measure surface Dice; most of the time beside the network goes there.
        calibration: Fit temperatures.
        low_probability: Above it, voxels belong to a lesion's candidate.
        thresholds: Of the candidates' peaks; none below ``low_probability``.
        size_limits: Leave out candidates of no more than ``least_lesion_mm3`` of the settings.
        network: How the network runs.
        seed: Of intervals and folds.
    """

    surface: bool = True
    calibration: bool = True
    low_probability: float = LOW_PROBABILITY
    thresholds: tuple[float, ...] = THRESHOLDS
    size_limits: bool = True
    network: NetworkOptions = DEFAULT
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.thresholds or min(self.thresholds) < self.low_probability:
            raise ValueError(
                f"thresholds start at low_probability {self.low_probability}, got {self.thresholds}"
            )


QUICK = ValidationOptions(surface=False, calibration=False)
"""For a look between training steps."""
