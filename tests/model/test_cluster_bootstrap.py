import itertools

import numpy as np
import pytest
from scipy import stats

from model.cluster_bootstrap import clustered_interval


def rng(seed=0):
    return np.random.default_rng(seed)


def test_interval_of_plain_cases_equals_scipys():
    values = rng(3).beta(8, 2, 40)

    low, high = clustered_interval(values, np.ones(40), rng(), draws=20_000)

    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, random_state=rng(1)
    ).confidence_interval
    assert low == pytest.approx(expected.low, abs=0.001)
    assert high == pytest.approx(expected.high, abs=0.001)


def test_interval_of_clusters_equals_all_possible_draws():
    """Four patients with 1 to 3 cases: 256 draws, all equally likely."""
    sums, counts = np.array([0.9, 1.1, 2.4, 0.2]), np.array([1, 2, 3, 1])
    means = [
        sums[list(drawn)].sum() / counts[list(drawn)].sum()
        for drawn in itertools.product(range(4), repeat=4)
    ]

    found = clustered_interval(sums, counts, rng(), draws=40_000)

    assert found == pytest.approx(
        np.quantile(means, [0.025, 0.975], method="inverted_cdf"), abs=0.02
    )


def test_columns_are_averaged_in_each_draw():
    """Four patients, the second without a case in the first column: 256 draws."""
    sums = np.array([[0.9, 0.2], [0.0, 0.5], [0.4, 1.9], [1.1, 0.6]])
    counts = np.array([[1, 1], [0, 1], [1, 2], [2, 1]])
    means = []
    for drawn in itertools.product(range(4), repeat=4):
        total, cases = sums[list(drawn)].sum(axis=0), counts[list(drawn)].sum(axis=0)
        means.append(np.mean([t / n for t, n in zip(total, cases, strict=True) if n]))

    found = clustered_interval(sums, counts, rng(), draws=40_000)

    assert found == pytest.approx(
        np.quantile(means, [0.025, 0.975], method="inverted_cdf"), abs=0.02
    )


def test_two_like_cases_of_each_patient_give_no_narrower_interval():
    values = rng(5).normal(0.8, 0.1, 20)

    clustered = clustered_interval(2 * values, np.full(20, 2), rng())
    single = clustered_interval(values, np.ones(20), rng())
    as_if_independent = clustered_interval(np.repeat(values, 2), np.ones(40), rng())

    assert clustered == pytest.approx(single)
    width, naive = (high - low for low, high in (clustered, as_if_independent))
    assert width / naive == pytest.approx(2**0.5, rel=0.1)


def test_equal_seeds_give_equal_intervals():
    values = rng(1).random(9)

    found = [clustered_interval(values, np.ones(9), rng(seed)) for seed in (4, 4, 5)]

    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("sums", "counts"),
    [
        ([], []),
        ([0.8], [1]),
        ([2.4], [3]),
        ([0.8, 0.2, 0.4], [1, 1, 1]),
        ([0.8, 0.2, 0.4, 0.0], [1, 1, 1, 0]),
        ([1.0, 2.0, 1.0, 1.0], [1, 2, 1, 1]),
        ([0.3, 0.3 + 1e-16, 0.3, 0.3], [1, 1, 1, 1]),
    ],
)
def test_three_patients_or_equal_values_have_no_interval(sums, counts):
    assert clustered_interval(sums, counts, rng()) is None


def test_interval_holds_the_true_mean_about_as_often_as_it_says():
    """40 patients with 1 to 3 like cases: a percentile interval covers slightly under 95 %."""
    generator, covered = rng(11), 0
    for _ in range(300):
        counts = generator.integers(1, 4, 40)
        means = generator.normal(0.7, 0.1, 40)
        low, high = clustered_interval(means * counts, counts, generator, draws=400)
        covered += low <= 0.7 <= high

    assert 0.88 <= covered / 300 <= 0.98


def test_many_patients_are_drawn_in_parts_alike():
    values = rng(2).random(3000)

    low, high = clustered_interval(values, np.ones(3000), rng())

    half = 1.96 * values.std() / 3000**0.5
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.001)
