import numpy as np
import pytest
import torch
from torch import nn

from model.committee import CommitteeMember
from model.exclusive_overlap import collect_claims
from model.grid import Box
from model.inference_settings import InferenceSettings
from model.native_maps import consensus_levels
from model.scores import COMMITTEE
from model.working_levels import TOP
from model.working_prediction import WorkingPrediction, votes_on

CPU = torch.device("cpu")


def prediction(name, probability, spacing_mm):
    member = CommitteeMember(
        name=name,
        family=name,
        network=nn.Identity(),
        inference=InferenceSettings(spacing_mm=spacing_mm, patch=(8, 8, 8)),
        structures=("liver",),
    )
    return WorkingPrediction(member, ("liver",), (TOP * probability[None]).astype(np.int16))


@pytest.mark.parametrize("highest", [1.0, 0.4, 0.05, 0.006, 0.0])
def test_a_search_in_boxes_finds_what_the_whole_grid_holds(highest):
    generator = np.random.default_rng(0)
    fine = np.zeros((12, 10, 14))
    fine[3:9, 2:7, 5:12] = highest * generator.random((6, 5, 7))
    coarse = highest * generator.random((6, 5, 7)) ** 3
    predictions = [
        prediction("fine", fine, (2.0, 2.0, 2.0)),
        prediction("coarse", coarse, (4.0, 4.0, 4.0)),
    ]

    claim = collect_claims(predictions, ["liver"], CPU)[COMMITTEE]["liver"]

    votes = votes_on(predictions, "liver")
    whole = consensus_levels(votes, Box((0, 0, 0), fine.shape), (2.0, 2.0, 2.0), device=CPU)
    np.testing.assert_array_equal(claim.bits, np.packbits(whole > 127))
    assert claim.highest == int(whole.max()) / 255


def test_a_lone_members_claim_is_the_consensus():
    probability = np.random.default_rng(1).random((6, 6, 6))

    claims = collect_claims([prediction("a", probability, (2.0, 2.0, 2.0))], ["liver"], CPU)

    assert claims[COMMITTEE]["liver"] is claims["a"]["liver"]
    assert claims["a"]["liver"].highest == pytest.approx(probability.max(), abs=1 / TOP)
