import numpy as np
import pytest
from scipy.stats import spearmanr

from model.ranking_quality import Outcome, rank_correlation, ranking_quality


def outcomes(structure, pairs):
    return [Outcome(structure=structure, risk=risk, dsc=dsc) for risk, dsc in pairs]


def test_rank_correlation_equals_scipy_with_ties():
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 6, 40) * 1.0, generator.integers(0, 6, 40) * 1.0

    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_a_constant_has_no_rank_correlation():
    assert rank_correlation(np.ones(5), np.arange(5.0)) is None
    assert rank_correlation(np.array([1.0]), np.array([1.0])) is None


def test_within_is_averaged_over_structures_not_cases():
    perfect = outcomes("liver", [(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)])
    reversed_order = outcomes("colon", [(n / 10, n / 10) for n in range(1, 7)])

    quality = ranking_quality(perfect + reversed_order)

    assert quality.within == {"colon": pytest.approx(-1.0), "liver": pytest.approx(1.0)}
    assert quality.macro == pytest.approx(0.0)
    assert quality.n == 9


def test_the_baseline_wins_when_pooled_and_knows_nothing_within():
    """Two structures far apart in difficulty; the risk orders cases within, on the wrong level."""
    easy = outcomes("liver", [(0.5, 0.96), (0.6, 0.95), (0.7, 0.94)])
    hard = outcomes("colon", [(0.1, 0.4), (0.2, 0.3), (0.3, 0.2)])

    quality = ranking_quality(easy + hard)

    assert quality.macro == pytest.approx(1.0)
    assert quality.baseline_macro == 0.0
    assert quality.pooled < 0 < quality.baseline_pooled


def test_too_few_cases_or_equal_errors_are_left_out():
    quality = ranking_quality(
        outcomes("liver", [(0.1, 0.9), (0.2, 0.8)]) + outcomes("colon", [(0.1, 0.5)] * 4)
    )

    assert quality.within == {}
    assert quality.macro is None
    assert quality.baseline_macro is None


def test_nothing_gives_nothing():
    assert ranking_quality([]).pooled is None
