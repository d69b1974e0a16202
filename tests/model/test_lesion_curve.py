import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from model.grid import Box
from model.lesion_candidates import Candidate
from model.lesion_curve import LesionReading, ReferenceLesion, exact_rate, lesion_curves

BOX = Box((0, 0, 0), (1, 1, 1))


def candidate(peak):
    return Candidate(
        peak=peak,
        box=BOX,
        centre=(0, 0, 0),
        voxels=1,
        volume_mm3=1.0,
        diameter_mm=1.0,
        host_share=None,
    )


def reading(patient, lesions=(), false=(), case=None, structure="liver_tumor"):
    """Lesions as (diameter, score), false candidates as peaks."""
    return LesionReading(
        case_id=case or patient,
        patient_id=patient,
        structure=structure,
        lesions=tuple(ReferenceLesion(diameter_mm=mm, score=score) for mm, score in lesions),
        false_candidates=tuple(map(candidate, false)),
        highest=max([score for _, score in lesions] + list(false), default=0.0),
    )


READINGS = (
    reading("a", lesions=[(8.0, 0.9), (25.0, 0.4)], false=[0.6]),
    reading("b", lesions=[(12.0, 0.0)]),
    reading("c", false=[0.3, 0.7]),
    reading("d"),
    reading("e", lesions=[(30.0, 0.8)]),
)


def test_counts_at_each_threshold_are_those_by_hand():
    (curve,) = lesion_curves(READINGS, order=("liver_tumor",), thresholds=(0.5, 0.2))

    low, middle = curve.points
    assert (curve.cts, curve.lesions, curve.patients_with, curve.patients_free) == (5, 4, 3, 2)
    assert (low.threshold, middle.threshold) == (0.2, 0.5)
    assert [(p.lesions.hits, p.lesions.of) for p in curve.points] == [(3, 4), (2, 4)]
    assert [p.false_positives_per_ct.value for p in curve.points] == [3 / 5, 2 / 5]
    assert [(name, share.hits, share.of) for name, share in low.by_diameter] == [
        ("< 10", 1, 1),
        ("10 to 20", 0, 1),
        (">= 20", 2, 2),
    ]
    assert [(p.sensitivity.hits, p.sensitivity.of) for p in curve.points] == [(2, 3), (2, 3)]
    assert [(p.specificity.hits, p.specificity.of) for p in curve.points] == [(1, 2), (1, 2)]
    assert low.harmonic == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))


def test_a_patients_scans_count_as_one_patient():
    readings = (reading("a", false=[0.4], case="1"), reading("a", [(9.0, 0.9)], case="2"))

    (curve,) = lesion_curves(readings, order=("liver_tumor",), thresholds=(0.5,))

    point = curve.points[0]
    assert (point.sensitivity.hits, point.sensitivity.of) == (1, 1)
    assert (point.specificity.of, point.specificity.interval, point.harmonic) == (0, None, None)
    assert point.false_positives_per_ct.of == 2
    assert curve.auc is None


def test_the_area_is_that_of_scikit_learn():
    rng = np.random.default_rng(3)
    ill, free = rng.integers(0, 10, 9) / 10, rng.integers(0, 8, 14) / 10
    readings = [reading(f"i{n}", [(9.0, peak)]) for n, peak in enumerate(ill)]
    readings += [reading(f"f{n}", false=[peak]) for n, peak in enumerate(free)]

    (curve,) = lesion_curves(readings, order=("liver_tumor",))

    truth = [1] * len(ill) + [0] * len(free)
    assert curve.auc == pytest.approx(roc_auc_score(truth, [*ill, *free]))
    rising = [point.lesions.hits for point in curve.points]
    assert rising == sorted(rising, reverse=True)


def test_the_exact_interval_is_the_beta_quantiles():
    rate = exact_rate(7, 9)

    low, high = stats.beta.ppf(0.025, 7, 3), stats.beta.ppf(0.975, 8, 2)
    assert rate.interval == pytest.approx((low, high), abs=1e-9)
    assert exact_rate(10, 10).interval == pytest.approx((0.025 ** (1 / 10), 1.0), abs=1e-9)
    assert exact_rate(0, 0).value is None


def test_kinds_come_in_the_order_given_and_apart():
    readings = (*READINGS, reading("a", [(9.0, 0.9)], structure="kidney_tumor"))

    curves = lesion_curves(readings, order=("kidney_tumor", "liver_tumor", "colon_tumor"))

    assert [(one.structure, one.cts) for one in curves] == [("kidney_tumor", 1), ("liver_tumor", 5)]
