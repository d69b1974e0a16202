import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from configs.errors import CaseError, ModelError, Reason, UsageError
from configs.post_process import PostProcessRules
from configs.taxonomy import load_taxonomy
from model.annotate import AnnotateOptions, annotate_volume
from model.committee import CommitteeMember, family_weights
from model.inference_settings import InferenceSettings
from model.scores import COMMITTEE

CPU = torch.device("cpu")
NAMES = ("spleen", "liver", "stomach")


class Thresholds(nn.Module):
    """Structure q is where the intensity is above threshold q: independent of where windows lie."""

    def __init__(self, thresholds_hu, softness_hu=0.5):
        super().__init__()
        self.thresholds = torch.tensor(thresholds_hu, dtype=torch.float32)
        self.softness_hu = softness_hu

    def forward(self, images, structure_index=None):
        chosen = self.thresholds if structure_index is None else self.thresholds[structure_index]
        hu = images * 425 - 175
        return (hu - chosen[None, :, None, None, None]) / self.softness_hu


def member(name, thresholds_hu, *, family=None, structures=NAMES, softness_hu=0.5, **inference):
    settings = {"spacing_mm": (1.0, 1.0, 1.0), "patch": (16, 16, 16)} | inference
    return CommitteeMember(
        name=name,
        family=family or name,
        network=Thresholds(thresholds_hu, softness_hu).eval(),
        inference=InferenceSettings(**settings),
        structures=structures,
    )


def steps_volume():
    """Body of 0 HU with a staircase of 50, 100 and 150 HU along the first axis."""
    hu = np.full((40, 30, 24), -1000, np.int16)
    hu[4:36, 4:26, :] = 0
    hu[8:16, 8:20, 6:18] = 50
    hu[16:24, 8:20, 6:18] = 100
    hu[24:32, 8:20, 6:18] = 150
    return hu


def run(hu, members, spacing_mm=(1.0, 1.0, 1.0), **options):
    results = annotate_volume(
        hu,
        spacing_mm,
        members,
        taxonomy=load_taxonomy(),
        device=CPU,
        options=AnnotateOptions(**options),
    )
    return {result.structure: result for result in results}


def full(result, array, shape):
    out = np.zeros(shape, array.dtype)
    out[result.box.slices] = array
    return out


def row(result, name):
    (found,) = [one for one in result.scores if one.member == name]
    return found


def test_masks_are_where_they_should_be_on_the_native_grid():
    hu = steps_volume()

    results = run(hu, [member("m1", (25.0, 75.0, 125.0)), member("m2", (75.0, 125.0, 25.0))])

    assert list(results) == ["spleen", "liver", "stomach"]
    for name, low, high in (("spleen", 25, 75), ("liver", 75, 125), ("stomach", 125, 25)):
        result = results[name]
        np.testing.assert_array_equal(full(result, result.masks["m1"], hu.shape), hu > low)
        np.testing.assert_array_equal(full(result, result.masks["m2"], hu.shape), hu > high)


def test_scores_of_hard_masks_by_hand():
    # One stair is 8 * 12 * 12 = 1152 voxels; m1 sees three of them as spleen, m2 two.
    members = [member("m1", (25.0, 75.0, 125.0)), member("m2", (75.0, 75.0, 999.0))]

    spleen = run(steps_volume(), members)["spleen"]

    assert row(spleen, "m1").volume_ml == pytest.approx(3 * 1.152)
    assert row(spleen, "m2").volume_ml == pytest.approx(2 * 1.152)
    consensus = row(spleen, COMMITTEE)
    # Where only m1 sees it, the mean is exactly 0.5, and that is background.
    assert consensus.volume_ml == pytest.approx(2 * 1.152)
    assert consensus.pairwise_dice == pytest.approx(2 * 2 / 5)
    assert row(spleen, "m1").pairwise_dice == pytest.approx(0.8)
    assert consensus.inconsistency == pytest.approx(0.5 / 3)
    assert consensus.entropy_mean == pytest.approx(0.0)
    assert consensus.max_probability == 1.0
    assert row(spleen, "m2").self_consistency == pytest.approx(1.0)
    # The liver of both members is the same two stairs; the liver excludes the spleen.
    assert row(spleen, "m1").overlap_exclusive == pytest.approx(2 / 3)
    assert consensus.overlap_exclusive == pytest.approx(1.0)


def test_uncertainty_and_disagreement_are_highest_where_members_differ():
    hu = steps_volume()
    members = [member("m1", (25.0,), structures=("spleen",))]
    members.append(member("m2", (75.0,), structures=("spleen",)))

    spleen = run(hu, members)["spleen"]

    contested = hu[spleen.box.slices] == 50
    assert (spleen.disagreement[contested] == 255).all()
    assert (spleen.disagreement[~contested] == 0).all()
    assert (spleen.uncertainty[contested] == 255).all()
    assert (spleen.uncertainty[~contested] == 0).all()


def test_a_member_abstains_where_it_does_not_cover():
    members = [
        member("m1", (25.0, 75.0, 125.0)),
        member("m2", (75.0,), structures=("liver",)),
    ]

    results = run(steps_volume(), members)

    assert set(results["spleen"].masks) == {"m1"}
    assert [one.member for one in results["spleen"].scores] == ["m1", COMMITTEE]
    np.testing.assert_array_equal(results["spleen"].consensus, results["spleen"].masks["m1"])
    assert row(results["spleen"], COMMITTEE).pairwise_dice is None
    assert row(results["spleen"], COMMITTEE).inconsistency is None
    assert set(results["liver"].masks) == {"m1", "m2"}


def test_who_does_not_cover_a_structure_changes_none_of_its_scores():
    hu = (steps_volume() + np.random.default_rng(0).normal(0, 30, (40, 30, 24))).astype(np.int16)
    voters = [
        member("m1", (25.0,), structures=("spleen",), softness_hu=9.0),
        member("m2", (40.0,), structures=("spleen",), softness_hu=9.0),
    ]
    # An organ of the overlap list would count as one that claims the spleen, so it is none.
    abstaining = member("m3", (60.0,), structures=("aorta",), softness_hu=9.0)

    alone = run(hu, voters)["spleen"].scores
    beside = run(hu, [*voters, abstaining])["spleen"].scores

    assert beside == alone
    values = dataclasses.asdict(alone[-1])
    missing = {name for name, value in values.items() if value is None}
    assert missing == {"removed_ml", "tta_dice"}


def test_only_the_consensus_has_attention_and_a_worst_region():
    members = [member("m1", (25.0, 75.0, 125.0)), member("m2", (75.0, 75.0, 999.0))]

    spleen = run(steps_volume(), members)["spleen"]

    consensus = row(spleen, COMMITTEE)
    # Of three stairs, members differ about the first, of 8 x 12 x 12 voxels, by 0.5; the liver, an
    # organ of the overlap list, claims the two others.
    assert consensus.attention_voxels == 3 * 1152
    assert consensus.attention_heat == pytest.approx((0.5 + 1 + 1) * 1152 / 24)
    assert consensus.attention_mm3 == pytest.approx(1152)
    # One bit in the stair, of which a cube of 20 mm holds all, and the box is 18 mm high.
    assert consensus.entropy_worst == pytest.approx(1152 / (20 * 18 * 20), rel=0.2)
    assert consensus.pairwise_dice_least == pytest.approx(0.8)
    for name in ("m1", "m2"):
        own = row(spleen, name)
        assert own.pairwise_dice_least == pytest.approx(0.8)
        assert (own.attention_voxels, own.attention_mm3, own.entropy_worst) == (None, None, None)


def test_overlap_with_listed_organs_is_on_the_native_grid_whatever_the_working_one():
    members = [member("m1", (75.0, 75.0, 125.0), spacing_mm=(2.0, 2.0, 2.0))]

    spleen = run(steps_volume(), members)["spleen"]

    # Certain everywhere, so that all of it is what the liver claims, too.
    consensus = row(spleen, COMMITTEE)
    assert consensus.attention_voxels == pytest.approx(2 * 1152, rel=0.02)


def test_the_lowest_pair_is_below_the_mean_between_families():
    members = [
        member("m1", (25.0,), structures=("spleen",)),
        member("m2", (75.0,), structures=("spleen",)),
        member("m3", (125.0,), structures=("spleen",)),
    ]

    spleen = run(steps_volume(), members)["spleen"]

    # Three, two and one stair: 4/5, 2/4 and 2/3.
    consensus = row(spleen, COMMITTEE)
    assert consensus.pairwise_dice_least == pytest.approx(0.5)
    assert consensus.pairwise_dice == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert row(spleen, "m2").pairwise_dice_least == pytest.approx(2 / 3)


def test_an_unseen_structure_has_no_box_but_scores():
    members = [member("m1", (999.0, 25.0, 25.0)), member("m2", (999.0, 25.0, 25.0))]

    spleen = run(steps_volume(), members)["spleen"]

    assert spleen.box is None
    assert (spleen.masks, spleen.consensus, spleen.uncertainty) == ({}, None, None)
    consensus = row(spleen, COMMITTEE)
    assert (consensus.volume_ml, consensus.pairwise_dice) == (0.0, 1.0)
    assert consensus.entropy_mean is None
    assert consensus.max_probability == 0.0
    assert consensus.pairwise_dice_least == 1.0
    assert (consensus.attention_voxels, consensus.attention_mm3) == (None, None)


def test_a_structure_that_one_member_sees_has_an_empty_consensus_in_a_box():
    members = [member("m1", (999.0, 25.0, 25.0)), member("m2", (25.0, 25.0, 25.0))]

    spleen = run(steps_volume(), members)["spleen"]

    assert spleen.box is not None
    assert not spleen.consensus.any()
    assert spleen.masks["m2"].any()
    assert row(spleen, COMMITTEE).pairwise_dice == 0.0
    assert row(spleen, COMMITTEE).entropy_mean is None
    assert row(spleen, COMMITTEE).self_consistency is None


def test_families_vote_once():
    members = [
        member("a1", (25.0, 75.0, 125.0), family="a"),
        member("a2", (25.0, 75.0, 125.0), family="a"),
        member("b1", (999.0, 75.0, 125.0), family="b"),
    ]

    spleen = run(steps_volume(), members)["spleen"]

    assert spleen.masks["a1"].any()
    assert not spleen.consensus.any()


def test_members_on_different_working_grids_agree_to_half_a_voxel():
    shape = (64, 56, 36)
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    ellipsoid = zip(grid, (30, 28, 17), (18, 16, 12), strict=True)
    distance = np.sqrt(sum(((g - c) / r) ** 2 for g, c, r in ellipsoid))
    hu = np.clip(300 - 200 * distance, -150, 240).astype(np.int16)
    members = [
        member("fine", (100.0,), structures=("spleen",), spacing_mm=(1.5, 1.5, 1.5)),
        member("coarse", (100.0,), structures=("spleen",), spacing_mm=(2.0, 1.7, 4.0)),
    ]

    spleen = run(hu, members, spacing_mm=(1.0, 1.0, 2.0))["spleen"]

    truth = hu > 100
    for name in ("fine", "coarse"):
        mask = full(spleen, spleen.masks[name], shape)
        dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert dice > 0.97
    assert row(spleen, COMMITTEE).pairwise_dice > 0.96
    volume_ml = truth.sum() * 0.002
    assert row(spleen, COMMITTEE).volume_ml == pytest.approx(volume_ml, rel=0.03)


def test_no_score_is_nan_and_two_runs_give_the_same_bytes():
    hu = (steps_volume() + np.random.default_rng(0).normal(0, 30, (40, 30, 24))).astype(np.int16)
    members = [
        member("m1", (25.0, 75.0, 300.0), spacing_mm=(1.5, 1.5, 1.5)),
        member("m2", (40.0, 60.0, 300.0), spacing_mm=(2.0, 2.0, 3.0)),
    ]
    first, second = run(hu, members), run(hu, members)

    for name, result in first.items():
        other = second[name]
        assert result.scores == other.scores
        assert result.box == other.box
        if result.box is not None:
            for a, b in (
                (result.uncertainty, other.uncertainty),
                (result.disagreement, other.disagreement),
                *((result.masks[m], other.masks[m]) for m in result.masks),
            ):
                assert a.tobytes() == b.tobytes()
        values = itertools.chain(*(dataclasses.astuple(one)[2:] for one in result.scores))
        assert all(value is None or np.isfinite(value) for value in values)


def test_only_asked_structures_are_computed():
    class Counting(Thresholds):
        asked = 0

        def forward(self, images, structure_index=None):
            logits = super().forward(images, structure_index)
            Counting.asked = logits.shape[1]
            return logits

    one = dataclasses.replace(member("m1", (25.0,)), network=Counting((25.0, 75.0, 125.0)).eval())

    results = run(steps_volume(), [one], structures=("liver",))

    assert list(results) == ["liver"]
    assert Counting.asked == 1
    assert row(results["liver"], "m1").volume_ml == pytest.approx(2 * 1.152)


def test_non_finite_logits_fail_the_case():
    broken = member("m1", (float("nan"), 0.0, 0.0))

    with pytest.raises(CaseError) as failure:
        run(steps_volume(), [broken])

    assert failure.value.reason is Reason.NON_FINITE_LOGITS


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"hu": np.zeros((4, 4, 4), np.float32)}, UsageError, "int16"),
        ({"hu": np.zeros((4, 4), np.int16)}, UsageError, "shape"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, UsageError, "spacing"),
        ({"members": []}, ModelError, "at least one"),
        ({"members": [member("m", (1.0, 1.0, 1.0))] * 2}, ModelError, "unique"),
    ],
)
def test_wrong_input_is_refused_before_any_work(change, error, words):
    arguments = {
        "hu": steps_volume(),
        "spacing_mm": (1.0, 1.0, 1.0),
        "members": [member("m1", (25.0, 75.0, 125.0))],
    } | change

    with pytest.raises(error, match=words):
        annotate_volume(**arguments, taxonomy=load_taxonomy(), device=CPU)


def test_a_network_in_training_mode_is_refused():
    one = member("m1", (25.0, 75.0, 125.0))
    one.network.train()

    with pytest.raises(ModelError, match="evaluation mode"):
        annotate_volume(
            steps_volume(), (1.0, 1.0, 1.0), [one], taxonomy=load_taxonomy(), device=CPU
        )


def test_a_network_with_another_number_of_outputs_is_refused():
    with pytest.raises(ModelError, match="must have shape"):
        run(steps_volume(), [member("m1", (25.0, 75.0))])


def test_family_weights():
    assert family_weights(("a", "a", "b")) == (0.25, 0.25, 0.5)


RULES = PostProcessRules.model_validate(
    {
        "version": 1,
        "candidates": {"low_probability": 0.1, "most": 5},
        "rules": [
            {"keep": "largest", "structures": ["spleen"], "least_ml": 0.1},
            {
                "keep": "fragments",
                "structures": ["portal_vein_and_splenic_vein"],
                "least_share": 0.0,
                "not_below": "pancreas",
            },
            {
                "keep": "sides",
                "structures": ["kidney_right", "kidney_left"],
                "least_ml": 0.02,
                "least_share": 0.1,
            },
            {
                "keep": "hosted",
                "structures": ["kidney_tumor", "liver_tumor"],
                "least_ml": 0.02,
                "close_mm": 1.0,
                "reach_mm": 2.0,
            },
        ],
    }
)


class Painted(nn.Module):
    """Structure q has the logit that a table gives for each whole intensity of 10 HU."""

    def __init__(self, structures, logits):
        super().__init__()
        table = torch.full((len(structures), 42), -9.0)
        for (name, hu), value in logits.items():
            table[structures.index(name), (hu + 170) // 10] = value
        self.table = table

    def forward(self, images, structure_index=None):
        chosen = self.table if structure_index is None else self.table[structure_index]
        steps = ((images[:, 0] * 425 - 175 + 174) / 10).round().long().clamp(0, 41)
        return chosen[:, steps].movedim(0, 1)


def painted(name, logits, structures=None):
    names = structures or tuple(dict.fromkeys(structure for structure, _ in logits))
    return CommitteeMember(
        name=name,
        family=name,
        network=Painted(names, logits).eval(),
        inference=InferenceSettings(spacing_mm=(1.0, 1.0, 1.0), patch=(104, 40, 24), overlap=0.0),
        structures=names,
    )


def body(*boxes):
    """A body of 0 HU, 180 mm wide, with boxes of other HU: (start, stop, HU) per axis."""
    hu = np.full((200, 40, 24), -1000, np.int16)
    hu[10:190, 4:36, :] = 0
    for (a, b), (c, d), (e, f), value in boxes:
        hu[a:b, c:d, e:f] = value
    return hu


def placed_masks(results, shape):
    return {
        (name, voter): full(result, mask, shape)
        for name, result in results.items()
        if result.box is not None
        for voter, mask in {**result.masks, COMMITTEE: result.consensus}.items()
    }


def test_rules_shape_masks_volumes_and_dice_and_nothing_else():
    hu = body(((50, 60), (10, 20), (6, 16), 50), ((80, 84), (10, 20), (6, 16), 60))
    members = [
        painted("m1", {("spleen", 50): 9, ("spleen", 60): 9}),
        painted("m2", {("spleen", 50): 9, ("spleen", 60): -0.5}),
    ]

    raw, kept = run(hu, members)["spleen"], run(hu, members, rules=RULES)["spleen"]

    np.testing.assert_array_equal(full(kept, kept.masks["m1"], hu.shape), hu == 50)
    np.testing.assert_array_equal(full(kept, kept.consensus, hu.shape), hu == 50)
    for name, removed_ml in (("m1", 0.4), ("m2", 0.0), (COMMITTEE, 0.4)):
        before, after = row(raw, name), row(kept, name)
        assert before.removed_ml is None
        assert after.removed_ml == pytest.approx(removed_ml)
        assert after.volume_ml == pytest.approx(1.0)
        assert before.volume_ml == pytest.approx(1.0 + removed_ml)
        assert (before.pairwise_dice, after.pairwise_dice) == (pytest.approx(2 / 2.4), 1.0)
        least = {"pairwise_dice_least": None}
        same = {"volume_ml": 0.0, "pairwise_dice": None, "removed_ml": None, **least}
        assert dataclasses.replace(before, **same) == dataclasses.replace(after, **same)
    assert raw.box == kept.box
    assert raw.uncertainty.tobytes() == kept.uncertainty.tobytes()
    assert raw.disagreement.tobytes() == kept.disagreement.tobytes()
    assert (raw.candidates, kept.candidates) == (None, None)


def test_a_part_of_the_other_side_widens_the_box_and_leaves_maps_as_they_were():
    # The upper half of the left kidney is drawn as the right one.
    hu = body(
        ((40, 50), (10, 20), (4, 10), 50),
        ((40, 50), (10, 20), (10, 20), 60),
        ((140, 150), (10, 20), (4, 20), 70),
    )
    right = {("kidney_right", 60): 9, ("kidney_right", 70): 9}
    one = painted("m1", {("kidney_left", 50): 1} | right)
    two = painted("m2", {("kidney_left", 50): 9} | right)

    raw, kept = run(hu, [one, two]), run(hu, [one, two], rules=RULES)

    masks = placed_masks(kept, hu.shape)
    for voter in ("m1", "m2", COMMITTEE):
        np.testing.assert_array_equal(masks["kidney_left", voter], np.isin(hu, (50, 60)))
        np.testing.assert_array_equal(masks["kidney_right", voter], hu == 70)
        assert row(kept["kidney_right"], voter).removed_ml == pytest.approx(1.0)
        assert row(kept["kidney_left"], voter).removed_ml == 0.0
    assert kept["kidney_left"].box != raw["kidney_left"].box
    for name, result in kept.items():
        before = full(raw[name], raw[name].uncertainty, hu.shape)
        np.testing.assert_array_equal(full(result, result.uncertainty, hu.shape), before)


def test_fused_sides_and_a_single_one_are_left():
    hu = body(((90, 100), (10, 20), (6, 16), 50), ((100, 110), (10, 20), (6, 16), 60))
    fused = painted("m1", {("kidney_left", 50): 9, ("kidney_right", 60): 9})
    single = painted("m2", {("kidney_left", 50): -9, ("kidney_right", 60): 9})

    masks = placed_masks(run(hu, [fused, single], rules=RULES), hu.shape)

    np.testing.assert_array_equal(masks["kidney_left", "m1"], hu == 50)
    np.testing.assert_array_equal(masks["kidney_right", "m1"], hu == 60)
    assert not masks["kidney_left", "m2"].any()
    np.testing.assert_array_equal(masks["kidney_right", "m2"], hu == 60)


def test_a_vein_ends_where_the_pancreas_of_the_same_voter_does():
    hu = body(((50, 54), (10, 14), (2, 20), 50), ((60, 70), (10, 14), (8, 12), 60))
    vein, pancreas = ("portal_vein_and_splenic_vein", 50), ("pancreas", 60)
    both = painted("m1", {vein: 9, pancreas: 9})
    only = painted("m2", {vein: 9})
    none = painted("m3", {vein: 9, pancreas: -9})

    results = run(hu, [both, only, none], rules=RULES)

    masks = placed_masks(results, hu.shape)
    cut = (hu == 50) & (np.arange(24) >= 8)
    np.testing.assert_array_equal(masks[vein[0], "m1"], cut)
    np.testing.assert_array_equal(masks[vein[0], "m2"], hu == 50)
    np.testing.assert_array_equal(masks[vein[0], "m3"], hu == 50)
    assert list(results) == ["pancreas", "portal_vein_and_splenic_vein"]


def lesions():
    """A liver with a tumor inside, one far away, a faint place in it and a speck."""
    return body(
        ((60, 90), (8, 30), (4, 20), 50),
        ((70, 76), (12, 18), (8, 14), 60),
        ((130, 136), (12, 18), (8, 14), 70),
        ((80, 84), (22, 26), (8, 12), 80),
        ((62, 64), (24, 26), (6, 8), 90),
    )


LIVER = {("liver", hu): 9 for hu in (50, 60, 80, 90)}
TUMOR = {("liver_tumor", hu): value for hu, value in ((60, 3), (70, 2), (80, -1), (90, 1))}


def test_lesions_stay_in_their_organ_and_the_rest_is_known_to_triage():
    hu = lesions()

    tumor = run(hu, [painted("m1", LIVER | TUMOR)], rules=RULES)["liver_tumor"]

    np.testing.assert_array_equal(full(tumor, tumor.consensus, hu.shape), hu == 60)
    found = [
        (one.in_mask, one.candidate.centre, one.candidate.voxels, one.candidate.host_share)
        for one in tumor.candidates.listed
    ]
    # The middle of voxels 70 to 75 is 72.5; halves go to the even number.
    assert found == [
        (True, (72, 14, 10), 216, 1.0),
        (False, (132, 14, 10), 216, 0.0),
        (False, (62, 24, 6), 8, 1.0),
        (False, (82, 24, 10), 64, 1.0),
    ]
    peaks = [one.candidate.peak for one in tumor.candidates.listed]
    assert peaks == pytest.approx([0.953, 0.881, 0.731, 0.269], abs=0.003)
    assert row(tumor, "m1").removed_ml == pytest.approx(0.216 + 0.008)


def test_a_lesion_is_left_where_its_organ_is_not_covered_or_not_seen():
    hu = lesions()
    unseen = painted("m1", TUMOR | {("liver", 50): -9})
    other = painted("m2", TUMOR)

    results = run(hu, [unseen, other], rules=RULES)

    drawn = np.isin(hu, (60, 70, 90))
    for voter in ("m1", "m2", COMMITTEE):
        np.testing.assert_array_equal(placed_masks(results, hu.shape)["liver_tumor", voter], drawn)
        assert row(results["liver_tumor"], voter).removed_ml == 0.0
    assert {one.candidate.host_share for one in results["liver_tumor"].candidates.listed} == {None}


def test_a_faint_lesion_without_any_mask_is_known_to_triage():
    hu = lesions()

    tumor = run(hu, [painted("m1", LIVER | {("liver_tumor", 80): -1})], rules=RULES)["liver_tumor"]

    assert tumor.box is None
    (one,) = tumor.candidates.listed
    assert (one.in_mask, one.candidate.voxels) == (False, 64)
    assert row(tumor, "m1").removed_ml == 0.0


def test_what_is_asked_for_is_drawn_the_same_without_its_organs():
    hu = lesions()
    members = [painted("m1", LIVER | TUMOR)]

    whole = run(hu, members, rules=RULES)["liver_tumor"]
    results = run(hu, members, rules=RULES, structures=("liver_tumor",))

    assert list(results) == ["liver_tumor"]
    assert results["liver_tumor"].scores == whole.scores
    assert results["liver_tumor"].candidates == whole.candidates
    assert results["liver_tumor"].consensus.tobytes() == whole.consensus.tobytes()


class LargestTensor(TorchDispatchMode):
    """Records the largest number of bytes that any tensor of the run had."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, torch.Tensor):
                self.nbytes = max(self.nbytes, one.untyped_storage().nbytes())
        return out


def test_no_tensor_holds_all_structures_at_native_size(monkeypatch):
    """32 structures of a 96 x 96 x 96 volume are 113 MB in float; nothing comes near."""
    monkeypatch.setattr("model.native_maps.SLAB_VOXELS", 50_000)
    names = load_taxonomy().names
    hu = np.full((96, 96, 96), 0, np.int16)
    hu[21:69, 21:69, 21:69] = 200
    one = member(
        "m1",
        tuple(float(t) for t in np.linspace(50, 150, 32)),
        structures=names,
        spacing_mm=(3.0, 3.0, 3.0),
    )

    with LargestTensor() as largest:
        results = run(hu, [one])

    assert len(results) == 32
    for result in results.values():
        assert result.masks["m1"].sum() == pytest.approx(48**3, rel=0.03)
    native, working = 96**3, 32**3
    assert largest.nbytes < 32 * working * 4 + 1
    assert largest.nbytes < 32 * native * 4 / 20
