import nibabel
import numpy as np
import pytest

from configs.errors import UsageError
from configs.simulated_committee import load_committee_scenario
from flows.simulated_committee import Simulation, simulated_case, simulated_patients

COARSE = load_committee_scenario().model_copy(update={"spacing_mm": (10.0, 10.0, 10.0)})


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """A label map with a liver and a cord."""
    labels = np.zeros((30, 25, 40), np.uint8)
    labels[5:25, 8:20, 10:30] = 6
    labels[14:16, 1:3, :] = 43
    path = tmp_path_factory.mktemp("person") / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([6.0, 6.0, 6.0, 1.0])), path)
    return path


def priors(person, **changes):
    settings = {"split": "priors", "count": 3, "scenario": COARSE, "label_map": person}
    return Simulation(**(settings | changes))


def test_patients_are_the_same_from_the_folder_and_from_two_workers(person, tmp_path):
    made = simulated_patients(priors(person), folder=tmp_path)
    steps = []
    again = simulated_patients(
        priors(person, count=4),
        folder=tmp_path,
        workers=2,
        progress=lambda done, total: steps.append((done, total)),
    )

    assert again[:3] == made
    assert steps == [(4, 4)]
    assert [one.patient for one in made] == [400_000, 400_001, 400_002]
    assert made[0].case.dsc != made[1].case.dsc


def test_workers_give_what_one_process_gives(person):
    assert simulated_patients(priors(person, count=2), workers=2) == simulated_patients(
        priors(person, count=2)
    )


def test_another_scenario_has_another_place(person):
    other = COARSE.model_copy(update={"spacing_mm": (12.0, 12.0, 12.0)})

    assert priors(person).digest == priors(person, count=9, first=4).digest
    assert priors(person).digest != priors(person, scenario=other).digest
    assert priors(person).digest != priors(person, sealed=True).digest
    assert priors(person).digest != priors(person, rules=None).digest


def test_phantoms_of_a_split_come_from_its_sites():
    case = simulated_case(Simulation(split="unseen", count=1, scenario=COARSE), 0, keep_masks=True)

    assert set(case.dsc) == set(case.truth)
    assert all(case.present[name] for name in case.dsc)
    assert len(case.present) == 32


def test_a_label_map_is_asked_for_and_sealed_faults_are_refused(person):
    with pytest.raises(UsageError, match="label map"):
        priors(None)
    with pytest.raises(UsageError, match="at least one"):
        priors(person, count=0)
    with pytest.raises(UsageError, match="final runs"):
        Simulation(split="development", count=1, sealed=True)
    with pytest.raises(UsageError, match="sealed"):
        simulated_patients(priors(person, kinds=COARSE.faults.sealed))
