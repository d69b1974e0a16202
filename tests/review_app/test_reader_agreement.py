import pytest

from review_app.reader_agreement import agreement_of, agreement_words
from storage.shared_readings import shared_readings


def test_dice_of_two_readers_is_that_of_their_masks(make_annotated, make_readings):
    made = make_annotated(cases=5)
    readings = make_readings(made)
    expected = []
    for number, case_id in enumerate(made.case_ids):
        small = readings.ball(case_id, centre=0.35, radius=0.2 + 0.01 * number)
        large = readings.ball(case_id, centre=0.35, radius=0.3)
        readings.read(case_id, "liver", mask=small)
        readings.read(case_id, "liver", reader="bert", mask=large)
        # The smaller ball lies within the larger one.
        expected.append(2 * small.voxels / (small.voxels + large.voxels))
        for reader in ("anna", "bert"):
            readings.read(case_id, "spleen", "absent", reader=reader)
    readings.read(made.case_ids[0], "stomach", "absent")
    readings.read(made.case_ids[0], "stomach", reader="bert", mask=large)
    with made.store.read() as connection:
        shared = shared_readings(connection, limit=99)

    found = {one.structure: one for one in agreement_of(made.store.objects, shared)}

    assert found["liver"].mean_dsc == pytest.approx(sum(expected) / 5)
    assert agreement_words(found["liver"]).endswith("(n = 5)")
    assert (found["spleen"].both_absent, found["spleen"].mean_dsc) == (5, None)
    assert (found["stomach"].one_absent, agreement_words(found["stomach"])) == (
        1,
        "too few to say (1)",
    )
