import numpy as np
import pytest
from scipy import special
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from model.temperature import (
    calibration_error,
    fit_temperature,
    level_counts,
    level_probabilities,
    negative_log_likelihood,
    reliability,
    scaled_levels,
)


def overconfident(temperature, *, n=60_000, seed=2):
    """Levels and truth whose logits are ``temperature`` times too large; none at the ends."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.2, n)
    truth = rng.random(n) < special.expit(logits)
    levels = np.round(255 * special.expit(temperature * logits)).clip(1, 254).astype(np.uint8)
    return levels, truth


def counted(levels, truth):
    return level_counts(levels, truth, np.ones(levels.shape, bool))


def test_counts_are_of_the_chosen_voxels_apart_by_truth():
    levels = np.array([0, 5, 5, 255, 7], np.uint8)
    truth = np.array([0, 0, 1, 1, 1], bool)

    counts = level_counts(levels, truth, np.array([1, 1, 1, 1, 0], bool))

    assert counts.shape == (2, 256)
    assert {(side, level): counts[side, level] for side, level in np.argwhere(counts)} == {
        (0, 0): 1,
        (0, 5): 1,
        (1, 5): 1,
        (1, 255): 1,
    }


def test_the_fit_is_scikit_learns_logistic_regression_on_the_logits():
    levels, truth = overconfident(2.0)

    fitted = fit_temperature(counted(levels, truth))

    logits = special.logit(levels / 255)[:, None]
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(logits, truth)
    assert fitted == pytest.approx(1 / model.coef_[0, 0], rel=1e-3)
    assert fitted == pytest.approx(2.0, rel=0.05)


def test_the_loss_is_scikit_learns():
    levels, truth = overconfident(2.0, n=500)
    levels[:3], truth[:3] = (0, 255, 255), (1, 0, 1)

    loss = negative_log_likelihood(counted(levels, truth), 1.7)

    expected = log_loss(truth, level_probabilities(1.7)[levels], normalize=False)
    assert loss == pytest.approx(expected)


def test_the_error_is_that_of_scikit_learns_curve():
    levels, truth = overconfident(2.0, n=4000)

    error = calibration_error(reliability(counted(levels, truth), 1.0))

    probability = levels / 255
    inside, mean = calibration_curve(truth, probability, n_bins=15)
    voxels = np.bincount(np.searchsorted(np.linspace(0, 1, 16)[1:-1], probability), minlength=15)
    weights = voxels[voxels > 0] / len(levels)
    assert error == pytest.approx(float(weights @ np.abs(inside - mean)), abs=1e-9)
    assert error > 0.05


def test_the_error_by_hand():
    counts = np.zeros((2, 256))
    counts[1, 51], counts[0, 51] = 3, 1  # p = 0.2, of which three quarters are inside
    counts[1, 204] = 4  # p = 0.8, all inside

    assert calibration_error(reliability(counts, 1.0)) == pytest.approx((0.55 + 0.2) / 2)
    assert calibration_error(reliability(np.zeros((2, 256)), 1.0)) is None


def test_one_kind_of_voxels_alone_fits_nothing():
    counts = np.zeros((2, 256))
    counts[0, 100] = 50

    assert fit_temperature(counts) == 1.0


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 3.3, 20.0])
def test_applying_keeps_order_ends_and_the_mask(temperature):
    levels = np.arange(256, dtype=np.uint8)

    scaled = scaled_levels(levels, temperature)

    assert (np.diff(scaled.astype(int)) >= 0).all()
    assert (scaled[0], scaled[255]) == (0, 255)
    assert ((scaled > 127) == (levels > 127)).all()
    expected = special.expit(special.logit(levels[1:255] / 255) / temperature)
    assert np.abs(scaled[1:255] / 255 - expected).max() < 0.52 / 255


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="must be positive"):
        scaled_levels(np.zeros(1, np.uint8), temperature)
