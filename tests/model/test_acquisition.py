import math

import pytest

from model.acquisition import MemberScore, StructureScore, rank_queue, structure_score
from model.scores import ScoreRow


def score(case="c-1", structure="liver", dice=0.62, **changes):
    values = {
        "case_id": case,
        "structure": structure,
        "volume_ml": 300.0,
        "pairwise_dice": dice,
        "self_consistency": 0.9,
        "max_probability": 1.0,
        "members": (
            MemberScore(name="m1", volume_ml=340.0, pairwise_dice=0.7),
            MemberScore(name="m2", volume_ml=210.0, pairwise_dice=0.5),
            MemberScore(name="m3", volume_ml=300.0, pairwise_dice=0.66),
        ),
    }
    return StructureScore(**(values | changes))


def empty(case="c-1", structure="spleen", *, volumes=(0.0, 0.0), dice=1.0, probability=0.0):
    members = tuple(
        MemberScore(name=f"m{n}", volume_ml=volume, max_probability=probability)
        for n, volume in enumerate(volumes, start=1)
    )
    return score(
        case,
        structure,
        dice,
        volume_ml=0.0,
        self_consistency=None,
        max_probability=probability,
        members=members,
    )


def test_risk_is_one_minus_pairwise_dice_and_the_reason_says_why():
    (item,) = rank_queue([score()])

    assert item.risk == pytest.approx(0.38)
    assert (item.kind, item.basis, item.rank) == ("present", "pairwise_dice", 1)
    assert item.reason == (
        "the members overlap by only 0.62 (pairwise Dice); volumes run from 210 to 340 mL; "
        "member m2 differs most"
    )


def test_structures_take_turns():
    scores = [score(f"c-{n}", "colon", dice) for n, dice in enumerate((0.1, 0.2, 0.3))]
    scores += [score("c-0", "liver", 0.9), score("c-1", "liver", 0.8)]

    items = rank_queue(scores)

    assert [(i.structure, i.case_id) for i in items] == [
        ("colon", "c-0"),
        ("liver", "c-1"),
        ("colon", "c-1"),
        ("liver", "c-0"),
        ("colon", "c-2"),
    ]
    assert [i.rank for i in items] == [1, 2, 3, 4, 5]
    assert [i.rank_in_structure for i in items] == [1, 1, 2, 2, 3]


def test_the_order_of_the_input_does_not_matter():
    scores = [score(f"c-{n}", s, 0.5) for n in range(3) for s in ("liver", "colon")]

    items = rank_queue(scores)

    assert items == rank_queue(scores[::-1])
    assert [(i.structure, i.case_id) for i in items][:2] == [("colon", "c-0"), ("liver", "c-0")]


def test_present_and_possibly_missed_are_ranked_apart():
    scores = [score(dice=0.9), empty(volumes=(0.0, 4.0), dice=0.0)]

    present, missed = rank_queue(scores)

    assert (present.kind, present.rank) == ("present", 1)
    assert (missed.kind, missed.rank, missed.risk) == ("possibly_missed", 1, 1.0)
    assert missed.reason == "the consensus is empty, but 1 of 2 members sees it: m2 (4.0 mL)"


def test_a_high_probability_without_any_mask_is_possibly_missed():
    (item,) = rank_queue([empty(probability=0.4)])

    assert (item.kind, item.basis, item.risk) == ("possibly_missed", "max_probability", 0.4)
    assert item.reason == "no member has a mask, but a probability reaches 0.40"


def test_what_nobody_sees_gives_no_item():
    assert rank_queue([empty(probability=0.1)]) == []
    assert rank_queue([]) == []


def test_one_covering_member_falls_back_to_self_consistency():
    alone = score(dice=None, members=(MemberScore(name="m1", volume_ml=300.0),))

    (item,) = rank_queue([alone])

    assert item.basis == "self_consistency"
    assert item.risk == pytest.approx(0.1)
    assert item.reason.startswith("only m1 covers this structure")


def test_nan_is_not_a_number_to_rank_by():
    scores = [
        score("c-1", dice=math.nan, self_consistency=0.7),
        score("c-2", dice=math.nan, self_consistency=math.nan),
        empty("c-3", dice=math.nan, probability=math.nan),
    ]

    items = rank_queue(scores)

    assert [(item.case_id, item.basis) for item in items] == [("c-1", "self_consistency")]
    assert all(math.isfinite(item.risk) and "nan" not in item.reason for item in items)


def test_two_members_have_no_odd_one_out():
    members = (
        MemberScore(name="m1", volume_ml=5.25, pairwise_dice=0.9),
        MemberScore(name="m2", volume_ml=0.123, pairwise_dice=0.9),
    )

    (item,) = rank_queue([score(dice=0.9, members=members)])

    assert item.reason == (
        "the members overlap by 0.90 (pairwise Dice); volumes run from 0.12 to 5.2 mL"
    )


def test_score_rows_become_a_structure_score():
    rows = [
        ScoreRow(structure="liver", member="m1", volume_ml=3.0, pairwise_dice=0.8),
        ScoreRow(structure="liver", member="m2", volume_ml=4.0, max_probability=0.9),
        ScoreRow(structure="liver", member="committee", volume_ml=3.5, pairwise_dice=0.8),
    ]

    gathered = structure_score("c-9", rows)

    assert (gathered.case_id, gathered.structure, gathered.volume_ml) == ("c-9", "liver", 3.5)
    assert [member.name for member in gathered.members] == ["m1", "m2"]
    assert gathered.members[1].max_probability == 0.9
