from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from configs.taxonomy import load_taxonomy
from review_app.queue_lines import case_blocks, filtered_structures, progress, rank_words
from review_app.view_models import (
    ActivityClock,
    approval_words,
    exclusive_neighbours,
    held_words,
    needs_renewal,
    next_line,
    region_box,
    structure_lines,
    to_claim,
    with_claims,
)
from storage.claims import claim_items
from storage.review_case import JudgedVerdict, read_case
from storage.review_queue import QueuedCase, QueueFilter, QueuePage, ReviewItem, queue_page

NOW = datetime(2026, 1, 5, 12, 0)
LEASE = timedelta(minutes=10)
TAXONOMY = load_taxonomy()


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def item(**changes):
    values = {
        "position": 1,
        "kind": "present",
        "case_id": "c-1",
        "structure": "liver",
        "risk": 0.4,
        "reason": "members disagree",
        "prediction_id": "p-1",
        "status": "open",
        "holder": None,
        "verdict": None,
        "verdict_by": None,
    }
    return ReviewItem(**{**values, **changes})


def page(items=(), **counts):
    full = {"open": 0, "mine": 0, "held": 0, "deferred": 0, "done": 0, **counts}
    cases = (QueuedCase("c-1", tuple(items), ("flare",)),) if items else ()
    return QueuePage(cases, False, len(items), full, NOW, 0)


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


def shown(made, reader="anna"):
    return read_case(made.store, made.case_ids[0], reader=reader, now=NOW)


def claim(made, structures, reader="anna"):
    return claim_items(
        made.store, made.case_ids[0], structures, reader=reader, now=NOW, lease=LEASE
    )


def test_progress_names_every_state_that_occurs():
    told = progress(page(open=3, mine=1, held=2, deferred=1, done=3))

    assert told.share == pytest.approx(0.3)
    assert told.words == "3 of 10 judged, 4 open, 2 held by others, 1 deferred by you"


def test_progress_of_an_empty_queue_is_none():
    assert progress(page()).share == 0.0


@pytest.mark.parametrize(
    ("structures", "groups", "expected"),
    [
        ([], [], None),
        (["liver"], [], ("liver",)),
        (["liver", "liver_tumor"], ["tumor"], ("liver_tumor",)),
        (["liver"], ["tumor"], ()),
    ],
)
def test_both_structure_filters_must_hold(structures, groups, expected):
    assert filtered_structures(TAXONOMY, structures, groups) == expected


@pytest.mark.parametrize(
    ("changes", "words", "can_open"),
    [
        ({}, "open", True),
        ({"status": "mine"}, "open here", True),
        ({"status": "mine", "held_until": NOW}, "open here until 12:00 UTC", True),
        ({"status": "held", "holder": "bert"}, "held by bert", False),
        (
            {"status": "done", "verdict": "absent", "verdict_by": "b", "held_until": NOW},
            "absent by b",
            True,
        ),
        ({"status": "done", "verdict": "accept", "verdict_by": "bert"}, "accepted by bert", True),
        ({"verdict": "defer", "verdict_by": "bert"}, "open, deferred by bert", True),
    ],
)
def test_queue_line_says_the_state_in_words(changes, words, can_open):
    (block,) = case_blocks(page([item(**changes)]), TAXONOMY)
    (line,) = block.lines

    assert (line.status, line.can_open, line.display) == (words, can_open, "Liver")


def test_clock_counts_pauses_up_to_the_cut_off():
    clock = ActivityClock(0.0, NOW)

    clock = clock.touched(after(20), idle_s=60).touched(after(1000), idle_s=60)

    assert clock.active_s == 80.0


def test_clock_counts_nothing_while_another_item_is_shown():
    clock = ActivityClock(5.0, NOW).resumed(after(30)).touched(after(31), idle_s=60)

    assert clock.active_s == 6.0


def test_clock_does_not_run_backwards():
    assert ActivityClock(5.0, NOW).touched(after(-30), idle_s=60).active_s == 5.0


def test_region_is_the_union_with_a_margin_in_millimetres_inside_the_ct():
    boxes = [((10, 12), (10, 20), (3, 5)), ((8, 11), (12, 30), (4, 6))]

    region = region_box(boxes, (40, 32, 8), spacing_mm=(2.0, 1.0, 5.0), margin_mm=6.0)

    assert region == ((5, 15), (4, 32), (2, 7))


def test_region_without_any_mask_is_the_whole_ct():
    region = region_box([], (4, 5, 6), spacing_mm=(1.0, 1.0, 1.0), margin_mm=20)

    assert region == ((0, 4), (0, 5), (0, 6))


def test_lines_come_in_the_queue_s_order_and_only_open_ones_are_claimed(made):
    claim(made, ["stomach"], reader="bert")

    lines = structure_lines(shown(made), TAXONOMY)

    assert [line.structure for line in lines] == ["liver", "stomach", "spleen"]
    assert to_claim(lines) == ["liver", "spleen"]
    assert held_words(lines[1]) == "Stomach is held by bert: it can be looked at, not judged."


def test_claims_show_without_reading_again(made):
    before = shown(made)

    held = claim(made, ["liver", "spleen"])

    assert with_claims(before, held, reader="anna") == shown(made)
    lines = structure_lines(with_claims(before, held, reader="anna"), TAXONOMY)
    assert [line.can_judge for line in lines] == [True, False, True]


def test_claims_are_renewed_in_the_second_half_of_the_lease(made):
    claim(made, ["liver"])
    case = shown(made)

    assert needs_renewal(case, now=NOW + LEASE / 2, lease=LEASE) == []
    assert needs_renewal(case, now=NOW + LEASE * 0.6, lease=LEASE) == ["liver"]


def test_next_line_goes_round_and_skips_what_is_done(made):
    lines = structure_lines(shown(made), TAXONOMY)
    judged = [replace(lines[0], status="done"), *lines[1:]]

    assert next_line(judged, "stomach") == lines[2]
    assert next_line(judged, "spleen") == lines[1]
    assert next_line(judged[:1], "liver") is None
    assert next_line([lines[0]], "liver") is None


def test_neighbours_are_exclusive_ones_with_a_mask(made):
    case = shown(made)

    assert exclusive_neighbours(case, TAXONOMY["liver"]) == ["stomach"]


def test_lines_of_a_real_page_match_the_queue(made):
    with made.store.read() as connection:
        found = queue_page(connection, QueueFilter(), reader="anna", now=NOW, limit=9)

    (block,) = case_blocks(found, TAXONOMY)
    assert [line.risk for line in block.lines] == ["0.90", "0.80", "0.70"]
    assert block.summary == "3 structures, highest score 0.90"


@pytest.mark.parametrize(
    ("changes", "may_approve", "words"),
    [
        ({}, True, "Accepted by anna, waits for a second reader."),
        ({}, False, "Accepted by anna, waits for a reviewer."),
        ({"is_own": True}, True, "waits for another reader: nobody approves own work."),
        ({"state": "approved", "decided_by": "ben"}, True, "Accepted by anna, approved by ben."),
    ],
)
def test_approval_says_where_a_verdict_stands_and_who_decides(changes, may_approve, words):
    values = {
        "verdict": "accept",
        "reader": "anna",
        "tags": (),
        "given_at": NOW,
        "verdict_id": "a",
        "state": "submitted",
        "decision_id": None,
        "decided_by": None,
        "comment": None,
        "is_own": False,
    }
    given = JudgedVerdict(**{**values, **changes})

    assert approval_words(given, may_approve=may_approve).endswith(words)


def test_the_queue_says_what_its_number_is():
    assert rank_words("expected_gain")[0] == "Gain"
    assert rank_words("volume_outlier") == ("Score", "Ranked by volume outlier, from 0 to 1")
    assert rank_words("")[0] == "Score"
