import numpy as np
import pytest

from configs.errors import UsageError
from configs.taxonomy import shipped_taxonomy
from model.grid import Box
from model.simulated_committee.faults import FaultPlan, draw_faults, with_faults
from model.simulated_committee.members import Outline
from model.working_levels import HALF

TAXONOMY = shipped_taxonomy()


def plan(scenario, *kinds, sealed=False, rate=1.0, sharing=None):
    updates = {"rate": rate} | ({"sharing": sharing} if sharing else {})
    faults = scenario.faults.model_copy(update=updates)
    return FaultPlan(faults, kinds or None, sealed)


def true_outlines(scene, scenario):
    width = np.asarray(1.0, np.float32)
    return {
        member.name: {name: Outline(field, width) for name, field in scene.fields.items()}
        for member in scenario.members
    }


def drawn(scene, scenario, chosen, seed=0):
    return draw_faults(
        scene,
        scenario.members,
        chosen,
        taxonomy=TAXONOMY,
        generator=np.random.default_rng(seed),
    )


def spoiled(scene, scenario, kind, structure, seed=0):
    """Return true and faulty mask of a structure, from every member."""
    chosen = plan(scenario, kind, sealed=True, sharing={"all": 1.0})
    faults = drawn(scene, scenario, chosen, seed)
    assert structure in {name for fault, _ in faults for name in fault.structures}
    seen = with_faults(true_outlines(scene, scenario), faults)["alpha"]
    whole = Box((0, 0, 0), scene.grid.shape)
    mask = np.zeros(whole.shape, bool)
    if structure in seen:
        mask[seen[structure].field.box.slices] = seen[structure].levels(1.0) > HALF
    return scene.masks[structure], mask


def test_sealed_faults_are_refused_until_asked_for(scenario):
    sealed = scenario.faults.sealed

    assert len(sealed) == 2
    with pytest.raises(UsageError, match="sealed"):
        FaultPlan(scenario.faults, sealed[:1])
    assert not set(FaultPlan(scenario.faults).weights) & set(sealed)
    assert set(FaultPlan(scenario.faults, sealed=True).weights) == set(scenario.faults.kinds)


def test_sealed_faults_do_not_happen_unasked(scene, scenario):
    kinds = {
        fault.kind
        for seed in range(60)
        for fault, _ in drawn(scene, scenario, plan(scenario), seed)
    }

    assert kinds == set(scenario.faults.kinds) - set(scenario.faults.sealed)


def test_the_rate_of_faults_is_the_stated_one(scene, scenario):
    chosen = plan(scenario, "cut", "hallucinated", rate=0.1)
    count = sum(len(drawn(scene, scenario, chosen, seed)) for seed in range(400))

    assert count / (400 * len(scene.masks)) == pytest.approx(0.1, abs=0.02)


def test_one_some_or_all_members_have_a_fault(scene, scenario):
    def who(sharing):
        chosen = plan(scenario, "missed", sharing={sharing: 1.0})
        return {f.members for seed in range(20) for f, _ in drawn(scene, scenario, chosen, seed)}

    assert who("one") == {("alpha",), ("beta",), ("gamma",)}
    assert who("some") == {("alpha", "beta")}
    assert who("all") == {("alpha", "beta", "gamma")}


def test_who_abstains_makes_no_fault(scene, scenario):
    silent = scenario.members[2].model_copy(update={"abstains": tuple(scene.masks)})
    changed = scenario.model_copy(update={"members": (*scenario.members[:2], silent)})
    chosen = plan(scenario, "missed", sharing={"all": 1.0})

    assert {f.members for f, _ in drawn(scene, changed, chosen)} == {("alpha", "beta")}


def test_swapped_sides_exchange_both_kidneys(scene, scenario):
    _, right = spoiled(scene, scenario, "swapped_sides", "kidney_right")

    np.testing.assert_array_equal(right, scene.masks["kidney_left"])


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_leaves_part_of_one_end(scene, scenario, seed):
    truth, mask = spoiled(scene, scenario, "cut", "liver", seed)

    assert not (mask & ~truth).any()
    assert 0.3 < mask.sum() / truth.sum() < 0.95


@pytest.mark.parametrize("seed", range(4))
def test_dropped_slices_are_whole_axial_ones_inside(scene, scenario, seed):
    truth, mask = spoiled(scene, scenario, "dropped_slices", "liver", seed)
    kept = mask.any(axis=(0, 1))
    there = np.flatnonzero(truth.any(axis=(0, 1)))

    assert kept[there[0]]
    assert kept[there[-1]]
    assert 0 < np.count_nonzero(~kept[there]) < 0.5 * len(there)
    np.testing.assert_array_equal(mask[..., kept], truth[..., kept])


def test_an_island_lies_apart(scene, scenario):
    truth, mask = spoiled(scene, scenario, "island", "kidney_left")
    extra = mask & ~truth

    np.testing.assert_array_equal(mask & truth, truth)
    assert 0 < extra.sum() < 0.4 * truth.sum()


def test_a_leak_runs_into_a_touching_neighbour(scene, scenario):
    truth, mask = spoiled(scene, scenario, "leak", "kidney_right")
    extra = mask & ~truth

    assert extra.any()
    assert not (extra & ~scene.masks["liver"]).any()


def test_what_touches_nothing_does_not_leak(scene, scenario):
    chosen = plan(scenario, "leak", sealed=True)
    faults = [fault for seed in range(20) for fault, _ in drawn(scene, scenario, chosen, seed)]

    assert not any("kidney_left" in fault.structures for fault in faults)


def test_a_hole_lies_inside(scene, scenario):
    truth, mask = spoiled(scene, scenario, "hole", "liver")

    assert not (mask & ~truth).any()
    assert 0.6 < mask.sum() / truth.sum() < 1


def test_what_is_missed_has_no_mask_but_leaves_a_trace(scene, scenario):
    _, mask = spoiled(scene, scenario, "missed", "liver")
    chosen = plan(scenario, "missed", sharing={"all": 1.0})
    seen = with_faults(true_outlines(scene, scenario), drawn(scene, scenario, chosen))

    assert not mask.any()
    assert 0 < seen["alpha"]["liver"].levels(1.0).max() <= HALF


def test_only_what_is_not_there_is_hallucinated(scene, scenario):
    chosen = plan(scenario, "hallucinated", sharing={"all": 1.0})
    faults = drawn(scene, scenario, chosen)
    seen = with_faults(true_outlines(scene, scenario), faults)["beta"]["liver_tumor"].field

    assert {f.structures for f, _ in faults} == {("spleen",), ("liver_tumor",)}
    centre = np.unravel_index(seen.values.argmax(), seen.values.shape)
    assert scene.masks["liver"][tuple(np.add(centre, seen.box.start))]


def test_a_shifted_mask_has_its_volume_elsewhere(scene, scenario):
    truth, mask = spoiled(scene, scenario, "shifted", "kidney_left")

    assert mask.sum() == truth.sum()
    assert 0 < (mask & truth).sum() < truth.sum()
