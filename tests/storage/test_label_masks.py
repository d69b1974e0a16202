from itertools import permutations, product

import numpy as np
import pytest

from configs.errors import StorageError
from storage.grid import Grid
from storage.label_masks import read_label
from storage.labels import ABSENT, LabelMask
from storage.masks import encode_mask
from storage.objects import ObjectStore
from storage.predictions import flat_box

SHAPE = (5, 6, 7)
ORDERS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def stored(objects, mask, grid):
    encoded = encode_mask(mask, tuple((0, n) for n in mask.shape), grid)
    return LabelMask(objects.put(encoded.data), flat_box(encoded.box), encoded.voxels)


@pytest.mark.parametrize(("axes", "signs"), ORDERS)
def test_a_mask_made_on_any_axis_order_is_read_in_ras(tmp_path, axes, signs):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for file_axis, (ras_axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[ras_axis, file_axis] = sign * (1.0 + ras_axis)
    grid = Grid.from_affine([SHAPE[axis] for axis in axes], affine)
    mask = np.zeros(SHAPE, bool)
    mask[0, 1:3, 4] = mask[3, 5, 6] = True
    objects = ObjectStore(tmp_path)

    assert np.array_equal(read_label(objects, stored(objects, mask, grid), SHAPE), mask)


def test_absent_is_empty(tmp_path):
    assert not read_label(ObjectStore(tmp_path), ABSENT, SHAPE).any()


def test_a_mask_of_a_larger_volume_is_a_damaged_workspace(tmp_path):
    objects = ObjectStore(tmp_path)
    label = stored(objects, np.ones(SHAPE, bool), Grid.from_affine(SHAPE, np.eye(4)))

    with pytest.raises(StorageError, match="outside the volume"):
        read_label(objects, label, (5, 6, 6))
