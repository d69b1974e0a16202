import numpy as np
import pytest
import torch
from torch import nn

from model.committee import CommitteeMember
from model.exclusive_overlap import Claim, ListedOverlap, collect_claims
from model.grid import Box, Grid
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


def naive_overlap(first, others, working_mm, box, native_mm):
    """Every native voxel of a box looks at the working voxel that its centre lies in."""
    claimed = first & np.logical_or.reduce(others)
    found = np.zeros(box.shape, bool)
    for place in np.ndindex(*box.shape):
        at = [
            min(int((p + start + 0.5) * native / working), size - 1)
            for p, start, native, working, size in zip(
                place, box.start, native_mm, working_mm, claimed.shape, strict=True
            )
        ]
        found[place] = claimed[tuple(at)]
    return found


# Packed sizes that end within a byte, within a word and on one; a hit in the last voxel too.
@pytest.mark.parametrize("shape", [(5, 4, 3), (9, 5, 7), (8, 8, 8)])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_listed_overlap_is_brought_to_the_nearest_native_voxel(shape, share):
    rng = np.random.default_rng(5)
    masks = {name: rng.random(shape) < share for name in ("liver", "spleen", "stomach", "aorta")}
    for mask in masks.values():
        mask[-1, -1, -1] = True
    claims = {name: Claim(np.packbits(mask), 1.0) for name, mask in masks.items()}
    once = np.zeros_like(claims["liver"].bits)
    twice = np.zeros_like(once)
    for name in ("liver", "spleen", "stomach"):
        twice |= once & claims[name].bits
        once |= claims[name].bits
    working_mm, native_mm = (2.0, 3.0, 1.5), (1.0, 2.0, 2.5)
    listed = frozenset(("liver", "spleen", "stomach"))
    overlap = ListedOverlap(once, twice, listed, Grid(shape, working_mm))
    box = Box((1, 0, 0), (2 * shape[0], 3 * shape[1] // 2, max(1, int(0.6 * shape[2]))))

    for name in ("liver", "aorta"):
        others = [masks[other] for other in listed if other != name]
        expected = naive_overlap(masks[name], others, working_mm, box, native_mm)
        found = overlap.of(name, claims[name], box, native_mm)
        assert (found is None) == (not expected.any())
        if found is not None:
            np.testing.assert_array_equal(found, expected)


def test_a_structure_that_nothing_listed_claims_has_no_overlap():
    shape = (4, 4, 4)
    first = np.zeros(shape, bool)
    first[:2] = True
    bits = np.packbits(~first)
    overlap = ListedOverlap(
        bits, np.zeros_like(bits), frozenset(("liver",)), Grid(shape, (1.0,) * 3)
    )

    claim = Claim(np.packbits(first), 1.0)

    assert overlap.of("aorta", claim, Box((0, 0, 0), shape), (1.0, 1.0, 1.0)) is None
