import numpy as np
import pytest

from model.midline import Midline
from model.pair_sides import Sides, resolve_sides
from model.post_process import SizeLimits

# Left of 18 for sure, right of 21 for sure.
MIDLINE = Midline(18.0, 21.0)
LIMITS = SizeLimits(least=8, share=0.1)


def blocks(*ranges):
    """Bars of 4 x 4 voxels along the first axis, which runs from left to right."""
    mask = np.zeros((40, 8, 8), bool)
    for start, stop in ranges:
        mask[start:stop, 2:6, 2:6] = True
    return mask


def resolved(left, right, *, start=0, limits=LIMITS, midline=MIDLINE):
    return resolve_sides(Sides(left, right), midline, start=start, limits=limits)


def alike(found, left, right):
    return np.array_equal(found.left, left) and np.array_equal(found.right, right)


def test_two_sound_organs_stay_as_they_are():
    left, right = blocks((2, 12)), blocks((28, 38))

    assert alike(resolved(left, right), left, right)


def test_a_part_of_the_wrong_side_that_touches_changes_sides():
    found = resolved(blocks((2, 9)), blocks((9, 12), (28, 38)))

    assert alike(found, blocks((2, 12)), blocks((28, 38)))


def test_it_does_so_in_both_directions_at_once():
    found = resolved(blocks((2, 9), (35, 38)), blocks((9, 12), (28, 35)))

    assert alike(found, blocks((2, 12)), blocks((28, 38)))


def test_an_organ_that_both_masks_claim_goes_to_its_side():
    found = resolved(blocks((2, 12)), blocks((2, 12), (28, 38)))

    assert alike(found, blocks((2, 12)), blocks((28, 38)))


def test_a_part_of_the_wrong_side_that_touches_nothing_is_dropped_beside_the_right_one():
    found = resolved(blocks((2, 6)), blocks((9, 14), (28, 38)))

    assert alike(found, blocks((2, 6)), blocks((28, 38)))


def test_a_wrong_side_without_any_other_part_is_left_as_the_network_said():
    alone = resolved(blocks(), blocks((2, 12)))
    swapped = resolved(blocks((28, 38)), blocks((2, 12)))

    assert alike(alone, blocks(), blocks((2, 12)))
    assert alike(swapped, blocks((28, 38)), blocks((2, 12)))


def test_where_the_midline_may_lie_nothing_changes_sides():
    left, right = blocks((2, 16)), blocks((16, 22), (28, 38))

    assert alike(resolved(left, right), left, right)
    unsure = Midline(-10.0, 50.0)
    assert alike(
        resolved(blocks((2, 9)), blocks((9, 12)), midline=unsure), blocks((2, 9)), blocks((9, 12))
    )


def test_fused_organs_keep_their_own_voxels():
    left, right = blocks((2, 20)), blocks((20, 38))

    assert alike(resolved(left, right), left, right)


def test_one_organ_alone_is_legitimate():
    limits = SizeLimits(least=8, share=0.2)
    found = resolved(blocks(), blocks((24, 25), (28, 38)), limits=limits)

    assert alike(found, blocks(), blocks((28, 38)))


def test_fragments_stay_and_specks_go_on_each_side():
    left, right = blocks((2, 10), (12, 13)), blocks((24, 25), (28, 38))

    assert alike(resolved(left, right), left, right)
    strict = SizeLimits(least=16, share=0.1)
    assert alike(resolved(left, right, limits=strict), blocks((2, 10)), blocks((28, 38)))


@pytest.mark.parametrize(("left", "right"), [((4, 5), (30, 32)), ((4, 6), (30, 31))])
def test_never_two_empty_sides(left, right):
    huge = SizeLimits(least=1000, share=0.1)

    found = resolved(blocks(left), blocks(right), limits=huge)

    larger_is_left = left[1] - left[0] > right[1] - right[0]
    assert alike(
        found,
        blocks(left) if larger_is_left else blocks(),
        blocks() if larger_is_left else blocks(right),
    )


def test_two_empty_masks_stay_empty():
    assert alike(resolved(blocks(), blocks()), blocks(), blocks())


def test_a_crop_gives_what_the_volume_gives():
    left, right = blocks((2, 9)), blocks((9, 12), (28, 38))
    found = resolved(left[2:], right[2:], start=2)

    assert alike(found, blocks((2, 12))[2:], blocks((28, 38))[2:])


def test_any_two_masks_keep_a_voxel_and_gain_none():
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, right = rng.random((2, 12, 6, 5)) > rng.choice([0.5, 0.9, 0.99], (2, 1, 1, 1))
        low, high = sorted(rng.uniform(0, 12, 2))

        found = resolve_sides(
            Sides(left, right),
            Midline(low, high),
            start=0,
            limits=SizeLimits(least=int(rng.integers(0, 30)), share=0.3),
        )

        assert not ((found.left | found.right) & ~(left | right)).any()
        assert (found.left | found.right).any() == (left | right).any()
