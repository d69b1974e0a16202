import numpy as np
import pytest

from model.triage.estimates import Estimates
from model.triage.policies import POLICIES, Ranking, disagreement, ranked
from model.triage.score_table import score_table

STRUCTURES = ("liver", "spleen")


def table(**scores):
    n = len(next(iter(scores.values())))
    return score_table(
        case_ids=[f"c-{place}" for place in range(n)],
        structures=STRUCTURES,
        case=np.arange(n),
        patient=np.arange(n) // 2,
        structure=np.arange(n) % 2,
        scores={name: np.array(values, float) for name, values in scores.items()},
    )


def estimates(n, dsc=0.5):
    return Estimates(
        dsc=np.full(n, dsc),
        low=np.full(n, np.nan),
        high=np.full(n, np.nan),
        presence=np.ones(n),
        edit_chance=np.ones(n),
        minutes=np.ones(n),
        opening_minutes=0.5,
        basis="uncalibrated",
        words="",
    )


def order(labels, policy, **changes):
    ranking = Ranking(
        policy=policy,
        weights=np.ones(2),
        ceilings=np.full(2, 0.9),
        attention_structures=("liver",),
        **changes,
    )
    return ranked(labels, estimates(len(labels)), ranking).order.tolist()


def test_disagreement_falls_back_where_one_member_votes_alone():
    labels = table(
        volume_ml=[9, 9, 9, 0, 0],
        covering_members=[3, 1, 1, 3, 3],
        seeing_members=[3, 1, 1, 1, 0],
        pairwise_dice=[0.7, 1.0, np.nan, 0.2, 1.0],
        tta_dice=[np.nan, 0.6, np.nan, np.nan, np.nan],
        self_consistency=[0.99, 0.99, 0.95, np.nan, np.nan],
        max_probability=[1, 1, 1, 0.8, 0.3],
    )

    assert disagreement(labels) == pytest.approx([0.3, 0.4, 0.05, 0.8, 0.3])


def test_entropy_ranks_by_the_mean_over_the_foreground():
    labels = table(volume_ml=[9, 9, 9], entropy_mean=[0.1, np.nan, 0.4])

    # What has no number comes last.
    assert order(labels, "entropy") == [2, 0, 1]


def test_volume_outliers_are_those_of_their_own_structure():
    labels = table(volume_ml=[1000, 100, 1100, 110, 1050, 105, 40, 95])

    assert order(labels, "volume_outlier")[0] == 6


def test_attention_ranks_cts_by_the_target_organs_alone():
    labels = score_table(
        case_ids=["c-0", "c-1"],
        structures=STRUCTURES,
        case=np.array([0, 0, 1, 1]),
        patient=np.array([0, 0, 1, 1]),
        structure=np.array([0, 1, 0, 1]),
        scores={"volume_ml": np.full(4, 9.0), "attention_voxels": np.array([10.0, 900, 20, 0])},
    )

    # The spleen's 900 voxels do not count for the CT, but order the labels within it.
    assert order(labels, "attention") == [2, 3, 1, 0]


def test_random_order_is_a_matter_of_the_seed_and_of_masks():
    labels = table(volume_ml=[9, 0, 9, 9, 9, 9])

    assert order(labels, "random_foreground") == order(labels, "random_foreground")
    assert order(labels, "random_foreground", seed=1) != order(labels, "random_foreground", seed=2)
    assert order(labels, "random_foreground")[-1] == 1


def test_structures_take_turns_in_round_robin():
    labels = table(
        volume_ml=[9] * 4,
        covering_members=[3] * 4,
        pairwise_dice=[0.1, 0.8, 0.2, 0.9],
    )

    assert order(labels, "disagreement") == [0, 2, 1, 3]
    assert order(labels, "round_robin") == [0, 1, 2, 3]


def test_learning_takes_turns_by_patient_and_knows_no_ceiling():
    labels = table(volume_ml=[9] * 4)
    ranking = Ranking(objective="learning", weights=np.ones(2), ceilings=np.full(2, 0.4))

    result = ranked(labels, estimates(4), ranking)

    assert labels.patient[result.order].tolist() == [0, 1, 0, 1]
    assert result.gain == pytest.approx(np.full(4, 0.5))


def test_other_policies_can_be_divided_by_minutes():
    labels = table(volume_ml=[9, 9], entropy_mean=[0.4, 0.3])
    expected = estimates(2)
    expected.minutes[:] = [4.0, 1.0]
    ranking = Ranking(policy="entropy", weights=np.ones(2), ceilings=np.ones(2), per_minute=True)

    assert ranked(labels, expected, ranking).order.tolist() == [1, 0]


@pytest.mark.parametrize("policy", POLICIES)
def test_labels_without_any_number_are_ranked_last_and_none_is_lost(policy):
    nothing = np.full(4, np.nan)
    labels = table(volume_ml=[9, 9, 9, 9], entropy_mean=nothing)
    unknown = estimates(4, dsc=np.nan)
    ranking = Ranking(policy=policy, weights=np.ones(2), ceilings=np.ones(2))

    result = ranked(labels, unknown, ranking, among=np.array([True, True, False, True]))

    assert sorted(result.order.tolist()) == [0, 1, 3]
    risk = result.risk[np.isfinite(result.risk)]
    assert ((risk >= 0) & (risk <= 1)).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_constant_scores_still_give_a_whole_order(policy):
    labels = table(
        volume_ml=[9] * 6, covering_members=[3] * 6, pairwise_dice=[1] * 6, entropy_mean=[0] * 6
    )

    assert sorted(order(labels, policy)) == list(range(6))


@pytest.mark.parametrize("policy", POLICIES)
def test_an_empty_workspace_has_an_empty_order(policy):
    assert order(table(volume_ml=[]), policy) == []
