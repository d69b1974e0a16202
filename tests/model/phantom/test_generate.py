from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from configs.taxonomy import load_taxonomy
from model.phantom.generate import Phantom, generate_phantom
from model.phantom.patient import PatientOptions
from model.phantom.protocol import FieldOfView, Phase, Protocol

COARSE = Protocol(spacing_mm=(6.0, 6.0, 6.0), slice_thickness_mm=6.0, noise_sd_hu=(8.0, 9.0))
TAXONOMY = load_taxonomy()
SEEDS = (0, 1, 2)


@cache
def trunk(seed: int) -> Phantom:
    options = PatientOptions(
        sex="male" if seed % 2 else "female",
        phase=Phase.PORTAL,
        field=FieldOfView.TRUNK,
        missing=(),
        lesions=True,
    )
    return generate_phantom(seed, protocol=COARSE, patient=options)


@cache
def crop(field: FieldOfView) -> Phantom:
    options = PatientOptions(field=field, missing=(), lesions=False)
    return generate_phantom(11, protocol=COARSE, patient=options)


def center(phantom: Phantom, name: str) -> np.ndarray:
    voxels = np.argwhere(phantom.masks[name])
    return voxels.mean(axis=0) * np.array(phantom.spacing_mm)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_structures_have_a_mask_on_the_grid(seed: int) -> None:
    phantom = trunk(seed)

    assert tuple(phantom.masks) == TAXONOMY.names
    assert phantom.hu.dtype == np.int16
    assert {mask.shape for mask in phantom.masks.values()} == {phantom.hu.shape}
    assert {mask.dtype for mask in phantom.masks.values()} == {np.dtype(bool)}


@pytest.mark.parametrize("seed", SEEDS)
def test_all_organs_are_present_in_an_uncut_patient(seed: int) -> None:
    phantom = trunk(seed)
    organs = {s.name for s in TAXONOMY.structures if not s.is_lesion}

    absent = {name for name in organs if not phantom.masks[name].any()}

    assert absent == (set() if phantom.facts.sex == "male" else {"prostate"})


@pytest.mark.parametrize("seed", SEEDS)
def test_right_is_where_the_first_index_grows(seed: int) -> None:
    phantom = trunk(seed)

    for right, left in [
        ("kidney_right", "kidney_left"),
        ("lung_right", "lung_left"),
        ("adrenal_gland_right", "adrenal_gland_left"),
        ("femur_head_right", "femur_head_left"),
        ("liver", "spleen"),
        ("gall_bladder", "stomach"),
        ("postcava", "aorta"),
    ]:
        assert center(phantom, right)[0] > center(phantom, left)[0], (right, left)


@pytest.mark.parametrize("seed", SEEDS)
def test_organs_lie_above_and_before_one_another(seed: int) -> None:
    phantom = trunk(seed)
    above = ["lung_right", "liver", "kidney_right", "bladder"]

    heights = [center(phantom, name)[2] for name in above]

    assert heights == sorted(heights, reverse=True)
    assert center(phantom, "bladder")[1] > center(phantom, "rectum")[1]
    assert center(phantom, "stomach")[1] > center(phantom, "kidney_left")[1]
    assert center(phantom, "kidney_right")[2] < center(phantom, "kidney_left")[2] + 40
    if phantom.facts.sex == "male":
        assert center(phantom, "prostate")[2] < center(phantom, "bladder")[2]


@pytest.mark.parametrize("seed", SEEDS)
def test_exclusive_neighbours_share_no_voxel(seed: int) -> None:
    phantom = trunk(seed)

    shared = {
        (s.name, other)
        for s in TAXONOMY.structures
        for other in s.exclusive
        if (phantom.masks[s.name] & phantom.masks[other]).any()
    }

    assert shared == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_parents_contain_their_children(seed: int) -> None:
    phantom = trunk(seed)

    for structure in TAXONOMY.structures:
        if structure.parents:
            hosts = np.any([phantom.masks[name] for name in structure.parents], axis=0)
            assert not (phantom.masks[structure.name] & ~hosts).any(), structure.name


@pytest.mark.parametrize("seed", SEEDS)
def test_lesions_are_described_as_they_are(seed: int) -> None:
    phantom = trunk(seed)
    voxel_ml = np.prod(phantom.spacing_mm) / 1000

    assert phantom.lesions
    for structure in {lesion.structure for lesion in phantom.lesions}:
        listed = [lesion for lesion in phantom.lesions if lesion.structure == structure]
        mask = phantom.masks[structure]
        hosts = {lesion.host for lesion in listed}
        outside = mask & ~np.any([phantom.masks[host] for host in hosts], axis=0)
        # Lesions may grow into one another, so their sum can only exceed the mask.
        assert sum(lesion.volume_ml for lesion in listed) >= mask.sum() * voxel_ml - 0.01
        assert max(lesion.volume_ml for lesion in listed) <= mask.sum() * voxel_ml + 0.01
        assert not outside.any()
    for structure in TAXONOMY.structures:
        if structure.is_lesion and phantom.masks[structure.name].any():
            assert structure.name in {lesion.structure for lesion in phantom.lesions}


def test_sphere_diameter_matches_the_volume() -> None:
    for lesion in trunk(0).lesions:
        volume = np.pi / 6 * lesion.diameter_mm**3 / 1000
        assert volume == pytest.approx(lesion.volume_ml, rel=0.05)


def test_liver_lesions_carry_both_names() -> None:
    masks = trunk(1).masks

    assert (masks["liver_tumor"] == masks["hepatic_vessel_tumor"]).all()


def test_all_kinds_of_lesions_and_sizes_occur() -> None:
    lesions = [lesion for seed in SEEDS for lesion in trunk(seed).lesions]
    kinds = {lesion.structure for lesion in lesions}
    diameters = [lesion.diameter_mm for lesion in lesions]

    assert kinds == {s.name for s in TAXONOMY.structures if s.is_lesion}
    assert min(diameters) < 15
    assert max(diameters) > 40


@pytest.mark.parametrize("seed", SEEDS)
def test_volumes_are_plausible(seed: int) -> None:
    phantom = trunk(seed)
    voxel_ml = np.prod(phantom.spacing_mm) / 1000

    for structure in TAXONOMY.structures:
        volume = phantom.masks[structure.name].sum() * voxel_ml
        if volume > 0 and not structure.is_lesion:
            low, high = structure.volume_ml
            assert low <= volume <= high, (structure.name, volume)


def deep(mask: np.ndarray) -> np.ndarray:
    eroded = ndimage.binary_erosion(mask)
    return eroded if eroded.any() else mask


@pytest.mark.parametrize("seed", SEEDS)
def test_radiodensity_is_that_of_the_tissue(seed: int) -> None:
    phantom = trunk(seed)
    healthy = ~np.any([phantom.masks[s.name] for s in TAXONOMY.structures if s.is_lesion], axis=0)
    median = {
        name: float(np.median(phantom.hu[deep(phantom.masks[name]) & healthy]))
        for name in ("lung_right", "liver", "spleen", "aorta", "bladder", "femur_head_left")
    }

    assert -930 < median["lung_right"] < -700
    assert 40 < median["liver"] < 140
    assert 80 < median["spleen"] < 150
    assert 110 < median["aorta"] < 190
    assert -15 < median["bladder"] < 35
    assert 120 < median["femur_head_left"] < 420
    assert median["aorta"] > median["liver"]


@pytest.mark.parametrize("seed", SEEDS)
def test_there_is_gas_fat_bone_and_air(seed: int) -> None:
    phantom = trunk(seed)
    gut = phantom.masks["colon"] | phantom.masks["stomach"] | phantom.masks["rectum"]

    assert (phantom.hu[gut] < -500).sum() > 10
    assert ((phantom.hu > -130) & (phantom.hu < -70)).mean() > 0.05
    assert (phantom.hu > 300).sum() > 300
    assert (phantom.hu < -950).mean() > 0.1


def test_phases_differ_as_contrast_does() -> None:
    def aorta_and_kidney(phase: Phase) -> tuple[float, float]:
        options = PatientOptions(phase=phase, field=FieldOfView.UPPER_ABDOMEN, lesions=False)
        phantom = generate_phantom(5, protocol=COARSE, patient=options)
        return (
            float(np.median(phantom.hu[deep(phantom.masks["aorta"])])),
            float(np.median(phantom.hu[deep(phantom.masks["kidney_left"])])),
        )

    plain, arterial, portal = (aorta_and_kidney(phase) for phase in Phase)

    assert plain[0] < 70 < portal[0] < arterial[0]
    assert plain[1] < 60 < portal[1]


def test_equal_arguments_give_equal_bytes() -> None:
    options = PatientOptions(field=FieldOfView.PELVIS)

    first, second = (generate_phantom(9, protocol=COARSE, patient=options) for _ in range(2))

    assert first.hu.tobytes() == second.hu.tobytes()
    assert first.lesions == second.lesions
    assert first.facts == second.facts
    assert all((first.masks[name] == second.masks[name]).all() for name in TAXONOMY.names)


def test_seeds_give_different_patients() -> None:
    assert trunk(0).hu.shape != trunk(1).hu.shape or (trunk(0).hu != trunk(1).hu).any()
    livers = {int(trunk(seed).masks["liver"].sum()) for seed in SEEDS}

    assert len(livers) == len(SEEDS)


def test_pelvic_scans_show_no_upper_abdomen() -> None:
    phantom = crop(FieldOfView.PELVIS)

    for name in ("spleen", "lung_left", "pancreas", "esophagus", "adrenal_gland_left"):
        assert not phantom.masks[name].any(), name
    for name in ("bladder", "rectum", "femur_head_left", "colon"):
        assert phantom.masks[name].any(), name


def test_upper_abdominal_scans_show_no_pelvis() -> None:
    phantom = crop(FieldOfView.UPPER_ABDOMEN)

    for name in ("bladder", "rectum", "prostate", "femur_head_right"):
        assert not phantom.masks[name].any(), name
    for name in ("liver", "spleen", "lung_left", "pancreas", "kidney_right"):
        assert phantom.masks[name].any(), name


def test_removed_organs_are_empty() -> None:
    missing = ("gall_bladder", "spleen", "kidney_left")
    options = PatientOptions(field=FieldOfView.UPPER_ABDOMEN, missing=missing, lesions=True)

    phantom = generate_phantom(4, protocol=COARSE, patient=options)

    assert phantom.facts.missing == missing
    assert not any(phantom.masks[name].any() for name in missing)
    assert phantom.masks["kidney_right"].any()
    assert not any(lesion.host in missing for lesion in phantom.lesions)


def test_tumor_free_patients_have_no_lesion() -> None:
    phantom = crop(FieldOfView.UPPER_ABDOMEN)

    assert phantom.lesions == ()
    assert not any(phantom.masks[s.name].any() for s in TAXONOMY.structures if s.is_lesion)


def test_offset_and_spacing_of_the_protocol_are_used() -> None:
    options = PatientOptions(field=FieldOfView.PELVIS)
    plain = Protocol(spacing_mm=(6.0, 6.0, 10.0), slice_thickness_mm=10.0)
    shifted = Protocol(spacing_mm=(6.0, 6.0, 10.0), slice_thickness_mm=10.0, hu_offset=20.0)

    first, second = (
        generate_phantom(8, protocol=protocol, patient=options) for protocol in (plain, shifted)
    )

    inside = (first.hu > -1000) & (first.hu < 2000)
    difference = second.hu[inside].astype(int) - first.hu[inside]
    assert first.spacing_mm == (6.0, 6.0, 10.0)
    assert np.abs(difference - 20).max() <= 1
