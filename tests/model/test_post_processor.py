import numpy as np
import pytest

from configs.post_process import shipped_post_process
from configs.taxonomy import load_taxonomy
from model.grid import Box, Grid
from model.midline import Midline
from model.post_processor import PostProcessor, VoterMasks

GRID = Grid((40, 20, 20), (5.0, 5.0, 5.0))
WHOLE = Box((0, 0, 0), GRID.shape)
MIDLINE = Midline(18.0, 21.0)


def processor(structures, midline=lambda: MIDLINE, rules=None):
    return PostProcessor(
        rules or shipped_post_process(),
        structures,
        taxonomy=load_taxonomy(),
        grid=GRID,
        midline=midline,
    )


def masks(structure, *boxes, voters=("a",)):
    """All voters draw the same boxes of the volume: (start, stop) per axis."""
    mask = np.zeros(GRID.shape, bool)
    for (i0, i1), (j0, j1), (k0, k1) in boxes:
        mask[i0:i1, j0:j1, k0:k1] = True
    if not boxes:
        return VoterMasks(structure, voters, None, {})
    return VoterMasks(structure, voters, WHOLE, dict.fromkeys(voters, mask))


LEFT, RIGHT = ((4, 12), (4, 10), (4, 10)), ((28, 36), (4, 10), (4, 10))


def test_units_come_in_their_order_and_in_no_other():
    one = processor(("spleen", "kidney_right", "kidney_left"))

    with pytest.raises(ValueError, match="units come in order"):
        one.process([masks("kidney_right", RIGHT), masks("kidney_left", LEFT)])
    one.process([masks("spleen", LEFT)])
    one.process([masks("kidney_right", RIGHT), masks("kidney_left", LEFT)])
    with pytest.raises(ValueError, match="units come in order"):
        one.process([masks("spleen", LEFT)])


def test_the_midline_is_looked_for_once_and_only_for_a_pair_that_is_seen():
    asked = []

    def midline():
        asked.append(1)
        return MIDLINE

    one = processor(("spleen", "kidney_right", "kidney_left", "lung_right", "lung_left"), midline)
    one.process([masks("spleen", LEFT)])
    one.process([masks("kidney_right"), masks("kidney_left")])

    assert asked == []
    one.process([masks("lung_right", RIGHT), masks("lung_left", LEFT)])
    assert asked == [1]


def test_a_voter_that_knows_one_side_alone_keeps_its_mask():
    pair = [masks("kidney_right", LEFT, voters=("a",)), masks("kidney_left", LEFT, voters=("b",))]

    right, left = processor(("kidney_right", "kidney_left")).process(pair)

    np.testing.assert_array_equal(right.masks["a"], pair[0].masks["a"])
    np.testing.assert_array_equal(left.masks["b"], pair[1].masks["b"])
    assert (list(right.masks), list(left.masks)) == (["a"], ["b"])


def test_masks_that_stay_are_the_same_arrays():
    one = masks("spleen", LEFT)

    (kept,) = processor(("spleen",)).process([one])

    assert kept.masks["a"] is one.masks["a"]


def test_a_lesion_of_a_pair_may_lie_in_either_side():
    one = processor(("kidney_right", "kidney_left", "kidney_tumor"))
    one.process([masks("kidney_right", RIGHT), masks("kidney_left")])
    tumor = masks("kidney_tumor", ((30, 33), (5, 8), (5, 8)), ((5, 8), (5, 8), (5, 8)))

    (kept,) = one.process([tumor])

    assert kept.masks["a"][30:33].sum() == 27
    assert not kept.masks["a"][:20].any()


def test_organs_are_let_go_after_their_last_lesion():
    names = ("liver", "pancreas", "liver_tumor", "pancreas_tumor", "hepatic_vessel_tumor")
    one = processor(names)
    seen = []
    for unit in one.units:
        one.process([masks(name, LEFT) for name in unit])
        seen.append((unit[0], one.host("liver_tumor", "a", WHOLE) is not None))

    assert seen == [
        ("liver", True),
        ("pancreas", True),
        ("liver_tumor", True),
        ("pancreas_tumor", True),
        ("hepatic_vessel_tumor", True),
    ]
    one = processor(names[:4])
    for unit in one.units:
        one.process([masks(name, LEFT) for name in unit])
    assert one.host("liver_tumor", "a", WHOLE) is None
    assert one.host("pancreas_tumor", "a", WHOLE) is not None


def test_without_rules_everything_stays():
    one = PostProcessor(
        None, ("kidney_tumor", "spleen"), taxonomy=load_taxonomy(), grid=GRID, midline=list
    )
    tumor = masks("kidney_tumor", LEFT, RIGHT)

    assert one.units == (("kidney_tumor",), ("spleen",))
    assert one.process([tumor]) == [tumor]
