"""Tiny bodies of boxes: each rule fires on its fault and is silent without it."""

import numpy as np
import pytest

from configs.plausibility import PlausibilityRules
from model.midline import Midline
from model.placed_crop import PlacedMask, cropped
from model.plausibility.check import check_anatomy

SHAPE, SPACING_MM = (40, 30, 40), (5.0, 5.0, 5.0)  # a voxel is 0.125 mL
MIDLINE = Midline(19.0, 21.0)
BASE = {
    "version": 1,
    "seen_share": 0.05,
    "work_mm": 5.0,
    "cut_cm2": 0.5,
    "volumes": {},
    "gaps": {"structures": ["aorta"], "least_likeness": 0.2, "least_share": 0.15},
    "flat_ends": {"structures": ["spleen"], "share": 0.4, "least_cm2": 1.0},
    "cut": {"structures": ["liver"]},
    "overlap": {"share": 0.1, "least_ml": 0.5},
}


def rules(**parts):
    return PlausibilityRules.model_validate({**BASE, **parts})


def ranges(**ml):
    return {"volumes": {name: {"ml": list(ends), "source": "made up"} for name, ends in ml.items()}}


def block(i, j, k):
    """A box of voxels, given by half-open ranges."""
    mask = np.zeros(SHAPE, np.bool_)
    mask[slice(*i), slice(*j), slice(*k)] = True
    return mask


def ball(centre, radius, shape=SHAPE):
    places = np.indices(shape).T - np.array(centre)
    return ((places**2).sum(axis=-1) <= radius**2).T


def check(masks, judged, *, midline=MIDLINE, covered=(), spacing_mm=SPACING_MM):
    found = ((name, cropped(mask)) for name, mask in masks.items())
    return check_anatomy(
        [(name, crop) for name, crop in found if crop is not None],
        shape=next(iter(masks.values())).shape,
        spacing_mm=spacing_mm,
        rules=judged,
        covered=covered,
        midline=midline,
    )


def only(findings, rule):
    """The one finding; fails where there is another."""
    (finding,) = findings
    assert finding.rule == rule
    return finding


LIVER = block((24, 34), (8, 20), (10, 20))  # 1,200 voxels, 150 mL


@pytest.mark.parametrize(("ml", "words"), [((160, 900), "less than the 160"), ((20, 149), "149")])
def test_a_volume_outside_of_its_range_is_found_with_both_numbers(ml, words):
    finding = only(check({"liver": LIVER}, rules(**ranges(liver=ml))), "volume")

    assert finding.value == pytest.approx(150.0)
    assert "150 mL" in finding.explanation
    assert words in finding.explanation
    assert LIVER[finding.place]


def test_a_volume_inside_of_its_range_is_not_found():
    assert check({"liver": LIVER}, rules(**ranges(liver=(150, 151)))) == ()


def test_what_the_scan_cuts_has_no_lower_limit_but_a_note():
    cut = block((24, 34), (8, 20), (30, 40))

    finding = only(check({"liver": cut}, rules(**ranges(liver=(700, 3000)))), "cut")

    assert finding.severity == "note"
    assert finding.value == pytest.approx(10 * 12 * 0.25)  # voxels of 5 x 5 mm, in cm2
    assert finding.place[2] == 39
    assert "upper border" in finding.explanation


def test_what_the_scan_cuts_keeps_its_upper_limit():
    cut = block((24, 34), (8, 20), (30, 40))

    found = check({"liver": cut}, rules(**ranges(liver=(20, 100))))

    assert [one.rule for one in found] == ["volume", "cut"]


PIECES = {
    "pieces": [{"structures": ["liver"], "most": 1, "least_ml": 1.0}],
    **ranges(liver=(1, 900)),
}


def test_an_island_is_found_where_it_lies():
    island = block((5, 8), (5, 8), (5, 8))  # 27 voxels, 3.4 mL

    finding = only(check({"liver": LIVER | island}, rules(**PIECES)), "pieces")

    assert finding.place == (6, 6, 6)
    assert finding.value == pytest.approx(27 * 0.125)
    assert "3.4 mL" in finding.explanation
    assert "150 mL" in finding.explanation


def test_a_crumb_is_no_island():
    assert check({"liver": LIVER | block((5, 7), (5, 7), (5, 7))}, rules(**PIECES)) == ()


def test_two_parts_that_the_same_border_cuts_may_be_joined_beyond_it():
    lobes = block((24, 34), (8, 20), (0, 9)) | block((5, 9), (8, 20), (0, 9))

    assert [one.rule for one in check({"liver": lobes}, rules(**PIECES))] == ["cut"]


def test_empty_slices_in_the_midst_are_found():
    aorta = block((19, 22), (8, 11), (5, 15)) | block((19, 22), (8, 11), (18, 30))

    finding = only(check({"aorta": aorta}, rules(**ranges(aorta=(1, 900)))), "gap")

    assert finding.value == pytest.approx(15.0)
    assert "3 slices (16 to 18)" in finding.explanation
    assert aorta[finding.place]


def test_a_thread_that_comes_and_goes_is_no_gap():
    aorta = block((15, 25), (8, 18), (5, 15)) | block((19, 22), (8, 11), (18, 30))
    aorta[19:22, 8:11, 15] = True

    assert check({"aorta": aorta}, rules(**ranges(aorta=(1, 900)))) == ()


SPLEEN = ball((10, 15, 20), 8)


def test_a_rounded_organ_that_ends_in_full_breadth_is_found():
    spleen = SPLEEN.copy()
    spleen[:, :, 20:] = False

    finding = only(check({"spleen": spleen}, rules(**ranges(spleen=(1, 900)))), "flat_end")

    assert finding.value == pytest.approx(1.0)
    assert finding.place[2] == 19
    assert "slice 20" in finding.explanation


def test_a_ball_has_no_flat_end_nor_has_one_that_the_scan_cuts():
    judged = rules(**ranges(spleen=(1, 900)))

    assert check({"spleen": SPLEEN}, judged) == ()
    assert check({"spleen": SPLEEN[:, :, 20:]}, judged) == ()


SIDES = {
    "sides": [
        {"structures": ["kidney_right", "kidney_left"], "share": 0.05, "least_ml": 1.0},
        {"right": ["liver"], "left": ["spleen"], "share": 0.5, "least_ml": 1.0},
    ],
    **ranges(kidney_right=(1, 900), kidney_left=(1, 900), liver=(1, 900)),
}
LEFT, RIGHT = block((5, 12), (5, 12), (5, 15)), block((28, 35), (5, 12), (5, 15))


def test_a_swapped_pair_is_told_of_on_both_sides():
    first, second = check({"kidney_right": LEFT, "kidney_left": RIGHT}, rules(**SIDES))

    assert (first.rule, first.structure, first.other) == ("side", "kidney_right", "kidney_left")
    assert (second.structure, second.other) == ("kidney_left", "kidney_right")
    assert LEFT[first.place]
    assert "swapped" in first.explanation
    assert first.mentions == ("kidney_left",)


def test_a_part_on_the_other_side_is_found_and_pointed_to():
    part = block((8, 12), (5, 9), (5, 9))

    finding = only(
        check({"kidney_right": RIGHT | part, "kidney_left": LEFT & ~part}, rules(**SIDES)), "side"
    )

    assert finding.other is None
    assert finding.value == pytest.approx(64 / (490 + 64))
    assert part[finding.place]


def test_organs_on_their_sides_are_not_found_nor_anything_on_the_midline():
    judged = rules(**SIDES)

    assert check({"kidney_right": RIGHT, "kidney_left": LEFT}, judged) == ()
    assert check({"liver": LIVER}, judged) == ()
    assert check({"liver": block((12, 29), (5, 12), (5, 15))}, judged) == ()


def test_without_a_midline_no_side_is_told():
    assert check({"kidney_right": LEFT}, rules(**SIDES), midline=None) == ()


def test_the_organs_tell_the_midline_whether_a_pair_is_swapped_or_not():
    bladder = block((18, 22), (10, 14), (2, 5))
    judged = rules(
        **{**SIDES, **ranges(kidney_right=(1, 900), kidney_left=(1, 900), bladder=(1, 99))}
    )

    right = {"kidney_right": RIGHT, "kidney_left": LEFT, "bladder": bladder}
    swapped = {"kidney_right": LEFT, "kidney_left": RIGHT, "bladder": bladder}

    assert check(right, judged, midline=None) == ()
    assert len(check(swapped, judged, midline=None)) == 2


HOSTS = {
    "hosts": [
        {"structures": ["liver_tumor"], "reach_mm": 5.0, "least_inside": 0.5, "least_ml": 0.1}
    ],
    **ranges(liver=(1, 900), liver_tumor=(0, 900)),
}


def test_a_lesion_outside_of_its_organ_is_found():
    inside, outside = block((26, 28), (10, 12), (12, 14)), block((5, 8), (5, 8), (5, 8))

    finding = only(
        check({"liver": LIVER, "liver_tumor": inside | outside}, rules(**HOSTS)), "outside"
    )

    assert (finding.structure, finding.other) == ("liver_tumor", "liver")
    assert finding.place == (6, 6, 6)
    assert finding.value == 0.0


def test_a_lesion_that_grows_out_of_its_organ_is_not_found():
    # Half inside, and a row within the reach of one voxel.
    assert (
        check({"liver": LIVER, "liver_tumor": block((22, 26), (10, 12), (12, 14))}, rules(**HOSTS))
        == ()
    )


def test_a_lesion_of_an_organ_that_nobody_looked_for_is_not_judged():
    lesion = {"liver_tumor": block((5, 8), (5, 8), (5, 8))}

    assert check(lesion, rules(**HOSTS)) == ()
    assert only(check(lesion, rules(**HOSTS), covered=["liver"]), "outside").value == 0.0


TOUCHES = {
    "touches": [{"structure": "gall_bladder", "others": ["liver"], "within_mm": 10.0}],
    **ranges(liver=(1, 900), gall_bladder=(1, 900)),
}


def test_a_neighbour_that_is_too_far_away_is_found_with_its_distance():
    far = block((24, 27), (8, 11), (4, 7))  # liver starts at slice 10: 4 voxels between centres

    finding = only(check({"liver": LIVER, "gall_bladder": far}, rules(**TOUCHES)), "apart")

    assert finding.value == pytest.approx(20.0)
    assert "20 mm from the liver" in finding.explanation


def test_a_neighbour_that_is_near_or_cut_or_absent_is_not_found():
    near, cut = block((24, 27), (8, 11), (6, 9)), block((24, 27), (8, 11), (0, 3))

    assert check({"liver": LIVER, "gall_bladder": near}, rules(**TOUCHES)) == ()
    assert check({"liver": LIVER, "gall_bladder": cut}, rules(**TOUCHES)) == ()
    assert check({"gall_bladder": near}, rules(**TOUCHES)) == ()


def order(direction, least_mm):
    one = {"structure": "liver", "direction": direction, "other": "bladder", "least_mm": least_mm}
    return rules(orders=[one], **ranges(liver=(1, 900), bladder=(1, 900)))


@pytest.mark.parametrize(("axis", "direction"), [(0, "right_of"), (1, "in_front_of"), (2, "above")])
def test_centres_the_wrong_way_round_are_found_along_each_axis(axis, direction):
    low, high = (np.moveaxis(np.zeros(SHAPE, np.bool_), axis, 0) for _ in range(2))
    low[4:8, 4:8, 4:8] = high[14:18, 4:8, 4:8] = True
    low, high = np.moveaxis(low, 0, axis), np.moveaxis(high, 0, axis)

    finding = only(check({"liver": low, "bladder": high}, order(direction, 20.0)), "order")

    assert finding.value == pytest.approx(-50.0)
    assert {"right_of": "50 mm left of", "in_front_of": "50 mm behind", "above": "50 mm below"}[
        direction
    ] in finding.explanation
    assert check({"liver": high, "bladder": low}, order(direction, 20.0)) == ()
    assert check({"liver": low, "bladder": high}, order(direction, -50.0)) == ()


EXPECTED = {
    "expected": [
        {
            "structures": ["liver", "stomach"],
            "above": ["lung_right"],
            "below": ["kidney_right"],
            "whole": ["kidney_right"],
            "severity": "fault",
        }
    ],
    **ranges(lung_right=(1, 900), kidney_right=(1, 900)),
}
LUNG = block((24, 34), (8, 20), (25, 35))


def test_an_organ_is_missed_between_what_is_seen_above_and_below():
    found = check(
        {"lung_right": LUNG, "kidney_right": RIGHT}, rules(**EXPECTED), covered=["liver", "spleen"]
    )

    finding = only(found, "absent")
    assert finding.structure == "liver"
    assert finding.mentions == ("lung_right", "kidney_right")
    assert all(0 <= value < size for value, size in zip(finding.place, SHAPE, strict=True))


@pytest.mark.parametrize(
    ("masks", "covered"),
    [
        ({"lung_right": LUNG, "kidney_right": RIGHT}, ["spleen"]),
        ({"lung_right": LUNG}, ["liver"]),
        ({"kidney_right": RIGHT}, ["liver"]),
        ({"lung_right": LUNG, "kidney_right": block((28, 35), (5, 12), (0, 9))}, ["liver"]),
    ],
)
def test_nothing_is_missed_that_is_not_covered_or_may_lie_outside_of_the_scan(masks, covered):
    assert check(masks, rules(**EXPECTED), covered=covered) == ()


def test_two_organs_in_one_place_are_found_on_the_smaller_one():
    stomach = block((30, 38), (8, 20), (10, 20))

    finding = only(
        check(
            {"liver": LIVER, "stomach": stomach}, rules(**ranges(liver=(1, 900), stomach=(1, 900)))
        ),
        "overlap",
    )

    assert (finding.structure, finding.other) == ("stomach", "liver")
    assert finding.value == pytest.approx(4 / 8)
    assert (LIVER & stomach)[finding.place]
    assert "60 mL at once" in finding.explanation


def test_neighbours_that_share_a_thin_border_are_not_found():
    stomach = block((33, 40), (8, 20), (10, 20))
    stomach[33:34, 8:14] = False

    judged = rules(**ranges(liver=(1, 900), stomach=(1, 900)))

    assert [one.rule for one in check({"liver": LIVER, "stomach": stomach}, judged)] == []


def test_an_organ_and_its_lesion_share_a_place_rightly():
    assert check({"liver": LIVER, "liver_tumor": LIVER}, rules(**HOSTS)) == ()


def test_an_empty_case_is_judged_without_a_word():
    crop = PlacedMask(np.zeros((2, 2, 2), np.bool_), cropped(LIVER[24:26, 8:10, 10:12]).box)

    assert (
        check_anatomy(
            [("liver", crop)], shape=SHAPE, spacing_mm=SPACING_MM, rules=rules(), covered=[]
        )
        == ()
    )


def test_a_finer_grid_gives_the_same_findings():
    fine = {
        name: np.repeat(np.repeat(mask, 3, axis=0), 3, axis=1)
        for name, mask in {"liver": LIVER | block((5, 8), (5, 8), (5, 8))}.items()
    }

    finding = only(
        check(fine, rules(**PIECES), spacing_mm=(5 / 3, 5 / 3, 5.0), midline=None), "pieces"
    )

    assert finding.place == (19, 19, 6)
    assert finding.value == pytest.approx(27 * 0.125)
