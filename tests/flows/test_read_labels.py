import numpy as np
import pytest

from flows import read_labels as module
from flows.read_labels import read_labels
from storage.blind_items import BlindBatch, BlindItem, assign_blind
from storage.label_crops import case_grids
from storage.label_masks import read_label
from storage.labels import label_mask
from storage.mask_overlaps import known_overlaps
from storage.predictions import CONSENSUS, masks_of
from storage.rebuild import rebuild
from storage.verify import verify


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def told(made, target="edit_dsc"):
    known = read_labels(made.store, made.committee_id, target)
    return {
        (made.case_ids.index(one.case_id), one.structure): dsc
        for one, dsc in zip(known.told, known.dsc, strict=True)
    }


def dice_of_whole_masks(made, case_id, structure, mask):
    prediction_id = made.prediction_id(case_id)
    with made.store.read() as connection:
        grid = case_grids(connection, [case_id])[case_id]
        consensus = masks_of(connection, prediction_id, structure)[0]
    assert consensus.member == CONSENSUS
    label = label_mask(consensus.object, consensus.box, consensus.voxels)
    first, second = (read_label(made.store.objects, one, grid.ras_shape) for one in (label, mask))
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_the_edit_dsc_of_every_verdict(made, readings):
    case_id, other = made.case_ids
    mask = readings.ball(case_id, centre=0.3, radius=0.25)
    readings.review(case_id, "liver", "correct", mask=mask)
    readings.review(case_id, "stomach", "absent")
    readings.review(case_id, "spleen", "absent")
    readings.review(other, "liver", "accept")
    readings.review(other, "stomach", "reject")

    expected = dice_of_whole_masks(made, case_id, "liver", mask)
    assert 0.3 < expected < 0.9
    assert told(made) == pytest.approx(
        {
            (0, "liver"): expected,
            (0, "stomach"): 0.0,
            (0, "spleen"): np.nan,
            (1, "liver"): 1.0,
            (1, "stomach"): np.nan,
        },
        nan_ok=True,
    )
    assert told(made, "independent_dsc") == {}


def test_a_deferred_answer_to_the_audit_is_told_without_a_dsc(made, readings):
    """As a rejected label it is bad by an unknown amount; a deferral of another says nothing."""
    first, second = made.case_ids
    items = (BlindItem(first, "liver", "audit", 1), BlindItem(second, "liver", "ranked", 2))
    assign_blind(made.store, BlindBatch(reader="anna", items=items, frame=6, seed=0))
    for case_id in made.case_ids:
        readings.review(case_id, "liver", "defer")
    readings.review(second, "stomach", "accept")

    known = read_labels(made.store, made.committee_id, "edit_dsc")

    assert told(made) == pytest.approx({(1, "stomach"): 1.0, (0, "liver"): np.nan}, nan_ok=True)
    assert [(one.read, one.audit) for one in known.told[1:]] == [(None, True)]
    assert len(known.reviews) == 1


def test_the_independent_dsc_is_of_readings_without_the_mask_alone(made, readings):
    case_id = made.case_ids[0]
    mask = readings.ball(case_id, centre=0.3, radius=0.25)
    readings.read(case_id, "liver", mask=mask)
    readings.review(case_id, "stomach", "accept")

    expected = dice_of_whole_masks(made, case_id, "liver", mask)
    assert told(made, "independent_dsc") == pytest.approx({(0, "liver"): expected})


def test_masks_are_decoded_once_and_again_only_in_a_rebuilt_index(made, readings, monkeypatch):
    case_id = made.case_ids[0]
    mask = readings.ball(case_id, centre=0.3, radius=0.25)
    readings.review(case_id, "liver", "correct", mask=mask)
    calls = []
    decode = module.paired_crops
    monkeypatch.setattr(
        module, "paired_crops", lambda *given: calls.append(given) or decode(*given)
    )

    first, second = told(made), told(made)

    assert len(calls) == 1
    assert first == second
    assert verify(made.store).findings == ()
    rebuild(made.store)
    assert told(made) == first
    assert len(calls) == 2
    with made.store.read() as connection:
        assert list(known_overlaps(connection).values()) == list(first.values())


def test_a_damaged_mask_teaches_nothing_and_stops_nothing(made, readings, caplog):
    case_id = made.case_ids[0]
    mask = readings.ball(case_id, centre=0.3, radius=0.25)
    readings.review(case_id, "liver", "correct", mask=mask)
    readings.review(case_id, "stomach", "accept")
    made.store.objects.path(mask.object).write_bytes(b"no mask")

    found = told(made)

    assert found == pytest.approx({(0, "liver"): np.nan, (0, "stomach"): 1.0}, nan_ok=True)
    assert f"liver of {case_id} teaches triage nothing" in caplog.text


def test_cases_whose_scans_may_be_one_share_a_patient(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")

    twins = read_labels(made.store, made.committee_id, "edit_dsc").patients
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM twins")
    apart = read_labels(made.store, made.committee_id, "edit_dsc").patients

    assert len(set(twins.values())) == 1
    assert len(set(apart.values())) == 2


def test_nothing_said_is_nothing_read(made):
    known = read_labels(made.store, made.committee_id, "edit_dsc")

    assert (known.told, len(known.dsc)) == ([], 0)
    assert told(made) == {}
