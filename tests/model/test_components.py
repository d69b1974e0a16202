import numpy as np
from scipy import ndimage

from model.components import label_counts, labeled


def test_components_and_counts_are_scipys():
    rng = np.random.default_rng(0)
    mask = rng.random((20, 18, 16)) > 0.93
    where = rng.random(mask.shape) > 0.5

    labels, count = labeled(mask)

    expected, number = ndimage.label(mask, np.ones((3, 3, 3)))
    assert count == number > 10
    assert len(np.unique(labels[mask].astype(np.int64) * 10_000 + expected[mask])) == count
    for inside in (None, where):
        chosen = labels if inside is None else labels[inside]
        wanted = np.bincount(chosen.ravel(), minlength=count + 1)
        wanted[0] = 0
        np.testing.assert_array_equal(label_counts(labels, count, inside), wanted)


def test_an_empty_mask_has_no_component():
    labels, count = labeled(np.zeros((3, 3, 3), bool))

    assert count == 0
    assert label_counts(labels, count).tolist() == [0]
