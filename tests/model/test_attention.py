import math

import numpy as np
import pytest
from scipy import ndimage

from configs.attention import CorrectedAttention, shipped_attention
from model.attention import (
    HALF_ENTROPY,
    AttentionSize,
    corrected_attention_mm3,
    faithful_attention,
    least_level,
)

LIMITS = shipped_attention().faithful
FULL = ndimage.generate_binary_structure(3, 3)


def opened(mask):
    worn = ndimage.binary_erosion(mask, FULL, iterations=2)
    return ndimage.binary_dilation(worn, FULL, iterations=2)


def written_out(members, masks, overlap, slices):
    """The published sizes, with floats and scipy, on whole arrays."""
    near = [ndimage.binary_dilation(mask, FULL) for mask in masks]
    p = np.stack([levels / 255 for levels in members])
    masked = p * np.stack(near)
    deviation = masked.std(axis=0)
    entropy = np.stack([np.floor(255 * half_entropy(one)) / 255 for one in p]).mean(axis=0)
    several = len(members) > 1
    inconsistent = np.asarray(opened(deviation > 0.1 + 1e-9)) & several
    uncertain = np.asarray(opened(entropy > 0.05 + 1e-9))
    heat = deviation * inconsistent + entropy * uncertain + overlap
    binary = inconsistent | uncertain | overlap
    return int(binary.sum()), float((heat / heat.max()).sum() / slices)


def half_entropy(p):
    return np.where(p > 0, -p * np.log(np.where(p > 0, p, 1.0)), 0.0)


def soft_balls(members, shape=(30, 28, 33), seed=0):
    """Members' levels of a ball whose centre and radius differ, with faint noise around."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    levels = []
    for _ in range(members):
        centre = rng.normal((14, 13, 4), 1.5)
        distance = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)))
        logit = (rng.uniform(8, 10) - distance) / 1.5 + rng.normal(0, 0.3, shape)
        levels.append(np.rint(255 / (1 + np.exp(-logit))).astype(np.uint8))
    return levels


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_sizes_are_those_of_the_published_steps_written_out(members):
    levels = soft_balls(members)
    masks = [one > 127 for one in levels]
    overlap = np.zeros(levels[0].shape, bool)
    overlap[12:15, 10:12, 0:9] = True

    size = faithful_attention(levels, masks, overlap, slices=50, limits=LIMITS)
    voxels, heat = written_out(levels, masks, overlap, 50)

    assert size.voxels == voxels > 500
    assert size.heat == pytest.approx(heat, rel=1e-6)


def test_a_block_that_one_of_two_members_sees_by_hand():
    # Certain in 6 x 6 x 6 voxels for one, absent for the other: deviation 0.5, half entropy 0.
    seen = np.zeros((12, 12, 12), np.uint8)
    seen[3:9, 3:9, 3:9] = 255
    members = [seen, np.zeros_like(seen)]

    size = faithful_attention(members, [m > 127 for m in members], None, slices=12, limits=LIMITS)

    assert size == AttentionSize(216, 216 / 12)


def test_what_is_thinner_than_five_voxels_is_no_attention():
    sheet = np.zeros((12, 12, 12), np.uint8)
    sheet[:, :, 4:8] = 94
    thick = sheet.copy()
    thick[:, :, 8] = 94

    assert faithful_attention([sheet], [sheet > 127], None, slices=12, limits=LIMITS).voxels == 0
    assert faithful_attention([thick], [thick > 127], None, slices=12, limits=LIMITS).voxels == 720


def test_one_member_is_uncertain_between_the_published_levels():
    # p > 0.0111 and p < 0.9487.
    for level, voxels in ((2, 0), (3, 1000), (241, 1000), (242, 0)):
        block = np.full((10, 10, 10), level, np.uint8)
        size = faithful_attention([block], [block > 127], None, slices=10, limits=LIMITS)
        assert size.voxels == voxels
    assert least_level(LIMITS) == 3
    assert HALF_ENTROPY.max() == math.floor(255 / math.e)


def test_overlap_alone_counts_fully():
    certain = np.full((8, 8, 8), 255, np.uint8)
    overlap = np.zeros((8, 8, 8), bool)
    overlap[0, 0, :4] = True

    size = faithful_attention([certain], [certain > 127], overlap, slices=8, limits=LIMITS)

    assert size == AttentionSize(4, 0.5)


def test_no_attention_has_no_heat():
    certain = np.full((8, 8, 8), 255, np.uint8)

    assert faithful_attention(
        [certain, certain], [certain > 127] * 2, None, slices=8, limits=LIMITS
    ) == AttentionSize(0, 0.0)


def test_corrected_attention_is_scipys_opening_of_the_binary_entropy():
    (mean,) = soft_balls(1)
    limits = CorrectedAttention(entropy_bits=0.5, opening_mm=1.5)
    p = np.clip(mean / 255, 1e-9, 1 - 1e-9)
    entropy = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    box = np.ones((5, 3, 1))
    expected = ndimage.binary_opening(entropy > 0.5, box).sum() * 0.75 * 1.5 * 3.0

    assert corrected_attention_mm3(mean, (0.75, 1.5, 3.0), limits) == pytest.approx(expected)
    assert expected > 100


def test_corrected_attention_does_not_depend_on_how_finely_a_ct_is_cut():
    limits = CorrectedAttention(entropy_bits=0.5, opening_mm=0.75)
    coarse = np.zeros((12, 12, 8), np.uint8)
    coarse[3:9, 3:9, 2:6] = 128
    fine = coarse.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)

    sizes = [
        corrected_attention_mm3(coarse, (1.5, 1.5, 3.0), limits),
        corrected_attention_mm3(fine, (0.75, 0.75, 1.5), limits),
    ]

    assert sizes == pytest.approx([144 * 6.75, 144 * 6.75])


def test_a_thin_structure_keeps_its_corrected_attention_where_the_published_opening_deletes_it():
    limb = np.zeros((30, 12, 30), np.uint8)
    limb[4:26, 5:8, 4:26] = 128  # 3 voxels of 1 mm thick, such as an adrenal gland's

    published = faithful_attention([limb], [limb > 127], None, slices=30, limits=LIMITS)

    assert published.voxels == 0
    corrected = shipped_attention().corrected
    assert corrected_attention_mm3(limb, (1.0, 1.0, 1.0), corrected) == 22 * 22 * 3
