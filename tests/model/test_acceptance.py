from functools import cache
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import hypergeom

from model.acceptance import TimeUniformBound, answered_prefix, most_bad, needed, share_bound


def enumerated(frame, drawn, bad, confidence):
    """Every subset counted by hand: the largest number of bad ones that is not rejected."""
    best = bad
    for there in range(bad, frame - (drawn - bad) + 1):
        few = sum(sum(unit < there for unit in s) <= bad for s in combinations(range(frame), drawn))
        if few / comb(frame, drawn) > 1 - confidence + 1e-9:
            best = there
    return best


@pytest.mark.parametrize("frame", [1, 4, 9])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_the_bound_equals_the_enumeration_of_all_samples(frame, confidence):
    for drawn in range(frame + 1):
        for bad in range(drawn + 1):
            found = most_bad(frame, drawn, bad, confidence)

            assert found == enumerated(frame, drawn, bad, confidence)


def test_299_draws_without_a_bad_one_support_one_percent():
    """0.99 ** 299 = 0.0495, 0.99 ** 298 = 0.0501."""
    frame = 10_000_000

    assert share_bound(frame, 299, 0, 0.95) <= 0.01 < share_bound(frame, 298, 0, 0.95)
    assert needed(frame, 0.01, 0.95) == 299
    assert needed(frame, 0.05, 0.95) == 59


def test_a_small_frame_needs_fewer_draws():
    """Two bad ones of 20 hide from n draws with (20 - n)(19 - n) / 380: 0.0526 at 15."""
    assert needed(20, 0.05, 0.95) == 16
    assert needed(20, 0.04, 0.95) == 19
    assert needed(1, 0.05, 0.95) == 1


def test_nothing_drawn_says_nothing_and_everything_drawn_says_all():
    assert share_bound(7, 0, 0, 0.95) == 1.0
    assert share_bound(7, 7, 2, 0.95) == 2 / 7
    assert TimeUniformBound(7, 0.95).share([]) == 1.0
    assert TimeUniformBound(7, 0.95).share([True, False] * 2 + [False] * 3) == 2 / 7


@pytest.mark.parametrize(("frame", "drawn", "bad"), [(500, 60, 2), (90_000, 700, 11), (40, 39, 3)])
def test_the_bound_agrees_with_scipy_on_larger_frames(frame, drawn, bad):
    found = most_bad(frame, drawn, bad, 0.95)

    assert hypergeom.cdf(bad, frame, found, drawn) > 0.05
    assert found == frame - drawn + bad or hypergeom.cdf(bad, frame, found + 1, drawn) <= 0.05


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 0.9), (5, 6, 0, 0.9), (5, 2, 3, 0.9), (5, 2, -1, 0.9), (5, 2, 1, 1.0)]
)
def test_numbers_that_do_not_fit_are_refused(numbers):
    with pytest.raises(ValueError, match="got"):
        most_bad(*numbers)
    with pytest.raises(ValueError, match=r"\[0, 1\), got 1"):
        needed(5, 1.0, 0.9)
    with pytest.raises(ValueError, match="got 2, 3"):
        TimeUniformBound(2, 0.9).most_bad([False] * 3)


def ratio_set(frame, is_bad, confidence):
    """The confidence sequence by its definition: prior over posterior, updated draw by draw."""
    a, b = 1.0, 20.0
    there = np.arange(frame + 1)
    beta = np.cumsum(np.log([1.0, *((a + k) / (b + frame - 1 - k) for k in range(frame))]))
    prior = np.array([comb(frame, int(k)) for k in there]) * np.exp(beta)
    prior = prior / prior.sum()
    posterior, least, found = prior.copy(), frame, 0
    for at, one in enumerate(is_bad):
        left = frame - at
        chance = (there - found) / left
        posterior = posterior * np.clip(chance if one else 1 - chance, 0, None)
        posterior = posterior / posterior.sum()
        found += one
        inside = posterior * 1 / (1 - confidence) > prior
        least = min(least, int(there[inside].max()))
    return least


@pytest.mark.parametrize("seed", range(6))
def test_the_time_uniform_bound_is_the_prior_posterior_ratio(seed):
    generator = np.random.default_rng(seed)
    frame = int(generator.integers(5, 40))
    is_bad = (generator.permutation(frame) < generator.integers(0, 6)).tolist()

    for drawn in (1, frame // 2, frame):
        found = TimeUniformBound(frame, 0.9).most_bad(is_bad[:drawn])

        assert found == ratio_set(frame, is_bad[:drawn], 0.9)


def test_both_bounds_cover_and_only_one_bears_looking_at_it_all_the_time():
    frame, there, runs = 60, 6, 600
    once = ever_fixed = ever_uniform = 0
    fixed_bound = cache(lambda drawn, bad: most_bad(frame, drawn, bad, 0.9))
    for seed in range(runs):
        order = np.random.default_rng(seed).permutation(frame) < there
        seen = np.cumsum(order)
        once += fixed_bound(30, int(seen[29])) < there
        fixed = [fixed_bound(n, int(seen[n - 1])) for n in range(2, frame, 3)]
        ever_fixed += min(fixed) < there
        ever_uniform += TimeUniformBound(frame, 0.9).most_bad(order.tolist()) < there

    # Four standard errors of 10 %.
    assert once / runs < 0.15
    assert ever_uniform / runs < 0.15
    assert ever_fixed / runs > 0.15


def test_the_sample_ends_before_the_first_open_unit():
    sample = answered_prefix(["good", "gone", "bad", "unsure", "open", "bad", "good", "gone"])

    assert sample.is_bad == (False, True, True)
    assert (sample.drawn, sample.bad, sample.unsure, sample.beyond) == (3, 2, 1, 2)
    assert answered_prefix([]).drawn == 0
