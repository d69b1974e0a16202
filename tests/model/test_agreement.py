import numpy as np
import pytest

from configs.taxonomy import load_taxonomy
from model.agreement import CaseAgreement, Overlap, compare_masks, comparison_kind
from model.agreement_report import agreement_report
from model.lesion_detection import LesionMatch

ORDER = load_taxonomy().names
UNIT = (1.0, 1.0, 1.0)
EMPTY = np.zeros((6, 6, 6), bool)


def cube(start, stop):
    mask = np.zeros((6, 6, 6), bool)
    mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
    return mask


SMALL = cube((1, 1, 1), (3, 3, 3))


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        ("ai", "edit", "edit_dsc"),
        ("edit", "edit", "edit_dsc"),
        ("edit", "independent", "edit_dsc"),
        ("edit", "dataset", "edit_dsc"),
        ("ai", "independent", "independent_dsc"),
        ("independent", "independent", "independent_dsc"),
        ("ai", "dataset", "reference_dsc"),
        ("dataset", "independent", "reference_dsc"),
        ("dataset", "dataset", "reference_dsc"),
        ("ai", "ai", "model_dsc"),
    ],
)
def test_kind_follows_from_how_both_were_made(first, second, kind):
    assert comparison_kind(first, second) == comparison_kind(second, first) == kind


def compare(tested, reference, spacing_mm=UNIT, tolerance_mm=2.0):
    return compare_masks(tested, reference, spacing_mm=spacing_mm, tolerance_mm=tolerance_mm)


def test_overlap_by_hand():
    # 8 and 8 voxels, 4 shared; shifted by one voxel, which 1 mm forgives.
    overlap = compare(SMALL, cube((2, 1, 1), (4, 3, 3)), tolerance_mm=1.0)

    assert overlap == Overlap(0.5, 1.0)


def test_two_empty_masks_have_no_number_and_one_empty_has_zero():
    assert compare(EMPTY, EMPTY) == Overlap(None, None)
    assert compare(SMALL, EMPTY) == compare(EMPTY, SMALL) == Overlap(0.0, 0.0)


@pytest.mark.parametrize("reference", [SMALL, EMPTY])
def test_coarse_spacing_gives_no_surface_dice_not_even_zero(reference):
    assert compare(SMALL, reference, spacing_mm=(1.0, 1.0, 5.0)).surface_dice is None


def case(dsc, *, patient="p-1", structure="liver", kind="independent_dsc", **changes):
    values = {
        "case_id": "c-1",
        "patient_id": patient,
        "structure": structure,
        "kind": kind,
        "overlap": Overlap(dsc, dsc),
        "tested_present": dsc is not None,
        "reference_present": dsc is not None,
    }
    return CaseAgreement(**{**values, **changes})


def report(*cases, seed=0):
    return agreement_report(cases, seed=seed, order=ORDER)


def row(*cases, seed=0):
    ((structure,),) = (block.structures for block in report(*cases, seed=seed))
    return structure


def test_spread_by_hand():
    found = row(case(0.5), case(0.9, patient="p-2"), case(1.0, patient="p-2"), case(0.8)).dsc

    assert (found.n, found.patients) == (4, 2)
    assert found.mean == pytest.approx(0.8)
    assert found.median == pytest.approx(0.85)
    assert (found.q1, found.q3) == pytest.approx((0.725, 0.925))


def test_absent_by_both_is_apart_and_one_empty_counts_as_zero():
    found = row(
        case(1.0),
        case(None),
        case(0.0, reference_present=False),
        case(0.0, tested_present=False),
    )

    assert (found.compared, found.agree_absent, found.one_empty) == (4, 1, 2)
    assert found.dsc.n == 3
    assert found.dsc.mean == pytest.approx(1 / 3)


def test_structure_that_nobody_has_gets_no_figure():
    found = row(case(None), case(None, patient="p-2"))

    assert (found.dsc, found.surface_dice, found.agree_absent) == (None, None, 2)
    assert report(case(None))[0].macros == ()


def test_kinds_are_never_averaged_together():
    blocks = report(case(0.2, kind="edit_dsc"), case(0.9), case(0.7, kind="reference_dsc"))

    assert [(block.kind, block.structures[0].dsc.mean) for block in blocks] == [
        ("independent_dsc", 0.9),
        ("reference_dsc", 0.7),
        ("edit_dsc", 0.2),
    ]
    assert [block.macros[0].mean for block in blocks] == [0.9, 0.7, 0.2]


def test_missing_surface_dice_is_counted_and_left_out():
    found = row(case(0.5), case(0.7, overlap=Overlap(0.7, None)))

    assert (found.surface_dice.n, found.surface_dice.mean, found.no_surface_dice) == (1, 0.5, 1)


def test_two_cases_of_a_patient_widen_the_interval():
    values = np.random.default_rng(5).uniform(0.6, 1.0, 15)
    clustered = [case(v, patient=f"p-{n}") for n, v in enumerate(values) for _ in range(2)]
    apart = [case(v, patient=f"p-{n}") for n, v in enumerate(np.repeat(values, 2))]

    wide, narrow = (row(*cases).dsc for cases in (clustered, apart))

    assert wide.mean == pytest.approx(narrow.mean)
    assert (wide.patients, narrow.patients) == (15, 30)
    assert np.ptp(wide.interval) > 1.25 * np.ptp(narrow.interval)


def test_three_patients_have_no_interval():
    cases = [case(0.5 + n / 10, patient=f"p-{n}") for n in range(4)]

    assert row(*cases[:3]).dsc.interval is None
    assert row(*cases).dsc.interval is not None


def test_interval_hangs_on_the_seed_and_not_on_other_structures():
    values = np.random.default_rng(1).uniform(0.5, 1.0, 12)
    livers = [case(v, patient=f"p-{n}") for n, v in enumerate(values)]
    spleens = [case(v / 2, patient=f"p-{n}", structure="spleen") for n, v in enumerate(values)]

    alone = row(*livers).dsc
    (block,) = report(*spleens, *livers)

    assert {entry.structure: entry.dsc for entry in block.structures}["liver"] == alone
    assert row(*livers, seed=1).dsc.interval != alone.interval


def test_macro_weighs_structures_alike_and_keeps_lesions_apart():
    (block,) = report(
        case(1.0),
        case(0.8),
        case(0.9, patient="p-2"),
        case(0.5, structure="spleen"),
        lesion(0.2, found=(True,)),
    )

    found = {(macro.group, macro.metric): macro for macro in block.macros}
    assert found["organs", "dsc"].mean == pytest.approx(0.7)
    assert (found["organs", "dsc"].structures, found["organs", "dsc"].patients) == (2, 2)
    assert found["tumors and cysts", "dsc"].mean == pytest.approx(0.2)


def test_structures_come_in_the_order_asked_for():
    (block,) = report(case(1.0), case(1.0, structure="spleen"))

    assert [entry.structure for entry in block.structures] == ["spleen", "liver"]


def lesion(dsc, *, found=(), diameters=None, false=0, **changes):
    match = LesionMatch(diameters or (5.0,) * len(found), found, false)
    return case(dsc, structure="liver_tumor", lesions=match, **changes)


def test_lesions_are_detected_first_and_overlap_counts_on_positives_only():
    found = row(
        lesion(0.6, found=(True, False), diameters=(8.0, 15.0), false=1),
        lesion(0.0, found=(False,), diameters=(25.0,), tested_present=False, patient="p-2"),
        lesion(0.0, false=2, reference_present=False, patient="p-3"),
        lesion(None, patient="p-4"),
        lesion(None, patient="p-4"),
    )

    detection = found.detection
    assert (detection.lesions.hits, detection.lesions.of) == (1, 3)
    assert [(name, s.hits, s.of) for name, s in detection.by_diameter] == [
        ("< 10", 1, 1),
        ("10 to 20", 0, 1),
        (">= 20", 0, 1),
    ]
    assert detection.false_positives_per_ct.value == pytest.approx(3 / 5)
    assert (detection.sensitivity.hits, detection.sensitivity.of) == (1, 2)
    assert (detection.specificity.hits, detection.specificity.of) == (1, 2)
    assert (found.dsc.n, found.dsc.mean, found.one_empty, found.agree_absent) == (2, 0.3, 1, 2)


def test_patient_counts_once_however_many_cts_there_are():
    found = row(lesion(0.6, found=(True,)), lesion(None), lesion(0.0, false=1, patient="p-2"))

    assert found.detection.sensitivity.of == 2
    assert found.detection.specificity.value is None


def test_share_that_is_all_or_nothing_has_no_interval():
    found = row(*(lesion(0.6, found=(True,), patient=f"p-{n}") for n in range(9)))

    assert found.detection.lesions.value == 1.0
    assert found.detection.lesions.interval is None


def test_organs_have_no_detection():
    assert row(case(0.5)).detection is None
