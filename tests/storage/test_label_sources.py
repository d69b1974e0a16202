import json
from datetime import datetime

import pytest

from configs.errors import UsageError
from storage.approvals import Decision, decide
from storage.label_sources import (
    LabelSource,
    LeftOut,
    labels_of,
    list_sources,
    parse_source,
)
from storage.labels import ABSENT
from storage.predictions import Manifest, close_case, manifest_grid
from storage.readers import Actor
from storage.rebuild import rebuild


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def labels(made, text):
    with made.store.read() as connection:
        return labels_of(connection, parse_source(text))


def only(found):
    ((_, label),) = found.labels.items()
    return label


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("committee", LabelSource(kind="committee")),
        ("committee:k-12", LabelSource(kind="committee", name="k-12")),
        ("member:swin", LabelSource(kind="member", name="swin")),
        ("reader:Anna B.", LabelSource(kind="reader", name="Anna B.")),
        ("reader:anna/independent", LabelSource(kind="reader", name="anna", reading=1)),
        ("reader:anna/independent:2", LabelSource(kind="reader", name="anna", reading=2)),
        ("dataset:flare", LabelSource(kind="dataset", name="flare")),
    ],
)
def test_source_names_go_both_ways(text, expected):
    assert parse_source(text) == expected
    assert str(expected) == text


def test_the_first_reading_has_two_names():
    assert parse_source("reader:a/independent:1") == parse_source("reader:a/independent")


@pytest.mark.parametrize(
    "text",
    [
        *("", "anna", "gt:x", "committee:", "member:", "dataset:", "reader", "reader:"),
        *("reader:a/b", "reader:/independent"),
        *("reader:a/independent:0", "reader:a/independent:two"),
    ],
)
def test_other_names_are_refused_with_the_forms(text):
    with pytest.raises(UsageError, match="reader:NAME/independent:2 or dataset:NAME; got"):
        parse_source(text)


def test_unknown_source_lists_those_that_hold_something(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")

    with pytest.raises(UsageError, match=r"committee, .*, member:a, member:b, reader:anna$"):
        labels(made, "reader:ben")


def test_committee_without_a_mask_says_absent(made):
    found = labels(made, "committee").labels

    assert len(found) == 6
    assert found[(made.case_ids[0], "spleen")].mask == ABSENT
    assert found[(made.case_ids[0], "liver")].mask.voxels > 0
    assert {label.origin for label in found.values()} == {"ai"}


def test_member_has_its_own_masks(made):
    assert labels(made, "member:a").labels[(made.case_ids[0], "spleen")].mask.voxels > 0
    assert labels(made, "member:b").labels[(made.case_ids[0], "spleen")].mask == ABSENT


def test_unscored_structure_was_not_looked_at(made):
    assert (made.case_ids[0], "pancreas") not in labels(made, "committee").labels


def annotate_again(made, case_id, committee_id):
    """Close a case by a committee that sees the liver only, and nothing of it."""
    prediction_id = made.prediction_id(case_id)
    with made.store.read() as connection:
        grid = manifest_grid(made.store, prediction_id, connection)
        (row,) = connection.execute(
            "SELECT manifest FROM predictions WHERE prediction_id = ?", [prediction_id]
        ).fetchone()
    scores = json.loads(made.store.objects.read(row))["scores"]
    liver = tuple(score for score in scores if score["structure"] == "liver")
    manifest = Manifest(case_id, committee_id, (), grid, (), (), liver)
    close_case(made.store, manifest, run_id="r-2", seconds=1.0)


def test_newest_prediction_of_each_case_counts_unless_a_committee_is_named(made):
    annotate_again(made, made.case_ids[0], "k-000000000002")

    newest = labels(made, "committee").labels
    assert {key for key in newest if key[0] == made.case_ids[0]} == {(made.case_ids[0], "liver")}
    assert newest[(made.case_ids[0], "liver")].mask == ABSENT
    assert newest[(made.case_ids[0], "liver")].maker == "k-000000000002"
    assert len(labels(made, "committee:k-000000000001").labels) == 6
    assert len(labels(made, "committee:k-000000000002").labels) == 1


def test_review_is_an_edit_of_the_prediction_at_its_root(made, readings):
    case_id = made.case_ids[0]
    readings.review(
        case_id, "liver", "correct", mask=readings.ball(case_id, centre=0.3, radius=0.3)
    )
    readings.review(case_id, "liver", "accept", reader="ben")

    first, second = only(labels(made, "reader:anna")), only(labels(made, "reader:ben"))
    assert first.origin == second.origin == "edit"
    assert first.base == second.base == made.prediction_id(case_id)
    assert first.mask == second.mask


def test_absent_verdict_is_a_label(made, readings):
    readings.review(made.case_ids[0], "liver", "absent")

    assert only(labels(made, "reader:anna")).mask == ABSENT


@pytest.mark.parametrize(
    ("kind", "why"), [("reject", LeftOut.REJECTED), ("defer", LeftOut.DEFERRED)]
)
def test_rejected_and_deferred_are_left_out_even_after_an_accept(made, readings, kind, why):
    key = (made.case_ids[0], "liver")
    readings.review(*key, "accept")
    readings.review(*key, kind)

    found = labels(made, "reader:anna")
    assert found.labels == {}
    assert found.left_out == {key: why}


def test_neighbour_counts_once_its_reader_judged_it(made, readings):
    case_id = made.case_ids[0]
    moved = readings.ball(case_id, centre=-0.3, radius=0.3)
    mask = readings.ball(case_id, centre=0.3, radius=0.3)
    readings.review(case_id, "liver", "correct", mask=mask, linked={"stomach": moved})

    found = labels(made, "reader:anna")
    assert found.left_out == {(case_id, "stomach"): LeftOut.LINKED}

    readings.review(case_id, "stomach", "accept")

    assert labels(made, "reader:anna").labels[(case_id, "stomach")].mask == moved


def test_readings_are_told_apart_by_their_number(made, readings):
    case_id = made.case_ids[0]
    first, second = (readings.ball(case_id, centre=c, radius=0.3) for c in (0.3, 0.4))
    readings.read(case_id, "liver", mask=first)
    readings.read(case_id, "liver", mask=second)

    assert only(labels(made, "reader:anna/independent")).mask == first
    assert only(labels(made, "reader:anna/independent:2")).mask == second
    assert only(labels(made, "reader:anna/independent:2")).origin == "independent"
    with pytest.raises(UsageError, match="holds no label"):
        labels(made, "reader:anna/independent:3")
    with pytest.raises(UsageError, match="holds no label"):
        labels(made, "reader:anna")


@pytest.mark.parametrize("kind", ["accept", "reject", "defer"])
def test_reading_after_a_review_is_an_edit(made, readings, kind):
    key = (made.case_ids[0], "liver")
    readings.review(*key, kind)
    readings.read(*key, "absent")

    label = only(labels(made, "reader:anna/independent"))
    assert (label.origin, label.saw_ai) == ("edit", True)


def test_reading_before_a_review_or_by_another_reader_is_independent(made, readings):
    key = (made.case_ids[0], "liver")
    readings.read(*key, "absent")
    readings.review(*key, "accept")
    readings.read(*key, "absent", reader="ben")

    for reader in ("anna", "ben"):
        label = only(labels(made, f"reader:{reader}/independent"))
        assert (label.origin, label.saw_ai) == ("independent", False)


def test_linked_neighbour_was_seen_too(made, readings):
    case_id = made.case_ids[0]
    moved = readings.ball(case_id, centre=-0.3, radius=0.3)
    mask = readings.ball(case_id, centre=0.3, radius=0.3)
    readings.review(case_id, "liver", "correct", mask=mask, linked={"stomach": moved})
    readings.read(case_id, "stomach", "absent")

    assert only(labels(made, "reader:anna/independent")).saw_ai


def test_deferred_reading_is_left_out_until_it_is_given(made, readings):
    key = (made.case_ids[0], "liver")
    readings.read(*key, "defer")

    assert labels(made, "reader:anna/independent").left_out == {key: LeftOut.DEFERRED}

    readings.read(*key, "absent")

    assert labels(made, "reader:anna/independent").left_out == {}


def test_newest_import_of_a_dataset_counts(made, readings):
    key = (made.case_ids[0], "liver")
    readings.import_label(*key, readings.ball(key[0], centre=0.3, radius=0.3))
    readings.import_label(*key, ABSENT)

    label = only(labels(made, "dataset:flare"))
    assert (label.origin, label.mask) == ("dataset", ABSENT)


def test_sources_are_listed_with_what_they_hold(made, readings):
    first, second = made.case_ids
    readings.review(first, "liver", "accept")
    readings.review(first, "liver", "accept", reader="ben")
    readings.read(second, "liver", "absent")
    readings.read(second, "liver", "absent")
    readings.import_label(first, "spleen", ABSENT)

    with made.store.read() as connection:
        found = {str(c.source): (c.cases, c.structures, c.labels) for c in list_sources(connection)}

    assert found == {
        "committee": (2, 3, 6),
        "committee:k-000000000001": (2, 3, 6),
        "member:a": (2, 3, 6),
        "member:b": (2, 3, 6),
        "reader:anna": (1, 1, 1),
        "reader:anna/independent": (1, 1, 1),
        "reader:anna/independent:2": (1, 1, 1),
        "reader:ben": (1, 1, 1),
        "dataset:flare": (1, 1, 1),
    }


def test_every_listed_source_can_be_named(made, readings):
    readings.review(made.case_ids[0], "liver", "accept", reader="Anna B.")

    with made.store.read() as connection:
        for count in list_sources(connection):
            named = labels_of(connection, parse_source(str(count.source)))
            assert len(named.labels) == count.labels


def test_rebuild_brings_the_same_labels_back(made, readings):
    key = (made.case_ids[0], "liver")
    readings.review(*key, "accept")
    readings.read(*key, "absent")
    before = [labels(made, name) for name in ("reader:anna", "reader:anna/independent")]

    rebuild(made.store)

    assert [labels(made, str(found.source)) for found in before] == before


def decided(made, given, outcome, seen=None):
    said = Decision(
        verdict_id=given.verdict_id,
        outcome=outcome,
        by=Actor("ben"),
        seen=seen,
        comment="cut off" if outcome == "returned" else "",
    )
    return decide(made.store, said, now=datetime(2026, 1, 5, 12, 0))


def test_returned_review_is_left_out_until_it_is_given_again_or_approved(made, readings):
    case_id = made.case_ids[0]
    key = (case_id, "liver")
    given = readings.review(case_id, "liver", "accept")
    returned = decided(made, given, "returned")
    assert labels(made, "reader:anna").left_out == {key: LeftOut.RETURNED}
    with made.store.read() as connection:
        assert "reader:anna" not in [str(one.source) for one in list_sources(connection)]

    decided(made, given, "approved", returned)
    assert labels(made, "reader:anna").labels.keys() == {key}

    decided(made, readings.review(case_id, "liver", "reject"), "returned")
    assert labels(made, "reader:anna").left_out == {key: LeftOut.RETURNED}
    readings.review(case_id, "liver", "absent")
    assert only(labels(made, "reader:anna")).mask == ABSENT


def test_a_return_covers_the_neighbour_that_was_changed_along(made, readings):
    case_id = made.case_ids[0]
    readings.review(case_id, "stomach", "accept")
    given = readings.review(
        case_id,
        "liver",
        "correct",
        mask=readings.ball(case_id, centre=0.3, radius=0.4),
        linked={"stomach": readings.ball(case_id, centre=-0.4, radius=0.1)},
    )
    assert set(labels(made, "reader:anna").labels) == {(case_id, "liver"), (case_id, "stomach")}

    decided(made, given, "returned")

    assert labels(made, "reader:anna").left_out == {
        (case_id, "liver"): LeftOut.RETURNED,
        (case_id, "stomach"): LeftOut.RETURNED,
    }
