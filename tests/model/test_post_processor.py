import nibabel
import numpy as np
import pytest

from configs.post_process import shipped_post_process
from configs.taxonomy import load_taxonomy
from model.grid import Box, Grid
from model.metrics import dice
from model.midline import Midline, body_midline
from model.post_processor import PostProcessor, VoterMasks
from storage.volume import Volume

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


PAIRS = {
    "kidney": ((2,), (3,)),
    "adrenal_gland": ((8,), (9,)),
    "lung": ((12, 13, 14), (10, 11)),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_on_a_real_ct_swapped_parts_and_specks_are_put_right(real_data, pair):
    """The lower half of the left organ is drawn as the right one, and a speck on the other side."""
    folder = real_data / "ct" / "example_ct"
    volume = Volume.open(folder / "ct.nii.gz")
    labels = nibabel.load(folder / "totalseg_v2.nii.gz")
    values = np.asarray(nibabel.as_closest_canonical(labels).dataobj)
    right, left = (np.isin(values, numbers) for numbers in PAIRS[pair])
    heights = np.flatnonzero(left.any(axis=(0, 1)))
    lower = left & (np.arange(left.shape[2]) < np.median(heights))
    names = (f"{pair}_right", f"{pair}_left")
    box = Box((0, 0, 0), right.shape)
    drawn = dict(zip(names, (right | lower, left & ~lower), strict=True))
    drawn[names[0]][3, 3, 3] = True
    grid = Grid(right.shape, volume.grid.ras_spacing_mm)
    one = PostProcessor(
        shipped_post_process(),
        names,
        taxonomy=load_taxonomy(),
        grid=grid,
        midline=lambda: body_midline(volume.read_ras(), grid.spacing_mm),
    )

    kept = one.process([VoterMasks(name, ("a",), box, {"a": drawn[name]}) for name in one.units[0]])

    found = {result.structure: result.masks["a"] for result in kept}
    assert dice(found[names[0]], right) > 0.995
    assert dice(found[names[1]], left) > 0.995
    assert dice(drawn[names[1]], left) < 0.98
