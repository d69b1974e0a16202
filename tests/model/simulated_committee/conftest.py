import numpy as np
import pytest

from configs.simulated_committee import load_committee_scenario
from model.grid import Grid
from model.simulated_committee.members import scene_of

GRID = Grid((40, 30, 26), (4.0, 4.0, 4.0))


def box_mask(start, stop):
    mask = np.zeros(GRID.shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


@pytest.fixture
def masks():
    """Two kidneys apart, a liver that touches the right one, no spleen and no liver tumor."""
    return {
        "spleen": np.zeros(GRID.shape, bool),
        "kidney_right": box_mask((27, 10, 6), (33, 16, 16)),
        "kidney_left": box_mask((7, 10, 7), (13, 16, 17)),
        "liver": box_mask((24, 16, 8), (37, 27, 22)),
        "liver_tumor": np.zeros(GRID.shape, bool),
    }


@pytest.fixture
def scenario():
    return load_committee_scenario()


@pytest.fixture
def scene(masks, scenario):
    return scene_of(masks, GRID, scenario)
