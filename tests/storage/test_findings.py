import pytest

from configs.plausibility import shipped_plausibility
from storage.findings import (
    StoredFinding,
    findings_of,
    record_check,
    unchecked_predictions,
    without_mention_of,
)
from storage.rebuild import rebuild
from storage.verify import verify


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


def finding(structure="liver", *, severity="fault", other=None, place=(3, 4, 5)):
    return StoredFinding(
        structure=structure,
        rule="volume",
        severity=severity,
        other=other,
        value=12.5,
        place=place,
        explanation=f"{structure} is odd.",
        mentions=() if other is None else (other,),
    )


def rules_of(made):
    return made.store.objects.put(shipped_plausibility().content)


def waiting(made, rules, **choice):
    with made.store.read() as connection:
        found = unchecked_predictions(connection, made.committee_id, rules, **choice)
    return {one.case_id: one.covered for one in found}


def stored(made, case_id):
    prediction_id = made.prediction_id(case_id)
    with made.store.read() as connection:
        return findings_of(connection, prediction_id)


def test_findings_come_back_as_they_were_faults_first_and_survive_a_rebuild(made):
    case_id = made.case_ids[0]
    note, fault = finding(severity="note"), finding(other="spleen", place=None)
    record_check(made.store, made.prediction_id(case_id), rules_of(made), [note, fault])

    before = stored(made, case_id)
    rebuild(made.store)

    assert before == {"liver": [fault, note]}
    assert stored(made, case_id) == before
    assert verify(made.store).findings == ()


def test_a_check_names_objects_that_verify_knows(made):
    prediction_id = made.prediction_id(made.case_ids[0])
    before = verify(made.store)
    record_check(made.store, prediction_id, rules_of(made), [finding()])

    after = verify(made.store)

    assert after.objects == before.objects + 2
    assert after.unnamed == before.unnamed


def test_a_prediction_waits_until_it_was_checked_under_the_same_rules(made):
    first, second = made.case_ids
    rules = rules_of(made)
    covered = ("liver", "spleen", "stomach")

    assert waiting(made, rules) == {first: covered, second: covered}
    assert record_check(made.store, made.prediction_id(first), rules, [])
    assert waiting(made, rules) == {second: covered}
    assert waiting(made, rules, case_ids=[first]) == {}
    assert set(waiting(made, "0" * 64)) == {first, second}


def test_what_is_checked_twice_under_the_same_rules_is_written_once(made):
    prediction_id, rules = made.prediction_id(made.case_ids[0]), rules_of(made)
    assert record_check(made.store, prediction_id, rules, [finding()])

    assert not record_check(made.store, prediction_id, rules, [finding("stomach")])
    assert set(stored(made, made.case_ids[0])) == {"liver"}


def test_a_check_under_other_rules_takes_the_place_of_the_one_before(made):
    prediction_id = made.prediction_id(made.case_ids[0])
    record_check(made.store, prediction_id, rules_of(made), [finding()])
    other = made.store.objects.put(b"other rules")
    record_check(made.store, prediction_id, other, [])

    assert stored(made, made.case_ids[0]) == {}
    assert made.case_ids[0] in waiting(made, rules_of(made))


def test_findings_that_speak_of_an_untold_structure_are_left_out():
    found = {"liver": [finding(other="spleen"), finding()], "spleen": [finding("spleen")]}

    assert without_mention_of(found, {"spleen"}) == {"liver": (finding(),)}
    assert without_mention_of(found, {"liver"}) == {"spleen": (finding("spleen"),)}
    assert without_mention_of(found, {"spleen", "liver"}) == {}
