import math

import numpy as np
import pytest

from model.grid import Box
from model.simulated_committee.border_error import (
    Amplitudes,
    draw_amplitudes,
    draw_errors,
    hard_places,
    smooth_noise,
)

BOX = Box((0, 0, 0), (24, 24, 24))
SPACING = (4.0, 4.0, 4.0)


def errors(scenario, seed, structure="liver"):
    return draw_errors(
        structure,
        BOX,
        SPACING,
        scenario=scenario,
        amplitudes=Amplitudes(),
        generator=np.random.default_rng(seed),
    ).by_member


def test_noise_is_alike_over_the_stated_length():
    products, squares = [], []
    for seed in range(40):
        noise = smooth_noise(BOX, SPACING, 16.0, np.random.default_rng(seed))
        products.append((noise[:-4] * noise[4:]).mean())
        squares.append((noise**2).mean())

    assert np.mean(squares) == pytest.approx(1.0, abs=0.1)
    assert np.mean(products) == pytest.approx(math.exp(-1), abs=0.08)


def test_surfaces_of_two_families_lie_the_stated_distance_apart(scenario):
    drawn = [errors(scenario, seed) for seed in range(40)]
    between = np.mean([(one["alpha"] - one["gamma"]).var() for one in drawn]) ** 0.5

    stated = scenario.border.of("liver").disagreement_mm
    assert between == pytest.approx(stated, rel=0.12)


def test_a_family_shares_more_than_the_committee(scenario):
    drawn = [errors(scenario, seed) for seed in range(40)]

    def alike(a, b):
        return np.mean([(one[a] * one[b]).mean() for one in drawn]) / np.mean(
            [(one[a] ** 2).mean() for one in drawn]
        )

    border = scenario.border
    assert alike("alpha", "gamma") == pytest.approx(border.shared, abs=0.12)
    assert alike("alpha", "beta") == pytest.approx(border.shared + border.family, abs=0.12)


def test_hard_places_keep_the_mean_square():
    noise = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)

    assert (hard_places(noise, 0.5) ** 2).mean() == pytest.approx(1.0, abs=0.03)
    assert (hard_places(noise, 0.0) == 1).all()


def test_amplitudes_vary_between_structures_and_are_partly_alike(scenario):
    generator = np.random.default_rng(0)
    drawn = [draw_amplitudes(scenario.border, (0.0, 0.0), generator) for _ in range(4000)]
    logs = np.log([(one.shared, one.own) for one in drawn])

    assert logs.std(axis=0) == pytest.approx(scenario.border.structure_spread, rel=0.05)
    assert np.corrcoef(logs.T)[0, 1] == pytest.approx(scenario.border.shared_alike, abs=0.05)
