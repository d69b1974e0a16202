import numpy as np
import pytest

from model.grid import Grid
from model.scores import COMMITTEE, ScoreRow
from model.simulated_committee.case import SimulatedCase
from model.simulated_committee.faults import Fault
from model.simulated_committee.table import PatientCase, label_scores, simulated_table


def rows(structure, volumes, consensus_ml, **scores):
    members = [
        ScoreRow(structure=structure, member=f"m{n}", volume_ml=volume)
        for n, volume in enumerate(volumes)
    ]
    return [
        *members,
        ScoreRow(structure=structure, member=COMMITTEE, volume_ml=consensus_ml, **scores),
    ]


def test_scores_of_a_label_by_hand():
    scores = label_scores(rows("liver", [10.0, 0.0], 6.0, removed_ml=2.0, pairwise_dice=0.25))

    assert scores["volume_spread"] == pytest.approx(1.0)
    assert scores["removed_share"] == pytest.approx(0.25)
    assert scores["pairwise_dice"] == 0.25
    assert (scores["covering_members"], scores["seeing_members"]) == (2, 1)
    assert "entropy_mean" not in scores


def test_what_is_not_defined_is_left_out():
    alone = label_scores(rows("liver", [10.0], 10.0))
    nothing = label_scores(rows("liver", [0.0, 0.0], 0.0, removed_ml=0.0))

    assert "volume_spread" not in alone
    assert "removed_share" not in alone
    assert "volume_spread" not in nothing
    assert "removed_share" not in nothing


def test_truth_stands_beside_the_scores():
    case = SimulatedCase(
        rows=(*rows("liver", [10.0, 8.0], 9.0, pairwise_dice=0.9), *rows("spleen", [0.0], 0.0)),
        dsc={"liver": 0.7},
        present={"liver": True, "spleen": False},
        faults={"liver": "cut"},
        fault_list=(Fault("cut", ("liver",), ("m0", "m1")),),
        grid=Grid((2, 2, 2), (1.0, 1.0, 1.0)),
    )
    made = simulated_table([PatientCase(case_id="a", patient=7, case=case)] * 2)

    assert made.table.structures == ("liver", "spleen")
    assert made.table.case.tolist() == [0, 0, 1, 1]
    assert made.table.patient.tolist() == [7] * 4
    np.testing.assert_array_equal(made.table["pairwise_dice"], [0.9, np.nan] * 2)
    assert np.isnan(made.table["findings"]).all()
    np.testing.assert_array_equal(made.dsc, [0.7, np.nan] * 2)
    assert made.present.tolist() == [True, False] * 2
    assert made.fault.tolist() == ["cut", ""] * 2
    assert made.faulty_members.tolist() == [2, 0] * 2
