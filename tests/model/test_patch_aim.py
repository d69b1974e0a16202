from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import pytest
import torch

from configs.errors import ConfigError
from configs.taxonomy import load_taxonomy
from model.patch_aim import AimPlan, SamplingSettings, aim_plan, aim_weights
from model.training_samples import PreparedSample

PLAIN = SamplingSettings(temperature=1.0, rarity=0.0)


def case(*present: int, dataset: str = "", weight: float = 1.0) -> PreparedSample:
    return PreparedSample(
        image=torch.zeros(2, 2, 2).half(),
        labels=torch.zeros(1, 2, 2, 2, dtype=torch.uint8),
        annotated=torch.tensor(present, dtype=torch.int64),
        centres={number: torch.zeros(1, 3, dtype=torch.int64) for number in present},
        weight=weight,
        dataset=dataset,
    )


def by_structure(plan: AimPlan) -> dict[int, float]:
    found: Counter[int] = Counter()
    for structure, share in zip(plan.structures.tolist(), plan.probability.tolist(), strict=True):
        found[structure] += share  # type: ignore[assignment]
    return dict(found)


def by_dataset(plan: AimPlan, samples: Sequence[PreparedSample]) -> dict[str, float]:
    found: Counter[str] = Counter()
    for number, share in zip(plan.cases.tolist(), plan.probability.tolist(), strict=True):
        found[samples[number].dataset] += share  # type: ignore[assignment]
    return dict(found)


def plan_of(
    samples: Sequence[PreparedSample], settings: SamplingSettings, *weights: float
) -> AimPlan:
    return aim_plan(samples, torch.tensor(weights), settings)


@pytest.mark.parametrize(
    ("temperature", "small"),
    [
        (1.0, 20 / 1020),
        (2.0, math.sqrt(20) / (math.sqrt(20) + math.sqrt(1000))),
        (math.inf, 0.5),
    ],
)
def test_the_temperature_decides_what_a_small_dataset_gets(
    temperature: float, small: float
) -> None:
    samples = [case(0, dataset="large") for _ in range(1000)]
    samples += [case(0, dataset="small") for _ in range(20)]

    plan = plan_of(samples, SamplingSettings(temperature=temperature), 1.0)

    assert by_dataset(plan, samples)["small"] == pytest.approx(small)


def test_a_dataset_of_1000_does_not_drown_one_of_20_in_the_draws() -> None:
    samples = [case(0, dataset="large") for _ in range(1000)]
    samples += [case(0, dataset="small") for _ in range(20)]
    plan = plan_of(samples, SamplingSettings(), 1.0)
    generator = torch.Generator().manual_seed(5)

    drawn = Counter(samples[plan.draw(generator)[0]].dataset for _ in range(4000))

    # 0.1239 expected; five standard errors of 4000 draws are 0.026.
    assert drawn["small"] / 4000 == pytest.approx(0.1239, abs=0.026)


def test_draws_follow_the_plan_over_cases_and_structures() -> None:
    samples = [case(0, 1, weight=2.0), case(1, 2), case(dataset="empty")]
    plan = plan_of(samples, SamplingSettings(rarity=0.3), 1.0, 1.0, 3.0)
    generator = torch.Generator().manual_seed(8)

    drawn = Counter(plan.draw(generator) for _ in range(5000))

    pairs = zip(plan.cases.tolist(), plan.structures.tolist(), plan.probability, strict=True)
    for number, structure, share in pairs:
        key = (number, None if structure < 0 else structure)
        spread = 5 * math.sqrt(float(share) * (1 - float(share)) / 5000)
        assert drawn[key] / 5000 == pytest.approx(float(share), abs=spread)


def test_case_weights_hold_within_a_dataset() -> None:
    samples = [case(0, weight=3.0), case(0, weight=1.0)]

    assert plan_of(samples, PLAIN, 1.0).probability.tolist() == pytest.approx([0.75, 0.25])


def test_rarity_1_aims_at_all_structures_alike() -> None:
    # Structure 1 is in one case of ten.
    samples = [case(0) for _ in range(9)] + [case(0, 1)]

    plain = by_structure(plan_of(samples, PLAIN, 1.0, 1.0))
    half = by_structure(plan_of(samples, SamplingSettings(rarity=0.5), 1.0, 1.0))
    even = by_structure(plan_of(samples, SamplingSettings(rarity=1.0), 1.0, 1.0))

    # Plain: the one case shows two structures, so 0.05 against 0.95.
    assert plain[1] == pytest.approx(0.05)
    assert half[1] / half[0] == pytest.approx(math.sqrt(0.05 / 0.95))
    assert even[1] == pytest.approx(0.5)


def test_a_lesion_that_few_cases_have_is_drawn_far_above_its_share() -> None:
    structures = ("liver", "liver_tumor")
    samples = [case(0) for _ in range(95)] + [case(0, 1) for _ in range(5)]
    settings = SamplingSettings()

    plan = aim_plan(samples, aim_weights(structures, settings), settings)

    # By hand: frequency 0.975 and 0.025; relative to their mean 1.95 and 0.05; weights 1 and 2.
    liver, tumor = 0.975 * 1.95**-0.5, 0.025 * 2 * 0.05**-0.5
    assert by_structure(plan)[1] == pytest.approx(tumor / (liver + tumor))
    assert by_structure(plan)[1] > 0.2


def test_thin_structures_are_aimed_at_more_often_than_thick_ones() -> None:
    names = load_taxonomy().names
    thin = (
        "adrenal_gland_right",
        "adrenal_gland_left",
        "duodenum",
        "hepatic_vessel",
        "portal_vein_and_splenic_vein",
        "celiac_trunk",
    )
    samples = [case(*range(25)) for _ in range(3)]

    settings = SamplingSettings()
    shares = by_structure(aim_plan(samples, aim_weights(names, settings), settings))

    assert {name for name in names if load_taxonomy()[name].thin} == set(thin)
    liver = shares[names.index("liver")]
    assert all(shares[names.index(name)] == pytest.approx(1.5 * liver) for name in thin)
    assert liver == pytest.approx(1 / (19 + 6 * 1.5))


def test_a_structure_that_one_small_dataset_annotates_is_not_starved() -> None:
    # Fifteen sets of a hundred cases show the liver, one of fifty the liver and the celiac trunk.
    samples = [case(0, dataset=f"set {n}") for n in range(15) for _ in range(100)]
    samples += [case(0, 1, dataset="trunk") for _ in range(50)]

    share = by_structure(plan_of(samples, SamplingSettings(), 1.0, 1.5))[1]

    assert by_structure(plan_of(samples, PLAIN, 1.0, 1.0))[1] == pytest.approx(25 / 1550)
    assert share > 0.15


def test_cases_that_show_nothing_are_drawn_as_well() -> None:
    samples = [case(0), case()]
    plan = plan_of(samples, SamplingSettings(), 1.0)
    generator = torch.Generator().manual_seed(1)

    drawn = Counter(plan.draw(generator) for _ in range(400))

    assert set(drawn) == {(0, 0), (1, None)}
    assert drawn[(1, None)] / 400 == pytest.approx(0.5, abs=0.125)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.5},
        {"temperature": math.nan},
        {"rarity": 1.5},
        {"foreground": -0.1},
        {"lesion_weight": 0.0},
        {"thin_weight": math.inf},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"sampling.{next(iter(wrong))} must be"):
        SamplingSettings(**wrong)
