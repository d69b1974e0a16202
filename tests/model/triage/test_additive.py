import numpy as np
import pytest
from scipy import optimize

from model.triage.additive import Penalty, chosen_penalty, fit_additive

WEAK = Penalty(offset=1e-6, lead=1e-6, rise=1e-6)


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng, rng.random(count), rng.integers(0, 3, count).astype(np.int32)


def test_a_rising_line_and_offsets_are_found_again():
    _, x, structure = rows(400)
    target = 0.5 * x + np.array([0.0, 0.2, -0.1])[structure]

    model = fit_additive([x], structure, target, structures=3, penalty=WEAK)

    assert model.predict([x], structure) == pytest.approx(target, abs=0.001)


def test_a_falling_relation_is_not_learned():
    _, x, structure = rows(300)

    model = fit_additive([x], structure, 1 - x, structures=3, penalty=WEAK)

    assert np.ptp(model.predict([x], np.zeros(300, np.int32))) == pytest.approx(0, abs=1e-9)


def test_prediction_never_falls_when_a_column_rises():
    rng, x, structure = rows(200)
    other = rng.random(200)
    target = np.sin(6 * x) + other**2 + rng.normal(0, 0.3, 200)

    model = fit_additive([x, other], structure, target, structures=3, penalty=WEAK)

    grid = np.linspace(-1, 2, 50)
    for columns in ([grid, np.full(50, 0.3)], [np.full(50, 0.3), grid]):
        predicted = model.predict(columns, np.zeros(50, np.int32))
        assert (np.diff(predicted) >= -1e-12).all()


def test_an_offset_is_drawn_toward_the_common_mean_by_its_penalty():
    """Many structures of 0, and four labels of 1: with a ridge of 4, these move half way."""
    structure = np.r_[np.repeat(np.arange(200), 50), np.full(4, 200)].astype(np.int32)
    target = (structure == 200).astype(float)

    model = fit_additive([], structure, target, structures=201, penalty=Penalty(4.0, 1.0, 1.0))

    assert model.predict([], np.full(1, 200, np.int32))[0] == pytest.approx(0.5, abs=0.01)


def test_least_squares_agree_with_a_general_optimiser():
    rng, x, structure = rows(60)
    target = x + rng.normal(0, 0.2, 60)
    model = fit_additive([x], structure, target, structures=3, penalty=Penalty(2.0, 0.5, 9.0))
    (rise,) = model.rises
    knots = rise.knots
    line = ((x - knots[0]) / (knots[-1] - knots[0]))[:, None]
    steps = np.clip((x[:, None] - knots[:-1]) / np.diff(knots), 0, 1)
    design = np.hstack([np.ones((60, 1)), np.eye(3)[structure], line, steps])
    ridge = np.r_[1e-6, np.full(3, 2.0), 0.05, np.full(steps.shape[1], 0.5)]

    def objective(weights):
        rest = design @ weights - target
        return rest @ rest + ridge @ weights**2, 2 * (design.T @ rest + ridge * weights)

    bounds = [(None, None)] * 4 + [(0, None)] * (1 + steps.shape[1])
    start = np.zeros(len(ridge))
    best = optimize.minimize(objective, start, jac=True, bounds=bounds, tol=1e-14)
    assert model.predict([x], structure) == pytest.approx(design @ best.x, abs=1e-5)


def test_a_likelihood_finds_the_share_of_each_structure():
    structure = np.repeat(np.arange(2, dtype=np.int32), 1000)
    target = np.r_[np.arange(1000) < 200, np.arange(1000) < 700].astype(float)

    model = fit_additive([], structure, target, structures=2, penalty=WEAK, loss="logistic")

    shares = model.predict([], np.arange(2, dtype=np.int32))
    assert shares == pytest.approx([0.2, 0.7], abs=0.005)


def test_unknown_values_count_as_typical_of_their_structure():
    _, x, structure = rows(300)
    x = x + structure
    model = fit_additive([x], structure, x, structures=3, penalty=WEAK)
    typical = [np.median(x[structure == code]) for code in range(3)]
    codes = np.arange(3, dtype=np.int32)

    unknown = model.predict([np.full(3, np.nan)], codes)

    assert unknown == pytest.approx(model.predict([np.array(typical)], codes))


@pytest.mark.parametrize("column", [np.full(30, 0.5), np.full(30, np.nan)])
def test_a_column_that_says_nothing_is_left_out(column):
    model = fit_additive([column], np.zeros(30, np.int32), np.ones(30), structures=1, penalty=WEAK)

    assert model.rises == ()


def test_a_column_of_two_values_is_used_although_one_of_them_is_rare():
    rare = np.r_[np.zeros(199), 1.0]

    model = fit_additive([rare], np.zeros(200, np.int32), rare, structures=1, penalty=WEAK)

    assert model.predict([rare], np.zeros(200, np.int32))[-1] == pytest.approx(1, abs=0.01)


def test_the_penalty_is_high_where_there_is_only_noise():
    rng, x, structure = rows(90)
    noise, fold = rng.normal(0, 1, 90), np.arange(90, dtype=np.int32) % 5
    grid = (Penalty(0.01, 0.01, 0.01), Penalty(100.0, 100.0, 100.0))

    chosen = [
        chosen_penalty([x], structure, target, structures=3, fold=fold, grid=grid)
        for target in (noise, 5 * x + np.array([0.0, 3.0, 6.0])[structure])
    ]

    assert chosen == [grid[1], grid[0]]
