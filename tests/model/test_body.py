import numpy as np
from scipy import ndimage

from model.body import body_mask


def patient(shape=(60, 60, 20)):
    i, j, _ = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    hu = np.full(shape, -1000.0, np.float32)
    hu[((i - 30) / 20) ** 2 + ((j - 34) / 14) ** 2 < 1] = 40
    hu[((i - 24) / 6) ** 2 + ((j - 34) / 6) ** 2 < 1] = -850
    return hu


def test_body_holds_the_patient_and_its_lung():
    hu = patient()

    mask = body_mask(hu, (4.0, 4.0, 4.0))

    assert mask.shape == hu.shape
    assert mask[hu > -300].all()
    assert mask[24, 34].all()
    assert mask.mean() < 0.5


def test_a_thin_table_is_left_out():
    hu = patient()
    hu[5:55, 12:13, :] = 100

    mask = body_mask(hu, (4.0, 4.0, 4.0))

    assert not mask[5:55, 12].any()


def test_a_smaller_thing_beside_the_patient_is_left_out():
    hu = patient()
    hu[2:7, 50:56, :] = 0

    mask = body_mask(hu, (4.0, 4.0, 4.0))

    assert not mask[2:7, 52:56].any()


def test_a_fine_grid_keeps_its_shape_when_the_coarse_step_does_not_divide_it():
    hu = np.full((61, 59, 7), -1000.0)
    hu[7:50, 11:53, :] = 40

    mask = body_mask(hu, (1.5, 1.5, 3.0))

    assert mask.shape == (61, 59, 7)
    assert mask[hu > -300].mean() > 0.99


def test_a_chest_wall_that_is_thin_in_one_place_still_closes_round_the_lung():
    hu = np.full((60, 60, 6), -1000.0)
    hu[10:50, 10:50, :] = 40
    hu[14:30, 14:46, :] = -850
    hu[12:14, 28:32, :] = -850

    mask = body_mask(hu, (4.0, 4.0, 4.0))

    assert mask[10:50, 10:50].all()


def test_air_only_is_looked_at_everywhere():
    assert body_mask(np.full((8, 8, 8), -1000.0), (4.0, 4.0, 4.0)).all()


def test_body_equals_scipys_morphology_slice_by_slice():
    """Opened, given back and filled by scipy's own functions, on volumes of blobs."""
    generator = np.random.default_rng(0)
    plane, cube = np.ones((3, 3, 1), bool), np.ones((3, 3, 3), bool)
    for _ in range(8):
        shape = tuple(int(n) for n in generator.integers(3, 30, 3))
        hu = ndimage.gaussian_filter(generator.normal(size=shape), 1.0)
        hu = hu / hu.std() * 400 - 300
        coarse = hu > -300
        opened = ndimage.binary_dilation(
            ndimage.binary_erosion(coarse, plane, border_value=1), plane
        )
        labels, count = ndimage.label(opened)
        largest = labels == 1 + np.argmax(ndimage.sum(opened, labels, range(1, count + 1)))
        kept = ndimage.binary_dilation(largest, cube, iterations=2) & coarse
        filled = [ndimage.binary_fill_holes(kept[:, :, k]) for k in range(shape[2])]
        expected = ndimage.binary_dilation(np.stack(filled, axis=2), cube)

        np.testing.assert_array_equal(body_mask(hu, (4.0, 4.0, 4.0)), expected)
