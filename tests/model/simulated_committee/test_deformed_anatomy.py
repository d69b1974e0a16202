import numpy as np
import pytest

from configs.errors import UsageError
from model.simulated_committee.deformed_anatomy import Anatomy, deformed_case


def person(**changes):
    labels = np.zeros((60, 50, 80), np.uint8)
    labels[10:50, 15:40, 20:60] = 1
    labels[28:32, 2:6, :] = 43
    settings = {"values": {"liver": 1, "spleen": 2}, "cord": 43} | changes
    return Anatomy(labels=labels, spacing_mm=(3.0, 3.0, 3.0), **settings)


def test_a_deformed_person_has_about_the_volume_and_another_shape():
    cases = [deformed_case(person(), (4.0,) * 3, np.random.default_rng(n)) for n in range(6)]
    volumes = np.array([case.masks["liver"].sum() * 0.064 for case in cases])
    whole = 40 * 25 * 40 * 0.027

    assert volumes.max() < 1.3 * whole
    assert volumes.max() > 0.7 * whole
    assert len({case.grid.shape for case in cases}) > 1
    assert not any(case.masks["spleen"].any() for case in cases)


def test_the_midline_is_the_cords():
    case = deformed_case(person(), (4.0,) * 3, np.random.default_rng(0))

    assert case.midline.high - case.midline.low == pytest.approx(5.0)
    assert case.midline.low < case.grid.shape[0] / 2 < case.midline.high
    assert deformed_case(person(cord=99), (4.0,) * 3, np.random.default_rng(0)).midline is None


def test_equal_seeds_give_equal_people_and_some_lack_an_organ():
    made = [
        deformed_case(person(removable=("liver",)), (6.0,) * 3, np.random.default_rng(n))
        for n in range(60)
    ]
    again = deformed_case(person(removable=("liver",)), (6.0,) * 3, np.random.default_rng(3))
    missing = [not case.masks["liver"].any() for case in made]

    np.testing.assert_array_equal(made[3].masks["liver"], again.masks["liver"])
    assert 0 < sum(missing) < 15


def test_a_picture_is_no_person():
    flat = Anatomy(labels=np.zeros((4, 4), np.uint8), spacing_mm=(1.0,) * 3, values={}, cord=1)

    with pytest.raises(UsageError, match="shape"):
        deformed_case(flat, (4.0,) * 3, np.random.default_rng(0))
