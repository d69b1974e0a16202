import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from configs.taxonomy import load_taxonomy
from configs.test_time import MOST_PASSES, InputChange, shipped_changes
from model.annotate import AnnotateOptions, annotate_volume
from model.committee import CommitteeMember
from model.inference_settings import InferenceSettings
from model.scores import COMMITTEE
from model.test_time import _moved, alone_with


class Above(nn.Module):
    """Every structure is where the intensity is above its threshold; counts its calls."""

    def __init__(self, thresholds_hu):
        super().__init__()
        self.thresholds = torch.tensor(thresholds_hu)
        self.calls = 0

    def forward(self, images, structure_index=None):
        self.calls += 1
        chosen = self.thresholds if structure_index is None else self.thresholds[structure_index]
        return 10.0 * (images * 425 - 175 - chosen[None, :, None, None, None])


def member(name, thresholds, *, family=None):
    return CommitteeMember(
        name=name,
        family=family or name,
        network=Above(list(thresholds.values())).eval(),
        inference=InferenceSettings(spacing_mm=(1.0, 1.0, 1.0), patch=(40, 32, 24), overlap=0.0),
        structures=tuple(thresholds),
    )


def stairs():
    """Body of 0 HU with two blocks of 1152 voxels, 50 and 55 HU."""
    hu = np.full((40, 32, 24), -1000, np.int16)
    hu[4:36, 4:28, :] = 0
    hu[8:16, 8:20, 6:18] = 50
    hu[16:24, 8:20, 6:18] = 55
    return hu


def run(members, *changes):
    results = annotate_volume(
        stairs(),
        (1.0, 1.0, 1.0),
        members,
        taxonomy=load_taxonomy(),
        device=torch.device("cpu"),
        options=AnnotateOptions(changes=changes),
    )
    return {one.structure: one for one in results}


def dice_of(result):
    return {row.member: row.tta_dice for row in result.scores}


BRIGHTER = InputChange(name="brighter", hu=10.0)
DARKER = InputChange(name="darker", hu=-10.0)


def test_dice_of_a_member_that_is_alone_by_hand():
    # Above 52 HU: one block unchanged, both when brighter, none when darker.
    alone = member("m1", {"spleen": 52.0, "liver": 25.0})

    results = run([alone], BRIGHTER, DARKER)

    expected = (2 / 3 + 0 + 0) / 3
    assert dice_of(results["spleen"]) == pytest.approx({"m1": expected, COMMITTEE: expected})
    assert dice_of(results["liver"]) == {"m1": 1.0, COMMITTEE: 1.0}


def test_passes_change_nothing_but_their_own_score():
    members = [member("m1", {"spleen": 52.0, "liver": 25.0}), member("m2", {"liver": 25.0})]

    without, with_passes = run(members), run(members, BRIGHTER, DARKER)

    for name, result in with_passes.items():
        rows = [dataclasses.replace(row, tta_dice=None) for row in result.scores]
        assert tuple(rows) == without[name].scores
        np.testing.assert_array_equal(result.consensus, without[name].consensus)


def test_only_a_member_that_is_alone_runs_again_and_only_for_its_own():
    members = [member("m1", {"spleen": 52.0, "liver": 25.0}), member("m2", {"liver": 25.0})]

    results = run(members, BRIGHTER, DARKER)

    assert dice_of(results["liver"]) == {"m1": None, "m2": None, COMMITTEE: None}
    assert set(dice_of(results["spleen"])) == {"m1", COMMITTEE}
    assert members[0].network.calls == 3 * members[1].network.calls


def test_the_first_member_of_a_family_stands_for_it():
    first = member("a1", {"spleen": 52.0}, family="a")
    second = member("a2", {"spleen": 52.0, "liver": 25.0}, family="a")
    other = member("b1", {"liver": 25.0}, family="b")

    assert alone_with([first, second, other], ("spleen", "liver")) == {"a1": ("spleen",)}


def test_a_structure_that_is_never_seen_agrees_with_itself():
    results = run([member("m1", {"spleen": 999.0})], BRIGHTER)

    assert results["spleen"].box is None
    assert dice_of(results["spleen"]) == {"m1": 1.0, COMMITTEE: 1.0}


def test_a_shift_there_and_back_is_the_mean_of_neighbours():
    line = torch.zeros(7, 1, 1)
    line[3] = 1.0

    there = _moved(line, 0.5)
    back = _moved(there, -0.5)

    assert there.ravel().tolist() == [0, 0, 0.5, 0.5, 0, 0, 0]
    assert back.ravel().tolist() == [0, 0, 0.25, 0.5, 0.25, 0, 0]


def test_a_shift_is_linear_interpolation():
    volume = torch.rand(5, 6, 7, generator=torch.Generator().manual_seed(0))
    grid = np.meshgrid(*(np.arange(n) + 0.25 for n in volume.shape), indexing="ij")
    expected = ndimage.map_coordinates(volume.numpy(), grid, order=1, mode="nearest")

    np.testing.assert_allclose(_moved(volume, 0.25).numpy(), expected, atol=1e-6)


def test_every_shipped_change_leaves_a_clear_structure_nearly_as_it_is_and_twice_alike():
    changes = shipped_changes()
    alone = member("m1", {"spleen": 25.0})

    first, second = run([alone], *changes), run([alone], *changes)

    assert len(changes) == MOST_PASSES
    assert 0.8 < dice_of(first["spleen"])[COMMITTEE] < 1.0
    assert first["spleen"].scores == second["spleen"].scores
