"""Who is scanned: sex, build, contrast phase, missing organs and planned lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from configs.errors import UsageError
from model.phantom.canvas import Pose
from model.phantom.protocol import FieldOfView, Phase, Protocol
from model.phantom.shapes import rotation
from model.phantom.smooth import Displacement

REMOVABLE = ("gall_bladder", "spleen", "kidney_right", "kidney_left")
"""Organs that a patient may lack after surgery."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientOptions:
    """What a caller fixes about a patient; None leaves it to chance.

    Attributes:
        sex: ``"female"`` or ``"male"``.
        phase: Contrast phase.
        field: Field of view.
        missing: Organs removed by surgery, out of ``REMOVABLE``.
        lesions: False for a tumor-free patient, True for one of every kind.
    """

    sex: str | None = None
    phase: Phase | None = None
    field: FieldOfView | None = None
    missing: tuple[str, ...] | None = None
    lesions: bool | None = None

    def __post_init__(self) -> None:
        if self.sex not in (None, "female", "male"):
            raise UsageError(f"sex must be 'female' or 'male', got {self.sex!r}")
        unknown = set(self.missing or ()) - set(REMOVABLE)
        if unknown:
            raise UsageError(
                f"only {', '.join(REMOVABLE)} can be missing, got {', '.join(sorted(unknown))}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One simulated person and scan.

    Attributes:
        sex: ``"female"`` or ``"male"``.
        phase: Contrast phase.
        field: Field of view.
        missing: Organs removed by surgery.
        fatness: Body fat, 0 (lean) to 1 (obese).
        scale: Size along x, y, z over an average patient's.
        ascites: Whether free fluid fills the gaps between abdominal organs.
        oral_contrast: Whether stomach and bowel hold positive contrast medium.
        irregularity: How far shapes deviate from the average, about 0.6 to 1.5.
    """

    sex: str
    phase: Phase
    field: FieldOfView
    missing: tuple[str, ...]
    fatness: float
    scale: tuple[float, float, float]
    ascites: bool
    oral_contrast: bool
    irregularity: float

    @property
    def is_male(self) -> bool:
        """Whether the patient has a prostate."""
        return self.sex == "male"


def draw_patient(rng: np.random.Generator, protocol: Protocol, options: PatientOptions) -> Patient:
    """Return a random patient, scanned under a protocol."""
    sex = str(rng.choice(["female", "male"]))
    phase, field = protocol.draw_phase(rng), protocol.draw_field(rng)
    removed = tuple(
        name
        for name, share in zip(REMOVABLE, (0.12, 0.06, 0.03, 0.04), strict=True)
        if rng.random() < share
    )
    missing = removed[:2] if options.missing is None else options.missing
    sex = options.sex or sex
    size = rng.normal(1.0 if sex == "male" else 0.95, 0.035)
    shape = rng.normal(1.0, (0.035, 0.035, 0.025))
    return Patient(
        sex=sex,
        phase=options.phase or phase,
        field=options.field or field,
        missing=missing,
        fatness=float(rng.beta(1.8, 2.4)),
        scale=tuple(np.clip(size * shape, 0.84, 1.16).tolist()),
        ascites=bool(rng.random() < 0.07),
        oral_contrast=bool(rng.random() < 0.18),
        irregularity=float(rng.uniform(0.6, 1.5)),
    )


def draw_pose(rng: np.random.Generator, patient: Patient) -> Pose:
    """Return how the patient lies and how the anatomy deviates from the average."""
    angles = np.clip(rng.normal(0, (2.5, 2.0, 3.0)), -7, 7)
    turn = rotation(about_x=angles[0], about_y=angles[1], about_z=angles[2])
    displacement = Displacement.draw(
        rng, sd_mm=3.2 * patient.irregularity, knot_mm=60.0, half_extent_mm=420.0
    )
    return Pose(turn / np.array(patient.scale)[:, None], displacement)
