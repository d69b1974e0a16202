"""Histogram percentiles and shares against numpy on the voxels."""

from __future__ import annotations

import numpy as np
import pytest

from storage.hu_histogram import HuHistogram

PERCENTS = (0, 0.5, 5, 25, 50, 75, 95, 99.5, 100)


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_equal_numpy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hu = rng.integers(-32768, 32768, tuple(rng.integers(1, 9, 3))).astype(np.int16)

    histogram = HuHistogram.of(hu)

    assert histogram.percentiles(PERCENTS) == pytest.approx(np.percentile(hu, PERCENTS))
    assert (histogram.lowest, histogram.highest) == (hu.min(), hu.max())
    assert histogram.distinct == len(np.unique(hu))


def test_shares_count_half_open_ranges() -> None:
    histogram = HuHistogram.of(np.array([-5, -5, 0, 7], np.int16).reshape(1, 2, 2))

    assert histogram.share(-5, 0) == 0.5
    assert histogram.share(-4, 8) == 0.5
    assert histogram.without(-5, 1).total == 1


def test_nothing_counted_has_no_percentiles() -> None:
    histogram = HuHistogram(np.zeros(65536, np.int64))

    assert histogram.share(0, 1) == 0.0
    with pytest.raises(ValueError, match="at least one voxel"):
        histogram.percentiles((50,))
