"""One number per structure that makes its probabilities mean what they say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from model.scores import Bytes, Mask

Counts = npt.NDArray[np.float64]
"""Voxels of each level, shape (2, 256): first those outside the reference, then those inside."""

BINS = 15
_LEAST, _MOST = 1 / 20, 20.0


def level_counts(levels: Bytes, reference: Mask, where: Mask) -> Counts:
    """Count the levels of the voxels ``where``, apart for those outside and inside a reference.

    All that a temperature and a calibration error need; three arrays of one shape.
    """
    chosen, inside = levels[where], reference[where]
    outside = np.bincount(chosen[~inside], minlength=256)
    return np.stack([outside, np.bincount(chosen[inside], minlength=256)]).astype(np.float64)


def fit_temperature(counts: Counts) -> float:
    """Return the temperature T with the least negative log-likelihood of sigmoid(logit(p) / T).

    Args:
        counts: See ``Counts``; weights need not be whole numbers.

    Returns:
        In [0.05, 20]; 1 where there are no voxels of both kinds.

    Source:
        Temperature scaling: Guo et al. 2017; here one a structure, by Brent's bounded search.
    """
    if not counts.sum(axis=1).all():
        return 1.0
    found = optimize.minimize_scalar(
        lambda log: negative_log_likelihood(counts, math.exp(log)) / counts.sum(),
        bounds=(math.log(_LEAST), math.log(_MOST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(math.exp(found.x))


def negative_log_likelihood(counts: Counts, temperature: float) -> float:
    """Return the sum over voxels, in nats."""
    probability = level_probabilities(temperature)
    return -float(counts[1] @ np.log(probability) + counts[0] @ np.log1p(-probability))


def reliability(counts: Counts, temperature: float) -> Counts:
    """Return per bin of probability: voxels, sum of probabilities, voxels inside; shape (3, 15).

    Bins have equal width and hold their upper end. Sums of several may be added before they go to
    ``calibration_error``.
    """
    probability = level_probabilities(temperature)
    bins = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], probability)
    weight = counts.sum(axis=0)
    rows = (weight, weight * probability, counts[1])
    sums = [np.bincount(bins, row, minlength=BINS) for row in rows]
    return np.stack(sums).astype(np.float64)


def calibration_error(sums: Counts) -> float | None:
    """Return the expected calibration error; None of no voxels.

    The mean over voxels of the distance, in their bin, between the mean probability and the share
    that is inside the reference.

    Source:
        Naeini et al. 2015, for the probability of being inside.
    """
    total = sums[0].sum()
    return float(np.abs(sums[1] - sums[2]).sum() / total) if total else None


def scaled_levels(levels: Bytes, temperature: float) -> Bytes:
    """Return 8-bit probabilities with a temperature applied; what is above 0.5 stays the same.

    Raises:
        ValueError: The temperature is not positive.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature must be positive, got {temperature}")
    if temperature == 1.0:
        return levels
    table = np.ceil(level_table(temperature) - 0.5).astype(np.uint8)
    # Rounding must not carry a level across one half, which a temperature leaves where it is.
    table[:128] = np.minimum(table[:128], 127)
    table[128:] = np.maximum(table[128:], 128)
    return table[levels]


def level_table(temperature: float) -> Counts:
    """Return what each level becomes with a temperature applied, 0 to 255, not rounded, (256,)."""
    table = 255 * level_probabilities(temperature)
    table[0], table[255] = 0.0, 255.0
    return table


def level_probabilities(temperature: float) -> Counts:
    """Return the probability that each level stands for once a temperature is applied, (256,).

    The first and the last level stay: all beyond a logit of about 6 is rounded to them, so theirs
    is not known, and the first also means that no window looked. They stand for half a step, whose
    middle is a quarter of a step from 0 and 1.
    """
    probability = np.arange(256) / 255
    probability[1:255] = special.expit(special.logit(probability[1:255]) / temperature)
    probability[0], probability[255] = 0.25 / 255, 254.75 / 255
    return probability
