import numpy as np
import pytest
from scipy import special

from model.calibration import PatientCounts, calibrate, temperatures
from model.temperature import (
    calibration_error,
    fit_temperature,
    level_counts,
    negative_log_likelihood,
    reliability,
)

GROUPS = {"liver": "organ", "spleen": "organ", "liver_tumor": "lesion"}


def patient(name, *, structure="liver", too_sure=2.0, n=3000, seed=0):
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    logits = rng.normal(0, 1.2, n)
    truth = rng.random(n) < special.expit(logits)
    levels = np.round(255 * special.expit(too_sure * logits)).clip(1, 254).astype(np.uint8)
    return PatientCounts(name, structure, level_counts(levels, truth, np.ones(n, bool)))


def test_overconfidence_is_found_and_mended_on_other_patients():
    counts = [patient(f"p{n}") for n in range(8)]

    (liver,) = calibrate(counts, groups=GROUPS)

    total = sum(one.counts for one in counts)
    assert liver.temperature == pytest.approx(fit_temperature(total))
    assert liver.error_before == pytest.approx(calibration_error(reliability(total, 1.0)))
    assert liver.error_after < liver.error_before / 3
    assert liver.loss_after < liver.loss_before
    assert (liver.source, liver.patients, liver.patients_with) == ("own", 8, 8)
    assert liver.voxels == 8 * 3000


def test_a_patient_is_never_scored_with_a_temperature_fitted_on_them():
    """With as many folds as patients, the errors are those of leaving each out in turn."""
    counts = [patient(f"p{n}", too_sure=1.5 + 0.3 * n) for n in range(5)]

    (liver,) = calibrate(counts, groups=GROUPS)

    sums, loss = np.zeros((3, 15)), 0.0
    for out in counts:
        fitted = fit_temperature(sum(one.counts for one in counts if one is not out))
        sums += reliability(out.counts, fitted)
        loss += negative_log_likelihood(out.counts, fitted)
    assert liver.error_after == pytest.approx(calibration_error(sums))
    assert liver.loss_after == pytest.approx(loss / liver.voxels)


def test_too_few_patients_take_the_groups_temperature():
    counts = [patient(f"p{n}") for n in range(6)]
    counts += [patient("p0", structure="spleen"), patient("p1", structure="spleen")]

    liver, spleen = calibrate(counts, groups=GROUPS)

    assert (liver.source, spleen.source) == ("own", "group")
    assert spleen.temperature == pytest.approx(2.0, rel=0.1)
    assert spleen.error_after < spleen.error_before


def test_without_enough_anywhere_it_stays_as_it_is():
    counts = [patient(f"p{n}", structure="liver_tumor") for n in range(3)]

    (tumor,) = calibrate(counts, groups=GROUPS)

    assert (tumor.source, tumor.temperature) == ("unchanged", 1.0)
    assert tumor.error_after == tumor.error_before
    assert temperatures([tumor]) == {}


def test_a_temperature_that_does_not_help_others_is_not_kept():
    """One patient of most voxels pulls the temperature their way, which the others show wrong."""
    counts = [patient(f"p{n}", too_sure=1.0, n=1000) for n in range(4)]
    odd = patient("odd", too_sure=0.3)
    counts.append(PatientCounts("odd", "liver", 50 * odd.counts))

    (liver,) = calibrate(counts, groups=GROUPS)

    assert fit_temperature(sum(one.counts for one in counts)) < 0.5
    assert (liver.source, liver.temperature) == ("unchanged", 1.0)
    assert liver.loss_after == liver.loss_before
