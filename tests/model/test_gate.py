from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from configs.errors import ConfigError
from model.gate import GateDecision, GateObservation, GatePolicy, Outcomes, decide


def seen(
    patient: str, champion: float, challenger: float, *, structure: str = "liver", lesions: int = 0
) -> GateObservation:
    return GateObservation(
        patient=patient,
        structure=structure,
        champion=Outcomes(dsc=champion, false_positive=None, lesions_found=lesions),
        challenger=Outcomes(dsc=challenger, false_positive=None, lesions_found=lesions),
        lesions=lesions,
    )


def absent(patient: str, *, champion: bool, challenger: bool) -> GateObservation:
    return GateObservation(
        patient=patient,
        structure="gall_bladder",
        champion=Outcomes(dsc=None, false_positive=champion),
        challenger=Outcomes(dsc=None, false_positive=challenger),
    )


def gate(observations: Sequence[GateObservation], *, accept: bool = False) -> GateDecision:
    return decide(
        observations,
        GatePolicy(),
        generator=np.random.default_rng(0),
        accept_underpowered=accept,
    )


def cohort(gain: float, *, spread: float = 0.01, patients: int = 12) -> list[GateObservation]:
    noise = np.random.default_rng(1).normal(0, spread, patients)
    noise -= noise.mean()
    return [seen(f"p{n}", 0.8, 0.8 + gain + noise[n]) for n in range(patients)]


def test_a_challenger_that_is_no_worse_is_promoted() -> None:
    decision = gate(cohort(0.05))

    assert decision.outcome == "promoted"
    assert decision.rows[0].gain == pytest.approx(0.05)


def test_a_challenger_that_is_worse_is_kept_out_whatever_the_user_accepts() -> None:
    assert gate(cohort(-0.05)).outcome == "kept"
    assert gate(cohort(-0.05), accept=True).outcome == "kept"


def test_one_worse_structure_outweighs_many_better_ones() -> None:
    better = cohort(0.1)
    worse = [
        seen(entry.patient, 0.8, 0.7 + 0.001 * number, structure="spleen")
        for number, entry in enumerate(better)
    ]

    decision = gate([*better, *worse])

    assert decision.outcome == "kept"
    assert "spleen" in decision.reason


def test_few_patients_are_underpowered_and_the_needed_number_is_said() -> None:
    decision = gate(cohort(0.05, patients=4))

    assert decision.outcome == "underpowered"
    assert decision.needed == 10
    assert "needs 10 patients" in decision.reason


def test_a_wide_interval_is_underpowered_and_asks_for_more() -> None:
    observations = cohort(0.0, spread=0.2)
    gains = np.array([entry.challenger.dsc - 0.8 for entry in observations])  # type: ignore[operator]

    decision = gate(observations)

    # One-sided 95 %, power 80 %, margin 0.02, by hand.
    by_hand = ((stats.norm.ppf(0.95) + stats.norm.ppf(0.8)) * gains.std(ddof=1) / 0.02) ** 2
    assert decision.outcome == "underpowered"
    assert decision.needed == pytest.approx(by_hand, rel=0.01)


def test_the_user_may_accept_what_could_not_be_decided() -> None:
    assert gate(cohort(0.05, patients=4), accept=True).outcome == "promoted"


def test_even_then_a_falling_mean_is_not_accepted() -> None:
    assert gate(cohort(-0.05, patients=4), accept=True).outcome == "kept"


def test_new_false_positives_on_absent_organs_block() -> None:
    absents = [absent(f"p{n}", champion=False, challenger=True) for n in range(12)]

    decision = gate([*cohort(0.05), *absents])

    assert decision.outcome == "kept"
    assert decision.rows[-1].gain == -1.0


def test_lost_lesions_block_although_dsc_holds() -> None:
    lost = [
        GateObservation(
            patient=f"p{n}",
            structure="liver_tumor",
            champion=Outcomes(dsc=0.5, false_positive=None, lesions_found=2),
            challenger=Outcomes(dsc=0.5, false_positive=None, lesions_found=1),
            lesions=2,
        )
        for n in range(12)
    ]

    decision = gate(lost)

    assert decision.outcome == "kept"
    assert decision.rows[-1].challenger == 0.5


def test_the_interval_agrees_with_scipys_bootstrap() -> None:
    observations = cohort(0.03, spread=0.04, patients=20)
    gains = np.array([entry.challenger.dsc - 0.8 for entry in observations])  # type: ignore[operator]

    row = gate(observations).rows[0]

    expected = stats.bootstrap(
        (gains,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert row.low == pytest.approx(expected.low, abs=0.003)
    assert row.high == pytest.approx(expected.high, abs=0.003)


def test_the_cases_of_one_patient_count_once() -> None:
    observations = [entry for entry in cohort(0.05, patients=5) for _ in range(4)]

    decision = gate(observations)

    assert decision.rows[0].patients == 5
    assert decision.outcome == "underpowered"


def test_without_a_reference_nothing_is_promoted() -> None:
    assert gate([], accept=True).outcome == "underpowered"


@pytest.mark.parametrize(
    "change", [{"dsc_margin": 0.0}, {"confidence": 1.0}, {"least_patients": 1}, {"resamples": 5}]
)
def test_a_policy_outside_its_range_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GatePolicy(**change)  # type: ignore[arg-type]
