"""Warnings on a correction, with voxels counted by hand."""

import numpy as np
import pytest

from configs.taxonomy import load_taxonomy
from review_app.correction_findings import correction_findings
from review_app.session import utc_now
from storage.edited_mask import EditedMask
from storage.review_case import read_case


@pytest.fixture
def made(make_annotated):
    return make_annotated()


def findings(made, structure, mask):
    case = read_case(made.store, made.case_ids[0], reader="anna", now=utc_now())
    box = tuple((0, n) for n in mask.shape)
    return correction_findings(made.store, case, structure, EditedMask(mask, box))


def block(*box):
    mask = np.zeros((30, 26, 20), bool)
    mask[tuple(slice(*extent) for extent in box)] = True
    return mask


def test_a_kidney_over_the_midline_is_named_with_its_voxels(made):
    # The body's middle is between voxels 14 and 15; left is where the index is low.
    far_left, across = ((2, 6), (8, 12), (5, 9)), ((24, 26), (8, 12), (5, 9))

    assert findings(made, "kidney_left", block(far_left[0], *far_left[1:])) == ()
    (words,) = findings(made, "kidney_left", block(*far_left) | block(*across))
    assert words == "32 voxels lie on the right side of the body."
    (words,) = findings(made, "kidney_right", block(*far_left) | block(*across))
    assert words == "64 voxels lie on the left side of the body."


def test_where_the_midline_may_lie_no_side_is_wrong(made):
    assert findings(made, "kidney_left", block((13, 17), (8, 12), (5, 9))) == ()


def test_a_tumor_outside_of_its_organ_is_named_with_its_voxels(made, make_readings):
    assert load_taxonomy()["liver_tumor"].parents == ("liver",)
    readings = make_readings(made)
    mask = made.put_mask(block((5, 15), (5, 15), (5, 15)), grid_of(made))
    readings.review(made.case_ids[0], "liver", "correct", mask=mask)

    (words,) = findings(made, "liver_tumor", block((12, 17), (6, 8), (6, 8)))
    assert words == "8 voxels lie outside of Liver."
    assert findings(made, "liver_tumor", block((12, 15), (6, 8), (6, 8))) == ()


def test_without_the_organ_s_mask_nothing_is_outside_of_it(made):
    assert findings(made, "pancreas_tumor", block((12, 17), (6, 8), (6, 8))) == ()


def grid_of(made):
    return read_case(made.store, made.case_ids[0], reader="anna", now=utc_now()).grid
