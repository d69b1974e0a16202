from functools import cache
from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import hypergeom

from model.acceptance import (
    Remainder,
    TimeUniformBound,
    answered_prefix,
    most_bad,
    needed,
    share_bound,
)


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


def test_the_remainder_is_what_the_frame_holds_less_what_is_known_elsewhere():
    remainder = Remainder(units=10, uncovered=2, bad_elsewhere=3, bad=1, good=4)

    assert remainder.at_most(6) == 3 + 2
    assert remainder.at_most(40) == 4 + 2
    assert remainder.at_most(2) == 1 + 2
    assert remainder.share_at_most(6) == 0.5


def takes_good(is_bad, left, found):
    return np.flatnonzero(left & ~is_bad)[:6]


def takes_bad(is_bad, left, found):
    return np.flatnonzero(left & is_bad)[:2]


def takes_bad_once_found(is_bad, left, found):
    return np.flatnonzero(left & (is_bad if found else ~is_bad))[:3]


@pytest.mark.parametrize("queue", [takes_good, takes_bad, takes_bad_once_found])
@pytest.mark.parametrize("counts_reviews", [True, False])
def test_the_remainder_is_bounded_whatever_the_queue_takes(queue, counts_reviews):
    """A queue that knows every truth reviews between the draws, after seeing what they found.

    With the AI's mask its reviews count where the order reaches them; without it such units are
    skipped, and stay in the frame's count.
    """
    frame, there, runs = 60, 9, 400
    bound = cache(lambda drawn, bad: most_bad(frame, drawn, bad, 0.9))
    held = 0
    for seed in range(runs):
        is_bad = np.arange(frame) < there
        order = np.random.default_rng(seed).permutation(frame)
        drawn, reviewed = np.zeros(frame, bool), np.zeros(frame, bool)
        for _ in range(4):
            waiting = [unit for unit in order if not drawn[unit] and not reviewed[unit]]
            drawn[waiting[:5]] = True
            found = (is_bad & drawn).sum() > 1
            reviewed[queue(is_bad, ~drawn & ~reviewed, found)] = True
        known = drawn | reviewed if counts_reviews else drawn
        states = [
            ("bad" if is_bad[unit] else "good")
            if known[unit]
            else ("gone" if reviewed[unit] else "open")
            for unit in order
        ]
        sample = answered_prefix(states)
        rest = ~drawn & ~reviewed
        remainder = Remainder(
            units=int(rest.sum()),
            uncovered=0,
            bad_elsewhere=int((is_bad & known).sum()),
            bad=0,
            good=0,
        )
        held += (is_bad & rest).sum() <= remainder.at_most(bound(sample.drawn, sample.bad))

    # Three standard errors below 90 %.
    assert held / runs > 0.855, held / runs
