from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from storage import review_queue
from storage.claims import claim_items
from storage.labels import base_of
from storage.open_readings import open_readings
from storage.review_case import read_case
from storage.review_queue import QueueFilter, next_open_case, queue_page
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify

NOW = datetime(2026, 1, 5, 12, 0)
LEASE = timedelta(minutes=10)
ALL = QueueFilter(statuses=("open", "mine", "held", "deferred", "done"))


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


def page(made, wanted=ALL, reader="anna", now=NOW, limit=50, offset=0):
    with made.store.read() as connection:
        return queue_page(connection, wanted, reader=reader, now=now, limit=limit, offset=offset)


def statuses(made, reader="anna", now=NOW):
    items = page(made, reader=reader, now=now).items
    return {item.structure: item.status for item in items if item.case_id == made.case_ids[0]}


def claim(made, structures, reader="anna", now=NOW):
    claim_items(made.store, made.case_ids[0], structures, reader=reader, now=now, lease=LEASE)


def judge(made, kind, structure="liver", reader="anna"):
    claim(made, [structure], reader)
    case_id = made.case_ids[0]
    with made.store.read() as connection:
        found = base_of(connection, case_id, structure)
    assert found is not None
    verdict = Verdict(
        case_id=case_id,
        structure=structure,
        verdict=kind,
        reader=reader,
        base_version=found[0],
        request_id=f"{kind}-{structure}-{reader}",
        opened_at=NOW,
        active_s=3.0,
    )
    give_verdict(made.store, verdict, now=NOW)


def assign(made, structure, reader="anna"):
    facts = {"case_id": made.case_ids[0], "structures": [structure], "reader": reader}
    with made.store.transaction() as transaction:
        transaction.record("reading.assigned", facts)


def test_page_has_present_items_before_possibly_missed_ones(made):
    found = page(made)

    assert [item.structure for item in found.items] == ["liver", "stomach", "spleen"] * 2
    assert [case.case_id for case in found.cases] == list(made.case_ids)
    assert found.counts == {"open": 6, "mine": 0, "held": 0, "deferred": 0, "done": 0}


def test_pages_split_the_queue_without_gap_or_repeat(made):
    first, second = (page(made, limit=1, offset=offset) for offset in (0, 1))

    assert (*first.cases, *second.cases) == page(made).cases
    assert (first.has_more, second.has_more) == (True, False)
    assert first.matching == second.matching == 6


def test_a_ct_stands_where_its_worst_item_stands_among_those_wanted(made):
    judge(made, "accept")

    assert [case.case_id for case in page(made, QueueFilter()).cases] == list(made.case_ids)[::-1]
    whole = page(made, replace(ALL, structures=("stomach",)))
    assert [case.case_id for case in whole.cases] == list(made.case_ids)


@pytest.mark.parametrize("ahead", [-8, -1, 0, 2])
@pytest.mark.parametrize("limit", [1, 2])
def test_looking_at_the_first_positions_first_changes_no_page(made, monkeypatch, ahead, limit):
    """Pages that end early, in their middle, and among what was possibly missed."""
    judge(made, "accept")
    wanted = replace(ALL, statuses=("open", "mine"), structures=("liver", "spleen"))
    whole = page(made, wanted).items
    monkeypatch.setattr(review_queue, "_LOOK_AHEAD", ahead)

    found = [page(made, wanted, limit=limit, offset=at).items for at in range(0, 2, limit)]

    assert [item for items in found for item in items] == list(whole)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"structures": ("stomach",)}, {"stomach"}),
        ({"structures": ()}, set()),
        ({"kind": "possibly_missed"}, {"spleen"}),
        ({"reason": "MEMBERS disagree "}, {"liver", "stomach", "spleen"}),
        ({"reason": "100%"}, set()),
        ({"statuses": ("done",)}, set()),
        ({"least_risk": 0.65}, {"liver", "stomach"}),
        ({"dataset": "flare"}, set()),
    ],
)
def test_filters_narrow_the_page(made, change, expected):
    found = page(made, replace(ALL, **change))

    assert {item.structure for item in found.items} == expected


@pytest.mark.parametrize("reader", ["anna", "ben", "cleo"])
@pytest.mark.parametrize("reason", ["", "agree"])
def test_items_are_counted_as_the_pages_show_them(made, reader, reason):
    claim(made, ["spleen"], "ben")
    judge(made, "accept", "liver")
    assign(made, "stomach")
    structures = ("liver", "spleen", "stomach", "pancreas")
    whole = page(made, reader=reader)

    assert sum(whole.counts.values()) == len(whole.items)
    for status in ALL.statuses:
        wanted = QueueFilter(statuses=(status,), reason=reason, structures=structures)
        found = page(made, wanted, reader)
        everything = page(made, replace(wanted, reason="", structures=None), reader)

        assert found.matching == len(found.items)
        assert found.counts[status] == len(everything.items) == everything.matching


def test_queue_from_before_places_of_cts_were_kept_is_paged_alike(made):
    new = page(made)
    with made.store.transaction() as transaction:
        transaction.connection.execute(
            """INSERT INTO queue_items BY NAME
               SELECT * REPLACE ('an older one' AS snapshot_id) FROM queue_items;
               ALTER TABLE queue_items DROP COLUMN case_place;
               DELETE FROM schema_version WHERE version >= 14"""
        )

    assert page(made) == new
    assert verify(made.store).findings == ()


def test_claim_is_mine_to_its_holder_and_held_to_others_until_it_expires(made):
    claim(made, ["liver"])

    assert statuses(made)["liver"] == "mine"
    assert statuses(made, reader="bert")["liver"] == "held"
    assert statuses(made, reader="bert", now=NOW + LEASE)["liver"] == "open"


def test_claims_tell_their_end(made):
    claim(made, ["liver"])

    for reader in ("anna", "bert"):
        items = page(made, reader=reader).cases[0].items
        ends = {item.structure: item.held_until for item in items}
        assert (ends["liver"], ends["stomach"]) == (NOW + LEASE, None)


def test_dataset_filter_keeps_its_cts_and_names_what_there_is(made):
    with made.store.transaction() as transaction:
        transaction.connection.execute(
            "INSERT INTO dataset_cases VALUES (?, 'flare', 'n', 'nc', [], [], 1, ?)",
            [made.case_ids[1], NOW],
        )

    found = page(made, replace(ALL, dataset="flare"))

    assert [(case.case_id, case.datasets) for case in found.cases] == [
        (made.case_ids[1], ("flare",))
    ]
    assert found.datasets == ("flare",)


@pytest.mark.parametrize("kind", ["accept", "absent", "reject"])
def test_judged_item_is_done_for_everybody(made, kind):
    judge(made, kind)

    assert statuses(made)["liver"] == statuses(made, reader="bert")["liver"] == "done"


def test_deferred_item_stays_open_for_other_readers(made):
    judge(made, "defer")

    assert statuses(made)["liver"] == "deferred"
    assert statuses(made, reader="bert")["liver"] == "open"


def test_item_that_two_deferred_is_deferred_for_both(made):
    judge(made, "defer")
    judge(made, "defer", reader="bert")

    assert statuses(made)["liver"] == statuses(made, reader="bert")["liver"] == "deferred"


def test_structure_to_be_read_without_the_mask_is_hidden_from_that_reader_alone(made):
    assign(made, "liver")

    assert "liver" not in statuses(made)
    assert statuses(made, reader="bert")["liver"] == "open"
    assert page(made).readings == 1
    shown = read_case(made.store, made.case_ids[0], reader="anna", now=NOW)
    assert "liver" not in {**shown.bases, **shown.masks, **shown.maps}
    assert "stomach" in shown.bases


def test_open_readings_come_with_the_ct_of_one_of_them(made):
    assign(made, "liver")
    with made.store.read() as connection:
        listed = open_readings(connection, reader="anna", case_id=made.case_ids[0])
        others = open_readings(connection, reader="anna", case_id=made.case_ids[1])

    assert [one.structure for one in listed.readings] == ["liver"]
    assert listed.case is not None
    assert others.case == listed.case


def test_next_case_is_the_worst_that_is_open(made):
    judge(made, "accept")
    with made.store.read() as connection:
        assert next_open_case(connection, reader="anna", now=NOW) == made.case_ids[1]
        after = next_open_case(connection, reader="anna", now=NOW, after=made.case_ids[1])
        assert after == made.case_ids[0]


def test_case_shows_bases_masks_verdicts_and_versions(made):
    judge(made, "accept")
    claim(made, ["stomach"])

    shown = read_case(made.store, made.case_ids[0], reader="anna", now=NOW)

    assert [mask.member for mask in shown.masks["liver"]] == ["committee", "a", "b"]
    assert {stored.kind for stored in shown.maps["liver"]} == {"uncertainty", "disagreement"}
    assert shown.verdicts["liver"].verdict == "accept"
    assert [version.version_id for version in shown.versions] == [shown.bases["liver"][0]]
    assert shown.bases["stomach"][0] == shown.prediction_id
    assert shown.held_until == {"stomach": NOW + LEASE}
