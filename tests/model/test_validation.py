from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from configs.errors import ModelError
from configs.taxonomy import load_taxonomy
from model.annotate import annotate_volume
from model.committee import CommitteeMember
from model.grid import Box
from model.inference_settings import InferenceSettings
from model.metrics import dice, surface_dice, surface_distances
from model.placed_crop import placed
from model.validation import validate_network
from model.validation_case import QUICK, ValidationCase, ValidationOptions, crops

CPU = torch.device("cpu")
NAMES = ("spleen", "liver", "liver_tumor")
THRESHOLDS_HU = (400.0, 20.0, 100.0)
INFERENCE = InferenceSettings(spacing_mm=(1.0, 1.0, 1.0), patch=(24, 24, 24))
SHAPE = (40, 32, 24)


class Thresholds(nn.Module):
    """The logit of structure q is the distance to threshold q, in units of 20 HU."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(THRESHOLDS_HU))

    def forward(self, images, structure_index=None):
        chosen = self.weight if structure_index is None else self.weight[structure_index]
        return (images * 425 - 175 - chosen[None, :, None, None, None]) / 20


def volume(*blocks):
    """A body of 0 HU in air with blocks of other HU."""
    hu = np.full(SHAPE, -1000, np.int16)
    hu[2:38, 2:30] = 0
    for place, value in blocks:
        hu[place] = value
    return hu


LIVER = (slice(8, 28), slice(6, 22), slice(4, 20))
TUMOR = (slice(12, 18), slice(10, 16), slice(8, 14))
SPECK = (slice(24, 27), slice(18, 21), slice(16, 19))


def block(*places):
    mask = np.zeros(SHAPE, bool)
    for place in places:
        mask[place] = True
    return mask


def case(name, hu, *, patient=None, **masks):
    return ValidationCase(
        case_id=name,
        patient_id=patient or name,
        hu=hu,
        spacing_mm=(1.0, 1.0, 1.0),
        references=crops(masks),
    )


def validate(cases, options=None):
    return validate_network(
        Thresholds(), INFERENCE, cases, structures=NAMES, device=CPU, options=options
    )


def test_only_annotated_structures_count():
    hu = volume((LIVER, 60), (TUMOR, 140))

    summary = validate([case("a", hu, liver=block(LIVER))], QUICK)

    assert [row.structure for row in summary.structures] == ["liver"]
    assert summary.dsc() == {"liver": 1.0, "macro": 1.0, "macro_organs": 1.0}
    assert (summary.cases, summary.patients, summary.lesions) == (1, 1, ())


def test_dice_is_that_of_the_masks_and_both_empty_is_apart():
    hu = volume((LIVER, 60))
    shifted = np.roll(block(LIVER), 3, axis=0)
    cases = [
        case("a", hu, liver=shifted, spleen=np.zeros(SHAPE, bool)),
        case("b", volume(), liver=np.zeros(SHAPE, bool)),
        case("c", hu, liver=np.zeros(SHAPE, bool)),
        case("d", volume(), liver=block(LIVER)),
    ]

    summary = validate(cases)

    spleen, liver = summary.structures
    expected = dice(block(LIVER), shifted)
    near = surface_dice(surface_distances(block(LIVER), shifted, (1.0, 1.0, 1.0)), 5.0)
    assert isinstance(expected, float)
    assert isinstance(near, float)
    assert (spleen.dsc, spleen.agree_absent) == (None, 1)
    assert liver.dsc is not None
    assert liver.surface_dice is not None
    assert liver.dsc.mean == pytest.approx(expected / 3)
    assert liver.surface_dice.mean == pytest.approx(near / 3)
    assert (liver.agree_absent, liver.one_empty, liver.dsc.n) == (1, 2, 3)


def test_masks_are_those_of_annotate_on_another_grid():
    rng = np.random.default_rng(1)
    hu = volume((LIVER, 60), (TUMOR, 140)) + rng.normal(0, 25, SHAPE).astype(np.int16)
    spacing_mm = (1.3, 0.9, 2.0)
    member = CommitteeMember(
        name="m", family="f", network=Thresholds().eval(), inference=INFERENCE, structures=NAMES
    )
    results = annotate_volume(hu, spacing_mm, [member], taxonomy=load_taxonomy(), device=CPU)
    references = {
        one.structure: placed(one.consensus, one.box, box_of(hu)) for one in results if one.box
    }

    whole = ValidationCase(
        case_id="a", patient_id="a", hu=hu, spacing_mm=spacing_mm, references=crops(references)
    )
    summary = validate([whole], QUICK)

    assert summary.dsc()["liver"] == 1.0
    assert summary.dsc()["liver_tumor"] == 1.0


def box_of(hu):
    return Box((0, 0, 0), hu.shape)


def test_lesions_have_candidates_peaks_and_patients():
    """The tumor's logit is 2 (0.88), the speck's 1 (0.73); the faint patient's -1 (0.27)."""
    seen = case(
        "seen",
        volume((LIVER, 60), (TUMOR, 140), (SPECK, 120)),
        liver=block(LIVER),
        liver_tumor=block(TUMOR),
    )
    faint = case("faint", volume((LIVER, 60), (TUMOR, 80)), liver_tumor=block(TUMOR))
    free = case("free", volume((LIVER, 60)), liver_tumor=np.zeros(SHAPE, bool))
    options = ValidationOptions(size_limits=False, thresholds=(0.2, 0.5, 0.8), surface=False)

    summary = validate([seen, faint, free], options)

    (curve,) = summary.lesions
    # 60 HU lies at a logit of -2, 0.12: above the low probability of 0.1, the liver itself is one
    # candidate, in which the peaks of tumor and speck stand; it touches the tumor.
    assert (curve.cts, curve.lesions, curve.patients_with, curve.patients_free) == (3, 2, 2, 1)
    assert [(p.lesions.hits, p.lesions.of) for p in curve.points] == [(2, 2), (1, 2), (1, 2)]
    assert [p.false_positives_per_ct.hits for p in curve.points] == [0, 0, 0]
    assert [p.specificity.hits for p in curve.points] == [1, 1, 1]

    apart = replace(options, low_probability=0.2)
    (curve,) = validate([seen, faint, free], apart).lesions
    assert [p.false_positives_per_ct.hits for p in curve.points] == [1, 1, 0]

    (curve,) = validate([seen, faint, free], replace(apart, size_limits=True)).lesions
    assert [p.false_positives_per_ct.hits for p in curve.points] == [0, 0, 0]


def test_a_candidate_that_is_too_small_does_not_count():
    hu = volume((LIVER, 10), (SPECK, 140))
    options = ValidationOptions(thresholds=(0.5,), surface=False, calibration=False)

    (curve,) = validate([case("a", hu, liver_tumor=block(SPECK))], options).lesions

    assert (curve.points[0].lesions.hits, curve.points[0].lesions.of) == (0, 1)
    assert (curve.points[0].sensitivity.hits, curve.points[0].sensitivity.of) == (0, 1)


def test_calibration_counts_voxels_near_and_inside_alone():
    hu = volume((LIVER, 60))

    (liver,) = validate([case("a", hu, liver=block(LIVER))]).calibration

    grown = [min(40, 28 + 10) - 0, min(32, 22 + 10) - 0, 24]
    assert (liver.structure, liver.source) == ("liver", "unchanged")
    assert liver.voxels == grown[0] * grown[1] * grown[2]


def test_the_network_is_left_as_it_was():
    network = Thresholds().train()

    validate_network(
        network,
        INFERENCE,
        [case("a", volume((LIVER, 60)), liver=block(LIVER))],
        structures=NAMES,
        device=CPU,
        options=QUICK,
    )

    assert network.training


def test_nothing_to_compare_is_an_error():
    with pytest.raises(ModelError, match="annotates a structure"):
        validate([case("a", volume(), pancreas=block(LIVER))])


def test_thresholds_below_the_candidates_are_refused():
    with pytest.raises(ValueError, match="low_probability"):
        ValidationOptions(thresholds=(0.05,))
