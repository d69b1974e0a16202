import numpy as np
import pytest

from configs.errors import UsageError
from model.phantom.patient import PatientOptions, draw_patient
from model.phantom.protocol import FieldOfView, Phase, Protocol


def test_phase_weights_decide_the_mix() -> None:
    protocol = Protocol(phases={Phase.ARTERIAL: 3.0, Phase.PORTAL: 1.0})
    rng = np.random.default_rng(0)

    drawn = [protocol.draw_phase(rng) for _ in range(2000)]

    assert set(drawn) == {Phase.ARTERIAL, Phase.PORTAL}
    assert drawn.count(Phase.ARTERIAL) / 2000 == pytest.approx(0.75, abs=0.04)


def test_noise_stays_in_its_range() -> None:
    protocol = Protocol(noise_sd_hu=(5.0, 20.0))
    rng = np.random.default_rng(0)

    drawn = [protocol.draw_noise_sd_hu(rng) for _ in range(500)]

    assert min(drawn) >= 5.0
    assert max(drawn) <= 20.0
    assert np.median(drawn) == pytest.approx(10.0, abs=1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing_mm": (0.1, 3.0, 3.0)},
        {"spacing_mm": (3.0, 3.0, 40.0)},
        {"phases": {Phase.PORTAL: 0.0}},
        {"fields": {}},
        {"fields": {FieldOfView.TRUNK: -1.0}},
        {"noise_sd_hu": (9.0, 3.0)},
        {"blur_mm": (0.0, 3.0)},
    ],
)
def test_protocol_refuses_what_cannot_be_scanned(wrong: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        Protocol(**wrong)


@pytest.mark.parametrize("wrong", [{"sex": "man"}, {"missing": ("liver",)}])
def test_patient_options_refuse_the_impossible(wrong: dict) -> None:
    with pytest.raises(UsageError, match="got"):
        PatientOptions(**wrong)


def test_options_win_over_chance() -> None:
    options = PatientOptions(
        sex="female", phase=Phase.ARTERIAL, field=FieldOfView.PELVIS, missing=("spleen",)
    )

    patients = [draw_patient(np.random.default_rng(n), Protocol(), options) for n in range(20)]

    assert {patient.sex for patient in patients} == {"female"}
    assert {patient.phase for patient in patients} == {Phase.ARTERIAL}
    assert {patient.field for patient in patients} == {FieldOfView.PELVIS}
    assert {patient.missing for patient in patients} == {("spleen",)}
