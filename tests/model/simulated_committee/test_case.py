import numpy as np
import pytest

from configs.errors import UsageError
from model.metrics import dice
from model.scores import COMMITTEE
from model.simulated_committee.case import CaseOptions, case_scores

SPACING = (4.0, 4.0, 4.0)


def simulate(masks, scenario, seed=0, **options):
    return case_scores(
        masks,
        SPACING,
        scenario,
        np.random.default_rng(seed),
        options=CaseOptions(**options),
    )


def clean(scenario, **border):
    """Return the scenario without faults and faint spots."""
    return scenario.model_copy(
        update={
            "border": scenario.border.model_copy(update=border),
            "faults": scenario.faults.model_copy(update={"rate": 0.0}),
            "softness": scenario.softness.model_copy(update={"faint_chance": 0.0}),
        }
    )


def still(scenario):
    """Return the scenario with surfaces that hardly move."""
    border = scenario.border
    tiny = {"disagreement_mm": 1e-6}
    return clean(
        scenario,
        measured={n: one.model_copy(update=tiny) for n, one in border.measured.items()},
        classes={n: one.model_copy(update=tiny) for n, one in border.classes.items()},
    )


def test_members_that_do_not_err_give_the_truth(masks, scenario):
    case = simulate(masks, still(scenario), keep_masks=True)
    rows = {row.structure: row for row in case.rows if row.member == COMMITTEE}

    assert case.dsc == {"kidney_right": 1.0, "kidney_left": 1.0, "liver": 1.0}
    assert rows["liver"].pairwise_dice == 1.0
    assert rows["liver"].volume_ml == pytest.approx(masks["liver"].sum() * 0.064)
    assert rows["spleen"].volume_ml == 0
    assert set(case.masks) == {"kidney_right", "kidney_left", "liver"}


def test_the_dsc_is_that_of_the_consensus_mask(masks, scenario):
    case = simulate(masks, clean(scenario), seed=3, keep_masks=True)
    consensus = np.zeros_like(masks["liver"])
    consensus[case.masks["liver"].box.slices] = case.masks["liver"].mask

    assert case.dsc["liver"] == dice(consensus, masks["liver"])
    assert 0.8 < case.dsc["liver"] < 1
    assert case.present == {name: mask.any() for name, mask in masks.items()}


def test_equal_seeds_give_equal_cases(masks, scenario):
    assert simulate(masks, scenario, 5) == simulate(masks, scenario, 5)
    assert simulate(masks, scenario, 5).dsc != simulate(masks, scenario, 6).dsc


def test_larger_errors_lower_agreement_and_truth(masks, scenario):
    border = scenario.border.measured

    def mean(factor):
        wide = {
            name: one.model_copy(update={"disagreement_mm": factor * one.disagreement_mm})
            for name, one in border.items()
        }
        cases = [simulate(masks, clean(scenario, measured=wide), seed) for seed in range(4)]
        agreement = [
            row.pairwise_dice
            for case in cases
            for row in case.rows
            if row.member == COMMITTEE and row.volume_ml
        ]
        return np.mean([list(case.dsc.values()) for case in cases]), np.mean(agreement)

    assert all(np.less(mean(3.0), mean(1.0)))


def test_members_abstain_and_a_structure_may_have_one(masks, scenario):
    tumor = np.zeros_like(masks["liver"])
    tumor[20:25, 4:9, 4:9] = True
    case = simulate({**masks, "lung_tumor": tumor}, clean(scenario))
    covering = [row.member for row in case.rows if row.structure == "lung_tumor"]

    assert covering == ["alpha", COMMITTEE]
    assert "lung_tumor" in case.dsc


def test_a_fault_of_all_members_spoils_the_consensus_and_is_recorded(masks, scenario):
    faults = scenario.faults.model_copy(update={"rate": 1.0, "sharing": {"all": 1.0}})
    changed = clean(scenario).model_copy(update={"faults": faults})
    case = simulate(masks, changed, kinds=("missed",))

    assert case.faults == dict.fromkeys(("kidney_right", "kidney_left", "liver"), "missed")
    assert case.fault_list[0].members == ("alpha", "beta", "gamma")
    assert set(case.dsc.values()) == {0.0}


def test_a_sealed_fault_is_refused_before_anything_is_drawn(masks, scenario):
    with pytest.raises(UsageError, match="sealed"):
        simulate(masks, scenario, kinds=(scenario.faults.sealed[0],))


def test_masks_of_two_shapes_are_refused(masks, scenario):
    with pytest.raises(UsageError, match="one shape"):
        simulate({**masks, "spleen": np.zeros((2, 2, 2), bool)}, scenario)


def test_a_committee_of_one_has_no_agreement(masks, scenario):
    alone = clean(scenario).model_copy(update={"members": scenario.members[:1]})
    case = simulate(masks, alone)
    rows = [row for row in case.rows if row.structure == "liver"]

    assert [row.member for row in rows] == ["alpha", COMMITTEE]
    assert rows[1].pairwise_dice is None
    assert 0.8 < case.dsc["liver"] < 1


def test_a_lone_member_is_asked_again(masks, scenario):
    alone = clean(scenario).model_copy(update={"members": scenario.members[:1]})

    def agreement(again):
        softness = alone.softness.model_copy(update={"again": again})
        case = simulate(masks, alone.model_copy(update={"softness": softness}))
        rows = {row.structure: row for row in case.rows if row.member == COMMITTEE}
        return rows["liver"].tta_dice, rows["spleen"].tta_dice

    assert agreement(1e-6) == (pytest.approx(1.0, abs=0.01), 1.0)
    assert 0.5 < agreement(1.0)[0] < agreement(0.2)[0] < 1.0
    assert all(row.tta_dice is None for row in simulate(masks, scenario).rows)


def test_what_nobody_covers_is_no_label(masks, scenario):
    members = tuple(
        member.model_copy(update={"abstains": ("liver",)}) for member in scenario.members[:2]
    )
    silent = scenario.members[2].model_copy(update={"abstains": tuple(masks)})
    case = simulate(masks, clean(scenario).model_copy(update={"members": (*members, silent)}))

    assert "liver" not in case.present
    assert not any(row.structure == "liver" or row.member == "gamma" for row in case.rows)


def test_an_empty_body_has_rows_and_no_truth(masks, scenario):
    empty = {name: np.zeros_like(mask) for name, mask in masks.items()}
    case = simulate(empty, clean(scenario))

    assert case.dsc == {}
    assert {row.volume_ml for row in case.rows} == {0.0}


def test_a_mask_that_fills_the_volume_is_simulated(masks, scenario):
    case = simulate({"liver": np.ones_like(masks["liver"])}, clean(scenario))

    assert case.dsc == {"liver": 1.0}
