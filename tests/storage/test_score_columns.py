import numpy as np
import pytest

from flows.init import init
from storage.grid import Grid
from storage.predictions import CONSENSUS, Manifest, StoredCandidate, close_case
from storage.score_columns import score_columns

CASES = ("c-000000000002", "c-000000000001")


def row(member, structure, volume_ml, **scores):
    return {"member": member, "structure": structure, "volume_ml": volume_ml, **scores}


def members(structure, *volumes, dice=(None, None, None)):
    return [
        row(f"m{n}", structure, volume, pairwise_dice=agreement, max_probability=0.1 * n)
        for n, (volume, agreement) in enumerate(zip(volumes, dice, strict=False), start=1)
    ]


@pytest.fixture
def store(tmp_path):
    store = init(tmp_path / "w")
    with store.transaction() as transaction:
        for case_id in (*CASES, "c-000000000003"):
            facts = {"case_id": case_id, "patient_id": f"p-{case_id}", "assigned_by": "csv"}
            transaction.record("patient.assigned", facts)
    return store


def close(store, case_id, scores, *, committee="k-1", candidates=()):
    manifest = Manifest(
        case_id=case_id,
        committee_id=committee,
        members=(),
        grid=Grid.from_affine((4, 4, 4), np.eye(4)),
        masks=(),
        maps=(),
        scores=tuple(scores),
        candidates=candidates,
    )
    close_case(store, manifest, run_id="r-1", seconds=1.0)


def columns(store, committee="k-1"):
    with store.read() as connection:
        return score_columns(connection, committee)


def test_members_are_counted_and_spread_is_that_of_their_volumes(store):
    liver = [
        row(CONSENSUS, "liver", 100.0, pairwise_dice=0.8, max_probability=0.2),
        *members("liver", 90.0, 110.0, 0.0, dice=(0.9, 0.8, 0.1)),
    ]
    close(store, CASES[0], liver)

    found = columns(store)

    numbers = {name: values[0] for name, values in found.numbers.items()}
    assert (numbers["covering_members"], numbers["seeing_members"]) == (3, 2)
    assert numbers["volume_spread"] == pytest.approx(np.std([90, 110, 0]) / np.mean([90, 110, 0]))
    assert (numbers["low_ml"], numbers["high_ml"]) == (0, 110)
    assert numbers["highest_probability"] == pytest.approx(0.3)
    assert found.words["odd_one"].tolist() == ["m3"]
    assert found.words["seen_by"].tolist() == [None]


def test_members_that_share_the_last_place_are_no_odd_one(store):
    liver = [row(CONSENSUS, "liver", 9.0), *members("liver", 9.0, 9.0, 9.0, dice=(0.5, 0.5, 0.9))]
    close(store, CASES[0], liver)

    assert columns(store).words["odd_one"].tolist() == [None]


def test_a_structure_that_the_consensus_lacks_names_who_sees_it(store):
    rows = [row(CONSENSUS, "spleen", 0.0), *members("spleen", 12.3, 0.0, 0.25)]
    close(store, CASES[0], rows)

    found = columns(store)

    assert found.words["seen_by"].tolist() == ["m1 (12 mL) and m3 (0.25 mL)"]


def test_a_structure_with_one_member_names_it_and_has_no_agreement(store):
    close(store, CASES[0], [row(CONSENSUS, "colon", 9.0), *members("colon", 9.0)])

    found = columns(store)

    assert found.words["only_member"].tolist() == ["m1"]
    assert np.isnan(found.numbers["pairwise_dice"]).all()
    assert np.isnan(found.numbers["volume_spread"]).all()


def test_rows_come_by_case_and_names_are_counted_through(store):
    for case_id in CASES:
        rows = [row(CONSENSUS, name, 9.0) for name in ("spleen", "liver")]
        close(store, case_id, rows)
    close(store, "c-000000000003", [row(CONSENSUS, "liver", 9.0)], committee="k-2")

    found = columns(store)

    assert found.case_ids == tuple(sorted(CASES)), "closed the other way round"
    assert found.case.tolist() == [0, 0, 1, 1]
    assert [found.structures[code] for code in found.structure] == ["liver", "spleen"] * 2
    assert found.patients == tuple(f"p-{case_id}" for case_id in sorted(CASES))


def test_lesion_candidates_outside_the_mask_are_counted(store):
    candidates = tuple(
        StoredCandidate("liver_tumor", peak, 1.0, (1, 1, 1), None, inside)
        for peak, inside in ((0.9, True), (0.4, False), (0.3, False))
    )
    close(store, CASES[0], [row(CONSENSUS, "liver_tumor", 9.0)], candidates=candidates)

    found = columns(store)

    assert found.numbers["candidates"].tolist() == [2]
    assert found.numbers["candidate_peak"].tolist() == [0.4]


def test_findings_are_unknown_until_a_prediction_was_checked(store):
    close(store, CASES[0], [row(CONSENSUS, "liver", 9.0)])

    assert np.isnan(columns(store).numbers["findings"]).all()


def test_an_empty_workspace_has_no_rows(store):
    assert len(columns(store)) == 0
