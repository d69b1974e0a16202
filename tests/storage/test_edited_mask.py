import numpy as np
import pytest

from configs.errors import UsageError
from storage.edited_mask import EditedMask, hull, joined, moved_to, part_in


def edited(box, *set_voxels):
    mask = np.zeros([hi - lo for lo, hi in box], bool)
    for voxel in set_voxels:
        mask[tuple(v - lo for v, (lo, _) in zip(voxel, box, strict=True))] = True
    return EditedMask(mask, box)


def voxels(one):
    return {
        tuple(int(v) + lo for v, (lo, _) in zip(at, one.box_ras, strict=True))
        for at in np.argwhere(one.mask_ras)
    }


LEFT = ((0, 3), (0, 3), (0, 3))
RIGHT = ((2, 6), (1, 4), (0, 3))
ALL = ((0, 6), (0, 4), (0, 3))


def test_a_part_says_what_both_boxes_share():
    part = part_in(edited(LEFT, (0, 0, 0), (2, 2, 2)), RIGHT)

    assert part.shape == (4, 3, 3)
    assert np.argwhere(part).tolist() == [[0, 1, 2]]
    assert not part_in(edited(LEFT, (0, 0, 0)), ((3, 5), (0, 2), (0, 2))).any()


def test_two_edits_are_joined_with_the_later_on_top_and_the_base_between():
    base = edited(ALL, (0, 3, 0), (5, 0, 0), (2, 2, 2), (1, 1, 1))
    under = edited(LEFT, (2, 2, 2), (0, 0, 0))
    over = edited(RIGHT, (4, 2, 1))

    result = joined(under, over, base=base)

    assert result.box_ras == hull([LEFT, RIGHT]) == ALL
    # (2, 2, 2) was taken away by the later edit; (0, 3, 0) and (5, 0, 0) are the base's.
    assert voxels(result) == {(0, 0, 0), (4, 2, 1), (0, 3, 0), (5, 0, 0)}


def test_an_edit_moves_to_a_newer_base_with_its_changes_alone():
    old = edited(ALL, (0, 0, 0), (1, 1, 1))
    new = edited(ALL, (0, 0, 0), (1, 1, 1), (2, 0, 0), (5, 3, 2))
    mine = edited(LEFT, (0, 0, 0), (2, 2, 2))

    moved = moved_to(mine, old_base=old, new_base=new)

    assert voxels(moved) == {(0, 0, 0), (2, 2, 2), (2, 0, 0)}


def test_a_mask_that_does_not_fill_its_box_is_refused():
    with pytest.raises(UsageError, match="fill its box"):
        EditedMask(np.zeros((2, 3, 3), bool), LEFT)
