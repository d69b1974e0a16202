import pytest

from configs.errors import UsageError
from storage.assignments import assign_readings, open_readings, unseen_cases
from storage.rebuild import rebuild


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=3)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def assign(made, *case_ids, reader="anna", structures=("liver",), **flags):
    return assign_readings(
        made.store, reader=reader, case_ids=case_ids, structures=structures, **flags
    )


def still_open(made, reader=None):
    with made.store.read() as connection:
        found = open_readings(connection, reader=reader)
    return [(a.reader, a.case_id, a.structure, a.reading) for a in found]


def lines(made):
    return len(list(made.store.journal.lines()))


def test_assigned_reading_is_open_until_it_is_given(made, readings):
    case_id = made.case_ids[0]
    assign(made, case_id, structures=("spleen", "liver"))

    assert still_open(made) == [
        ("anna", case_id, "liver", 1),
        ("anna", case_id, "spleen", 1),
    ]

    readings.read(case_id, "liver", "absent")

    assert still_open(made) == [("anna", case_id, "spleen", 1), ("anna", case_id, "liver", 2)]


def test_deferred_reading_stays_open(made, readings):
    readings.read(made.case_ids[0], "liver", "defer")

    assert still_open(made) == [("anna", made.case_ids[0], "liver", 1)]


def test_assigning_again_is_a_second_reading(made):
    (first,) = assign(made, made.case_ids[0])
    (second,) = assign(made, made.case_ids[0])

    assert (first.reading, second.reading) == (1, 2)
    assert [reading for *_, reading in still_open(made)] == [1, 2]


def test_case_named_twice_is_assigned_once(made):
    assert len(assign(made, made.case_ids[0], made.case_ids[0])) == 1


def test_open_readings_of_one_reader(made):
    assign(made, made.case_ids[0])
    assign(made, made.case_ids[1], reader="ben")

    assert still_open(made, "ben") == [("ben", made.case_ids[1], "liver", 1)]


def test_what_a_reader_saw_with_the_ai_is_refused_and_nothing_is_written(made, readings):
    readings.review(made.case_ids[1], "liver", "accept")
    before = lines(made)

    with pytest.raises(UsageError, match=f"anna reviewed liver of {made.case_ids[1]}.*allow-seen"):
        assign(made, *made.case_ids)

    assert lines(made) == before
    assert len(assign(made, *made.case_ids, reader="ben")) == 3


def test_seen_may_be_assigned_on_demand_and_is_flagged(made, readings):
    readings.review(made.case_ids[1], "liver", "defer")

    given = assign(made, *made.case_ids, allow_seen=True)

    assert [a.saw_ai for a in given] == [False, True, False]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"reader": "a:b"}, "no colon"),
        ({"reader": "a/b"}, "no colon, slash"),
        ({"reader": ""}, "no colon"),
        ({"structures": ("liver", "lever")}, "unknown structure 'lever'"),
        ({"structures": ()}, "needs a structure"),
    ],
)
def test_wrong_assignments_are_refused(made, changes, match):
    before = lines(made)

    with pytest.raises(UsageError, match=match):
        assign(made, made.case_ids[0], **changes)

    assert lines(made) == before


def test_unknown_case_is_refused(made):
    with pytest.raises(UsageError, match="cases of this workspace, got c-0"):
        assign(made, made.case_ids[0], "c-0")


def test_cases_to_choose_from_are_neither_assigned_nor_seen(made, readings):
    first, second, third = made.case_ids
    assign(made, first)
    readings.review(second, "liver", "accept")

    with made.store.read() as connection:
        for structures, expected in (
            (["liver"], [third]),
            (["stomach"], [first, second, third]),
            (["stomach", "liver"], [third]),
        ):
            found = unseen_cases(connection, reader="anna", structures=structures)
            assert found == expected


def test_rebuild_brings_assignments_back(made):
    assign(made, *made.case_ids)
    before = still_open(made)

    rebuild(made.store)

    assert still_open(made) == before
