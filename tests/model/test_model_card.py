import hashlib

import numpy as np
import pytest
import torch

from model.calibration import StructureCalibration
from model.model_card import (
    DatasetUse,
    InheritedLicence,
    configuration_hash,
    inherited_licences,
    licences,
    retrained_card,
    temperature_section,
    training_card,
    validation_section,
)
from storage.model_card import card_markdown, card_temperatures

CONFIGURATION = {"b": 1, "a": {"d": [1, 2], "c": "x"}}


def use(name, flag="nc", **annotated):
    return DatasetUse(
        id=name,
        cases=10,
        patients=9,
        licence_flag=flag,
        licence=f"licence of {name}",
        annotated=annotated,
    )


def card(*datasets, weights=()):
    return training_card(
        datasets,
        structures=("liver", "spleen", "aorta"),
        configuration=CONFIGURATION,
        code={"atlasloop": "0.1.0"},
        weights=weights,
    )


def test_structures_name_their_sources_and_a_single_one_is_flagged():
    made = card(use("lits", liver=10), use("btcv", "registration", liver=4, spleen=7))

    assert made["structures"] == {
        "liver": {"sources": {"btcv": 4, "lits": 10}, "single_source": False},
        "spleen": {"sources": {"btcv": 7}, "single_source": True},
        "aorta": {"sources": {}, "single_source": False},
    }
    assert made["datasets"][0] == {
        "id": "lits",
        "cases": 10,
        "patients": 9,
        "licence_flag": "nc",
        "licence": "licence of lits",
    }


def test_licences_come_from_data_and_from_the_weights_before():
    start = card(use("lits"), weights=[InheritedLicence("published", "nc-nd", "CC BY-NC-ND 4.0")])

    made = card(use("own", "none"), use("lits"), weights=inherited_licences(start))

    assert made["licences"]["flags"] == ["nc-nd", "nc", "none"]
    assert [one["from"] for one in made["licences"]["inherited"]] == ["published", "lits", "own"]
    assert inherited_licences({}) == ()


def test_an_unknown_flag_comes_first():
    assert licences([InheritedLicence("a", "permissive", ""), InheritedLicence("b", "odd", "")])[
        "flags"
    ] == ["odd", "permissive"]


def test_the_configurations_hash_is_of_its_canonical_json():
    text = '{"a":{"c":"x","d":[1,2]},"b":1}'

    assert configuration_hash(CONFIGURATION) == hashlib.sha256(text.encode()).hexdigest()
    assert configuration_hash({"a": {"d": [1, 2], "c": "x"}, "b": 1}) == configuration_hash(
        CONFIGURATION
    )
    assert configuration_hash({"a": 1}) != configuration_hash({"a": 2})


def test_retraining_adds_its_labels_once():
    first = card(use("lits", liver=10))
    once = {**first, **retrained_card(first, use("this workspace", "none", liver=3, spleen=2))}

    twice = {**once, **retrained_card(once, use("this workspace", "none", liver=5))}

    assert twice["structures"]["liver"]["sources"] == {"lits": 10, "this workspace": 5}
    assert twice["structures"]["spleen"] == {"sources": {}, "single_source": False}
    assert [one["id"] for one in twice["datasets"]] == ["lits", "this workspace"]
    assert twice["licences"]["flags"] == ["nc", "none"]
    assert retrained_card({"steps": 3}, use("x")) == {}


def calibration(structure, temperature, source="own"):
    return StructureCalibration(
        structure=structure,
        temperature=temperature,
        source=source,
        patients=5,
        patients_with=4,
        voxels=1000,
        error_before=0.1,
        error_after=0.02,
        loss_before=0.3,
        loss_after=0.2,
    )


def test_temperatures_come_back_from_a_card():
    section = temperature_section(
        [calibration("liver", 1.7), calibration("aorta", 1.0, "unchanged")], fitted_on="the gate"
    )

    assert card_temperatures({"temperatures": section}) == {"liver": 1.7}
    assert card_temperatures({}) == {}


def test_the_page_shows_every_section():
    from model.inference_settings import InferenceSettings
    from model.validation import validate_network
    from model.validation_case import ValidationCase, crops

    class AllLiver(torch.nn.Module):
        def forward(self, images, structure_index=None):
            return torch.full_like(images, 4.0)

    hu = np.zeros((20, 20, 20), np.int16)
    case = ValidationCase(
        case_id="c",
        patient_id="p",
        hu=hu,
        spacing_mm=(2.0, 2.0, 2.0),
        references=crops({"liver": hu == 0}),
    )
    inference = InferenceSettings(spacing_mm=(2.0, 2.0, 2.0), patch=(20, 20, 20))
    summary = validate_network(
        AllLiver(), inference, [case], structures=("liver",), device=torch.device("cpu")
    )
    section = validation_section(summary, about="One block.")
    full = {
        **card(use("lits", liver=10)),
        "validations": {"blocks": section},
        "temperatures": temperature_section([calibration("liver", 1.7)], fitted_on="blocks"),
        "steps": 5,
    }

    page = card_markdown("first", "ab" * 32, full)

    assert section["structures"][0]["dsc"] == pytest.approx(1.0)
    for line in (
        "# first",
        "Flags inherited from data and weights: **nc**.",
        "| lits | 10 | 9 | nc |",
        "| liver | 10 | 1 | lits (10) | **single source** |",
        "## Validation on blocks",
        "1 CTs of 1 patients. One block.",
        "| liver | 1 | 1.000 | 1.000 |",
        "| liver | 1.700 | own | 5 | 0.100 -> 0.020 |",
        "- steps: 5",
    ):
        assert line in page.splitlines()
