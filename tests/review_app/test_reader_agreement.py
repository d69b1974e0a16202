import pytest

from review_app.reader_agreement import agreement_of, agreement_words
from storage.label_crops import case_grids
from storage.labels import ABSENT
from storage.shared_readings import SharedReading


def test_dice_of_two_readers_is_that_of_their_masks(make_annotated, make_readings):
    made = make_annotated()
    (case_id,) = made.case_ids
    ball = make_readings(made).ball
    with made.store.read() as connection:
        grid = case_grids(connection, made.case_ids)[case_id]

    def shared(structure, first, second):
        return SharedReading(case_id, structure, "anna", "bert", first, second, grid)

    large = ball(case_id, centre=0.35, radius=0.3)
    small = [ball(case_id, centre=0.35, radius=0.2 + 0.01 * number) for number in range(5)]
    items = [
        *(shared("liver", one, large) for one in small),
        *(shared("spleen", ABSENT, ABSENT) for _ in range(5)),
        shared("stomach", ABSENT, large),
    ]

    found = {one.structure: one for one in agreement_of(made.store.objects, items)}

    # The smaller balls lie within the larger one.
    expected = [2 * one.voxels / (one.voxels + large.voxels) for one in small]
    assert found["liver"].mean_dsc == pytest.approx(sum(expected) / 5)
    assert agreement_words(found["liver"]).endswith("(n = 5)")
    assert (found["spleen"].both_absent, found["spleen"].mean_dsc) == (5, None)
    assert (found["stomach"].one_absent, agreement_words(found["stomach"])) == (
        1,
        "too few to say (1)",
    )
