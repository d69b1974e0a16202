"""Radiodensity of every tissue by contrast phase, drawn for one patient."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from model.phantom.protocol import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiodensity:
    """Mean HU of tissues in one patient and phase."""

    fat: float
    muscle: float
    liver: float
    spleen: float
    kidney_cortex: float
    kidney_medulla: float
    renal_pelvis: float
    pancreas: float
    adrenal: float
    aorta: float
    cava: float
    portal: float
    hepatic_vein: float
    gut_wall: float
    gut_fluid: float
    bile: float
    urine: float
    prostate: float
    uterus: float
    heart: float
    lung: float
    marrow: float
    cortical: float
    tumor: float
    kidney_tumor: float
    cyst: float
    pancreas_tumor: float
    faeces: float
    ascites: float


_TABLE: dict[str, tuple[float, float, float, float]] = {
    # name: non-contrast, arterial, portal venous, standard deviation between patients
    "fat": (-102, -102, -102, 5),
    "muscle": (48, 56, 60, 5),
    "liver": (57, 68, 105, 9),
    "spleen": (45, 110, 115, 10),
    "kidney_cortex": (31, 190, 185, 14),
    "kidney_medulla": (29, 75, 150, 12),
    "renal_pelvis": (6, 8, 14, 5),
    "pancreas": (40, 100, 92, 9),
    "adrenal": (22, 62, 66, 9),
    "aorta": (43, 310, 148, 12),
    "cava": (42, 85, 120, 12),
    "portal": (42, 95, 158, 12),
    "hepatic_vein": (40, 66, 145, 8),
    "gut_wall": (36, 85, 88, 8),
    "gut_fluid": (18, 18, 20, 8),
    "bile": (8, 8, 9, 5),
    "urine": (6, 6, 7, 4),
    "prostate": (40, 62, 66, 8),
    "uterus": (42, 80, 95, 9),
    "heart": (42, 230, 140, 12),
    "lung": (-840, -840, -840, 30),
    "marrow": (185, 190, 195, 35),
    "cortical": (620, 620, 620, 60),
    "tumor": (40, 62, 70, 9),
    "kidney_tumor": (34, 120, 100, 16),
    "cyst": (6, 7, 9, 5),
    "pancreas_tumor": (36, 58, 54, 9),
    "faeces": (38, 38, 38, 10),
    "ascites": (8, 8, 10, 4),
}
"""Source: design anatomy tables of this project; values without a measured case are estimates."""


def draw_radiodensity(rng: np.random.Generator, phase: Phase) -> Radiodensity:
    """Return one patient's mean HU; a share of patients has a fatty liver."""
    column = list(Phase).index(phase)
    values = {
        field.name: float(_TABLE[field.name][column] + rng.normal(0, _TABLE[field.name][3]))
        for field in fields(Radiodensity)
    }
    if rng.random() < 0.15:
        values["liver"] -= float(rng.uniform(12, 40))
    return Radiodensity(**values)
