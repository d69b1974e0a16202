import numpy as np
import pytest

from configs.errors import CaseError
from storage.grid import Grid
from storage.grid_match import check_same_grid, is_same_grid

RAS = Grid.from_affine((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))


def turned():
    """The same voxels stored S, L, A: first axis up, second to the left."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = 4, -2, 3, 1
    affine[0, 3] = 2 * 3
    return Grid.from_affine((6, 4, 5), affine)


def shifted(mm):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[0, 3] = mm
    return Grid.from_affine((4, 5, 6), affine)


@pytest.mark.parametrize("found", [RAS, turned(), shifted(0.05)])
def test_one_grid_under_any_axis_order_is_accepted(found):
    check_same_grid(found, RAS, "mask.nii.gz")

    assert is_same_grid(found, RAS)


@pytest.mark.parametrize(
    ("found", "match"),
    [
        (Grid.from_affine((4, 5, 7), np.diag([2.0, 3.0, 4.0, 1.0])), "voxels along"),
        (shifted(1.0), "1.000 mm off"),
        (Grid.from_affine((4, 5, 6), np.diag([2.0, 3.0, 4.2, 1.0])), "1.000 mm off"),
        (Grid.from_affine((4, 5, 6), np.diag([-2.0, 3.0, 4.0, 1.0])), "6.000 mm off"),
    ],
)
def test_another_grid_is_refused_with_the_distance(found, match):
    with pytest.raises(CaseError, match=match) as caught:
        check_same_grid(found, RAS, "mask.nii.gz")

    assert caught.value.reason == "grid_mismatch"
    assert not is_same_grid(found, RAS)
