"""Intervals of means over cases, drawing patients: cases of one patient are not independent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

DRAWS = 2000
LEVEL = 0.95
LEAST_PATIENTS = 4
"""One of three patients is drawn three times in 1 of 27 draws, which is more than 2.5 %."""
_CELLS_AT_ONCE = 1 << 21


def clustered_interval(
    sums: npt.ArrayLike,
    counts: npt.ArrayLike,
    generator: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> Interval | None:
    """Return the 95 % percentile interval of a mean of means over columns.

    Patients are drawn with replacement, and all of a patient's cases go along. In each draw, a
    column's mean is over the cases drawn; then the columns are averaged, leaving out those of which
    no case was drawn. With one column this is the interval of a plain mean over cases.

    Args:
        sums: Sum of the values of each patient's cases, shape (patients,) or (patients, columns).
        counts: How many cases that is, same shape; a patient may have none in a column.
        generator: Source of the draws.
        draws: How often patients are drawn.

    Returns:
        Lower and upper end; None for fewer than four patients with a value, of whom the interval
        would only be the range, or where every draw gives the same mean. With few patients the
        interval is too narrow.

    Source:
        Percentile bootstrap: Efron and Tibshirani 1993; drawing whole clusters: Field and Welsh
        2007.
    """
    totals, weights = (_two_dimensional(array) for array in (sums, counts))
    kept = weights.any(axis=1)
    totals, weights = totals[kept], weights[kept]
    if len(totals) < LEAST_PATIENTS:
        return None
    means = _resampled_means(totals, weights, generator, draws)
    if np.ptp(means) <= 1e-12 * max(1.0, float(np.abs(means).max())):
        return None
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resampled_means(
    totals: Floats, weights: Floats, generator: np.random.Generator, draws: int
) -> Floats:
    patients = len(totals)
    step = max(1, _CELLS_AT_ONCE // totals.size)
    means: list[Floats] = []
    for start in range(0, draws, step):
        drawn = generator.integers(0, patients, size=(min(step, draws - start), patients))
        cases = weights[drawn].sum(axis=1)
        known = cases > 0
        column_means = np.divide(
            totals[drawn].sum(axis=1), cases, out=np.zeros_like(cases), where=known
        )
        means.append(column_means.sum(axis=1) / known.sum(axis=1))
    return np.concatenate(means)


def _two_dimensional(array: npt.ArrayLike) -> Floats:
    values = np.asarray(array, np.float64)
    return values[:, None] if values.ndim == 1 else values
