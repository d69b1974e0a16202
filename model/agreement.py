"""How two labels of one structure of one case agree, and what that figure may be called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.grid import Triple
from model.lesion_detection import LesionMatch
from model.metrics import Agreement, dice, surface_dice, surface_distances

Mask = npt.NDArray[np.bool_]
Origin = Literal["ai", "edit", "independent", "dataset"]
Kind = Literal["independent_dsc", "reference_dsc", "edit_dsc", "model_dsc"]

KINDS: tuple[Kind, ...] = ("independent_dsc", "reference_dsc", "edit_dsc", "model_dsc")
MEANING: Mapping[Kind, str] = {
    "independent_dsc": "neither side saw the other",
    "reference_dsc": "against a dataset's labels; how these were made is not recorded here",
    "edit_dsc": "one side at least was made from seeing the AI's mask; no accuracy",
    "model_dsc": "models among themselves, which may have learned the same errors; no accuracy",
}
_ROUNDING_MM = 1e-6


def comparison_kind(first: Origin, second: Origin) -> Kind:
    """Return what a Dice between two labels is called, from how each was made."""
    origins = {first, second}
    if "edit" in origins:
        return "edit_dsc"
    if "dataset" in origins:
        return "reference_dsc"
    return "model_dsc" if origins == {"ai"} else "independent_dsc"


@dataclass(frozen=True, slots=True)
class Overlap:
    """How two masks of one structure agree.

    Attributes:
        dsc: In [0, 1], 0 where exactly one is empty; None where both are: they agree that it is
            absent, which is no number.
        surface_dice: Likewise; None also where the tolerance is under the largest voxel spacing.
    """

    dsc: float | None
    surface_dice: float | None


def compare_masks(
    tested: Mask, reference: Mask, *, spacing_mm: Triple, tolerance_mm: float
) -> Overlap:
    """Compare two masks of one shape (I, J, K), cropped or not: background adds nothing."""
    dsc = dice(tested, reference)
    if isinstance(dsc, Agreement):
        return Overlap(None, None)
    if tolerance_mm < max(spacing_mm) - _ROUNDING_MM:
        return Overlap(dsc, None)
    near = surface_dice(surface_distances(tested, reference, spacing_mm), tolerance_mm)
    return Overlap(dsc, near if isinstance(near, float) else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAgreement:
    """One structure of one case in two sources, both of which looked at it.

    Attributes:
        kind: What the figure is; see ``MEANING``.
        role: The patient's: ``train``, ``gate`` or ``report``; None before a split.
        lesions: For tumors and cysts.
        other_base: For an edit against a model: it was made from another prediction than this one.
    """

    case_id: str
    patient_id: str
    structure: str
    kind: Kind
    overlap: Overlap
    tested_present: bool
    reference_present: bool
    lesions: LesionMatch | None = None
    role: str | None = None
    other_base: bool = False

    @property
    def agree_absent(self) -> bool:
        """Whether both say that it is absent."""
        return not self.tested_present and not self.reference_present

    @property
    def counts_in_dsc(self) -> bool:
        """Whether it enters the mean: an organ that one side has, a lesion that is really there."""
        return self.reference_present or (self.tested_present and self.lesions is None)
