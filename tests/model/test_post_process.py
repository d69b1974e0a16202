import numpy as np
import pytest
from scipy import ndimage

from model.post_process import (
    SizeLimits,
    host_region,
    keep_fragments,
    keep_from,
    keep_hosted,
    keep_largest,
    region_margin,
    whole_voxels,
)

SHAPE = (24, 10, 8)
UNIT = (1.0, 1.0, 1.0)


def blocks(*ranges):
    """Bars of 4 x 4 voxels along the first axis."""
    mask = np.zeros(SHAPE, bool)
    for start, stop in ranges:
        mask[start:stop, 2:6, 2:6] = True
    return mask


def test_the_largest_component_stays_alone():
    np.testing.assert_array_equal(
        keep_largest(blocks((0, 3), (5, 12), (14, 16)), least=10), blocks((5, 12))
    )


def test_a_speck_never_wins():
    assert not keep_largest(blocks((0, 1), (3, 4)), least=16).any()
    assert keep_largest(blocks((0, 1), (3, 4)), least=15).sum() == 16


def test_the_largest_component_is_scipys():
    mask = ndimage.gaussian_filter(np.random.default_rng(0).random((30, 30, 30)), 2) > 0.52
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0

    np.testing.assert_array_equal(keep_largest(mask, least=0), labels == sizes.argmax())


def test_fragments_stay_by_share_or_by_volume():
    # Bars of 160, 32, 16 and 16 voxels.
    mask = blocks((0, 10), (11, 13), (14, 15), (16, 17))

    def kept(**limits):
        return int(keep_fragments(mask, SizeLimits(**limits)).sum())

    assert kept(least=0, share=1.0) == 160
    assert kept(least=0, share=0.2) == 192
    assert kept(least=0, share=0.1) == 224
    assert kept(least=16, share=0.1) == 192
    assert kept(least=0, share=1.0, sure=16) == 192
    assert kept(least=0, share=1.0, sure=15) == 224
    assert kept(least=200, share=0.0) == 0


def test_what_stays_whole_is_the_same_array():
    mask = blocks((0, 10), (12, 20))

    assert keep_fragments(mask, SizeLimits(least=0, share=0.1)) is mask
    assert keep_largest(blocks((0, 4)), least=0).sum() == 64
    assert keep_from(mask, 2) is mask
    assert keep_from(mask, -3) is mask


def test_slices_below_are_cut():
    mask = blocks((0, 10))

    assert keep_from(mask, 4)[:, :, :4].sum() == 0
    assert keep_from(mask, 4).sum() == mask.sum() / 2
    assert not keep_from(mask, 99).any()
    assert mask[:, :, 2].any(), "the argument stays as it was"


def test_limits_in_ml_are_whole_voxels():
    assert whole_voxels(0.27, 0.003375) == 80
    assert whole_voxels(0.0675, 0.003375) == 20
    assert whole_voxels(0.5, 0.216) == 2


def test_the_region_is_the_closed_and_grown_organ_in_mm():
    host = blocks((4, 8), (10, 14))

    region = host_region(host, (1.0, 1.0, 5.0), close_mm=1.0, reach_mm=2.0)

    # The gap of two slices is closed; 2 mm are two voxels in plane, and across slices one.
    expected = np.zeros(SHAPE, bool)
    expected[2:16, 0:8, 1:7] = True
    np.testing.assert_array_equal(region, expected)


def test_the_region_does_not_depend_on_how_the_crop_is_cut():
    host = ndimage.gaussian_filter(np.random.default_rng(2).random((40, 36, 30)), 1.5) > 0.52
    spacing_mm = (0.8, 1.1, 2.5)
    distances = {"close_mm": 2.4, "reach_mm": 3.0}
    margin = region_margin(spacing_mm, **distances)
    inner = tuple(slice(14, 20) for _ in range(3))
    wide = tuple(slice(14 - m, 20 + m) for m in margin)

    part = host_region(host[wide], spacing_mm, **distances)

    cut = tuple(slice(m, m + 6) for m in margin)
    whole = host_region(host, spacing_mm, **distances)
    np.testing.assert_array_equal(part[cut], whole[inner])
    assert whole[inner].any()
    assert not whole[inner].all()


def test_a_lesion_far_from_its_organ_goes_and_one_in_it_stays():
    region = blocks((0, 12))
    lesion = blocks((3, 5), (18, 20))

    kept = keep_hosted(lesion, region, least=4, largest_cut=0.5)

    np.testing.assert_array_equal(kept, blocks((3, 5)))


def test_a_leak_is_cut_to_the_region():
    kept = keep_hosted(blocks((4, 15)), blocks((0, 12)), least=4, largest_cut=0.5)

    np.testing.assert_array_equal(kept, blocks((4, 12)))


def test_a_lesion_that_grows_out_of_its_organ_stays_whole():
    lesion = blocks((11, 20))

    assert keep_hosted(lesion, blocks((0, 12)), least=4, largest_cut=0.5) is lesion
    assert keep_hosted(lesion, blocks((0, 12)), least=4, largest_cut=1.0).sum() == 16


def test_a_lesion_with_too_little_left_goes():
    assert not keep_hosted(blocks((11, 13)), blocks((0, 12)), least=16, largest_cut=0.5).any()
    assert not keep_hosted(blocks((3, 4)), blocks((0, 12)), least=16, largest_cut=0.5).any()


def test_lesion_and_region_share_a_shape():
    with pytest.raises(ValueError, match="share one shape"):
        keep_hosted(blocks((0, 1)), np.zeros((2, 2, 2), bool), least=0, largest_cut=0.5)


@pytest.mark.parametrize("keep", ["largest", "fragments", "hosted"])
def test_nothing_stays_nothing(keep):
    empty = np.zeros(SHAPE, bool)
    results = {
        "largest": keep_largest(empty, least=0),
        "fragments": keep_fragments(empty, SizeLimits(least=0, share=0.1)),
        "hosted": keep_hosted(empty, blocks((0, 4)), least=0, largest_cut=0.5),
    }

    assert not results[keep].any()
