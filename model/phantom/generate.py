"""One phantom from one seed: an abdominal CT, the truth of all structures and its lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.taxonomy import shipped_taxonomy
from model.phantom.acquisition import acquire, add_texture_in_place, paint_table
from model.phantom.anatomy import STRUCTURES, Tissue
from model.phantom.bowel import paint_colon, paint_duodenum, paint_intestine, paint_stomach
from model.phantom.canvas import Canvas
from model.phantom.chest import paint_chest
from model.phantom.kidneys import paint_kidneys
from model.phantom.lesions import Lesion, paint_lesions
from model.phantom.muscles import paint_muscles
from model.phantom.patient import Patient, PatientOptions, draw_patient, draw_pose
from model.phantom.pelvis import paint_pelvis
from model.phantom.protocol import FieldOfView, Phase, Protocol
from model.phantom.scene import Scene
from model.phantom.skeleton import paint_skeleton
from model.phantom.tissue import draw_radiodensity
from model.phantom.torso import Section, paint_torso
from model.phantom.upper import paint_gall_bladder, paint_liver, paint_pancreas, paint_spleen
from model.phantom.vessels import (
    paint_great_vessels,
    paint_liver_vessels,
    paint_lymph_nodes,
    paint_visceral_vessels,
)

GENERATOR_VERSION = 1
"""Rises whenever equal seeds give other bytes than before."""

_HEIGHTS_MM = {
    # field of view: mean of the lowest and of the highest slice, in anatomy mm
    FieldOfView.TRUNK: (-312.0, 165.0),
    FieldOfView.ABDOMEN_PELVIS: (-308.0, 122.0),
    FieldOfView.UPPER_ABDOMEN: (-118.0, 128.0),
    FieldOfView.PELVIS: (-316.0, -62.0),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true about a phantom beside its masks.

    Attributes:
        sex: ``"female"`` or ``"male"``.
        phase: Contrast phase.
        field: Field of view.
        missing: Organs removed by surgery.
        fatness: Body fat, 0 to 1.
        ascites: Whether there is free fluid in the abdomen.
        oral_contrast: Whether stomach and bowel hold contrast medium.
        noise_sd_hu: Nominal noise of the scan.
    """

    sex: str
    phase: Phase
    field: FieldOfView
    missing: tuple[str, ...]
    fatness: float
    ascites: bool
    oral_contrast: bool
    noise_sd_hu: float


@dataclass(frozen=True, slots=True)
class Phantom:
    """A simulated CT with its whole truth, axes (I, J, K) in RAS.

    Attributes:
        hu: Radiodensity, shape (I, J, K).
        spacing_mm: Voxel size along (I, J, K).
        masks: Mask of every structure of the taxonomy, shape (I, J, K) each; empty where absent.
            An organ's mask includes its lesions.
        lesions: One entry for every lesion and every name that it goes by.
        facts: Sex, phase, missing organs and the like.
    """

    hu: npt.NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    masks: dict[str, npt.NDArray[np.bool_]]
    lesions: tuple[Lesion, ...]
    facts: Facts


def generate_phantom(
    seed: int, *, protocol: Protocol, patient: PatientOptions | None = None
) -> Phantom:
    """Return the phantom of a seed; equal arguments give equal bytes.

    Args:
        seed: Number of the patient.
        protocol: Scan settings.
        patient: What to fix about the patient; all else is drawn.
    """
    rng = np.random.default_rng(seed)
    options = patient or PatientOptions()
    person = draw_patient(rng, protocol, options)
    canvas = _blank(rng, person, protocol)
    density = draw_radiodensity(rng, person.phase)
    torso = paint_torso(canvas, person, density, rng)
    scene = Scene(canvas, torso, person, density, rng)
    _paint_anatomy(scene)
    lesion_masks, lesions = paint_lesions(scene, wanted=options.lesions)
    back = float(canvas.pose.to_scanner(np.array([[0.0, -66 - 28 * person.fatness, -230]]))[0, 1])
    paint_table(canvas, height_mm=back - rng.uniform(8, 18), center_mm=rng.uniform(-45, 45))
    add_texture_in_place(canvas, rng)
    hu, noise_sd = acquire(canvas, protocol, rng)
    facts = Facts(
        sex=person.sex,
        phase=person.phase,
        field=person.field,
        missing=person.missing,
        fatness=round(person.fatness, 3),
        ascites=person.ascites,
        oral_contrast=person.oral_contrast,
        noise_sd_hu=round(noise_sd, 2),
    )
    return Phantom(hu, protocol.spacing_mm, _masks(canvas, lesion_masks), lesions, facts)


def _blank(rng: np.random.Generator, patient: Patient, protocol: Protocol) -> Canvas:
    """Return an empty canvas that covers the field of view, the patient rarely in its centre."""
    pose = draw_pose(rng, patient)
    section = Section(patient.fatness)
    low_z, high_z = (value + rng.normal(0, 9) for value in _HEIGHTS_MM[patient.field])
    aside = float(section.half_width(np.array(-200.0))) + 14 + 34 * patient.fatness
    half_x = aside * patient.scale[0] + rng.uniform(4, 22)
    depth = float(section.half_depth(np.array(-30.0)))
    middle = float(section.center_y(np.array(-30.0)))
    back = (middle - depth - 24 - 30 * patient.fatness) * patient.scale[1] - rng.uniform(24, 48)
    front = (middle + depth + 10 + 36 * patient.fatness) * patient.scale[1] + rng.uniform(2, 24)
    shift = rng.normal(0, 9)
    low = np.array([-half_x + shift, back, low_z * patient.scale[2]])
    high = np.array([half_x + shift, front, high_z * patient.scale[2]])
    count = np.ceil((high - low) / np.array(protocol.spacing_mm)).astype(int)
    shape = (int(count[0]), int(count[1]), int(count[2]))
    return Canvas.blank(pose, low_mm=low, shape=shape, spacing_mm=protocol.spacing_mm)


def _paint_anatomy(scene: Scene) -> None:
    """Paint all tissues; what comes first keeps its place where two want the same room."""
    paint_muscles(scene.canvas, scene.torso, scene.patient, scene.density, scene.rng)
    paint_skeleton(scene.canvas, scene.torso, scene.density)
    if scene.patient.ascites:
        _paint_ascites(scene)
    paint_great_vessels(scene)
    paint_visceral_vessels(scene)
    paint_chest(scene)
    paint_kidneys(scene)
    paint_pelvis(scene)
    paint_pancreas(scene)
    paint_duodenum(scene)
    paint_spleen(scene)
    paint_stomach(scene)
    paint_gall_bladder(scene)
    paint_liver(scene)
    paint_liver_vessels(scene)
    paint_lymph_nodes(scene)
    paint_colon(scene)
    paint_intestine(scene)


def _paint_ascites(scene: Scene) -> None:
    """Turn part of the fat between the organs into fluid, more so at the back and flanks."""
    canvas = scene.canvas
    whole = (slice(None), slice(None), slice(None))
    wave = canvas.noise(whole, 40.0, scene.rng) * np.float32(14)
    depth = scene.torso.cavity_depth
    fluid = np.maximum(depth - 24 - wave, 2 - depth)
    fluid = np.maximum(fluid, 4 - scene.torso.below_dome)
    fluid = np.maximum(fluid, 20 - canvas.y)
    canvas.paint(
        whole, fluid, hu=scene.density.ascites, tissue=Tissue.FLUID, over=(Tissue.VISCERAL_FAT,)
    )


def _masks(
    canvas: Canvas, lesions: dict[str, npt.NDArray[np.bool_]]
) -> dict[str, npt.NDArray[np.bool_]]:
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for name in shipped_taxonomy().names:
        if name in STRUCTURES:
            masks[name] = canvas.is_any(STRUCTURES[name])
        else:
            masks[name] = lesions.get(name, np.zeros(canvas.shape, bool))
    return masks
