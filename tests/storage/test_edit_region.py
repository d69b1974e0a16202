import itertools

import numpy as np
import pytest

from storage.edit_region import part_with, parts_of, widened


@pytest.mark.parametrize("lengths", [(200, 50, 10), (201, 200, 199), (512, 380, 640)])
def test_parts_are_bounded_cover_the_box_and_overlap(lengths):
    wanted = tuple((7, 7 + length) for length in lengths)

    parts = parts_of(wanted, most_side=200)

    for axis, length in enumerate(lengths):
        spans = sorted({part[axis] for part in parts})
        assert all(high - low == min(200, length) for low, high in spans)
        assert spans[0][0] == 7
        assert spans[-1][1] == 7 + length
        overlaps = [one[1] - other[0] for one, other in itertools.pairwise(spans)]
        assert min(overlaps, default=200) >= 19
    assert len(parts) == np.prod([len({part[axis] for part in parts}) for axis in range(3)])


def test_the_part_in_whose_middle_a_voxel_lies_is_chosen():
    parts = parts_of(((0, 500), (0, 100), (0, 100)), most_side=200)

    assert [part[0] for part in parts] == [(0, 200), (150, 350), (300, 500)]
    assert part_with(parts, (10, 50, 50)) == 0
    assert part_with(parts, (190, 50, 50)) == 1
    assert part_with(parts, (499, 99, 0)) == 2
    assert part_with(parts, (900, 0, 0)) == 2


def test_widening_is_in_mm_and_ends_at_the_ct():
    box = ((10, 20), (2, 30), (5, 9))

    wider = widened(box, (100, 35, 40), spacing_mm=(0.8, 1.0, 5.0), by_mm=10.0)

    assert wider == ((0, 33), (0, 35), (3, 11))
