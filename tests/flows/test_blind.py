import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from configs.errors import UsageError
from flows.blind import BlindRequest, _Drawn, _shuffled, assign_blindly, blind_counts
from flows.cli import app
from flows.known_truth import known_truth_results, qualifications
from storage.labels import ABSENT


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=3)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def blind_rows(made):
    with made.store.read() as connection:
        return connection.execute(
            "SELECT case_id, structure, arm, slot, truth, frame FROM blind_items ORDER BY slot"
        ).fetchall()


def request(**changes):
    return replace(BlindRequest(reader="anna", random=2, seed=3), **changes)


def test_an_audit_draws_from_the_queue_and_hides_among_its_head(made):
    given = assign_blindly(made.store, request())

    rows = blind_rows(made)
    assert (given.drawn, given.decoys, given.frame) == (2, 2, 9)
    assert sorted(row[2] for row in rows) == ["audit", "audit", "ranked", "ranked"]
    assert len({row[:2] for row in rows}) == len({row[3] for row in rows}) == 4
    assert all(1 <= row[3] <= 8 for row in rows)


def test_the_same_seed_draws_the_same(make_annotated, made):
    assign_blindly(made.store, request())
    first = blind_rows(made)
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM blind_items")
    assign_blindly(made.store, request())

    assert blind_rows(made) == first
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM blind_items")
    assign_blindly(made.store, request(seed=4))
    assert blind_rows(made) != first


def test_slots_do_not_tell_the_arm():
    """Over many seeds, what was drawn stands before and after the queue's head alike."""
    drawn = _Drawn((("c-1", "liver"),), 9, None)
    first = [
        _shuffled(drawn, [("c-2", "liver")], np.random.default_rng(seed))[0].arm
        for seed in range(1000)
    ]

    # Five standard errors of a fair coin.
    assert abs(first.count("audit") - 500) < 80


def test_what_a_reader_has_seen_or_waits_for_is_not_drawn(made, readings):
    for case_id in made.case_ids[:2]:
        readings.review(case_id, "liver", "accept")
    assert assign_blindly(made.store, request(random=1, structures=("liver",))).frame == 1

    with pytest.raises(UsageError, match="there are 0, not 1"):
        assign_blindly(made.store, request(random=1, structures=("liver",)))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"random": None}, "needs --random"),
        ({"random": 99}, "there are 9, not 99"),
        ({"set_name": "s"}, "no set 's'"),
        ({"known_truth": "committee"}, "a truth comes from a dataset"),
        ({"known_truth": "reader:bert"}, "a truth comes from a dataset"),
        ({"known_truth": "reader:anna/independent"}, "cannot be the truth for anna"),
        ({"known_truth": "dataset:none"}, "holds no label"),
        ({"reader": "a:b"}, "no colon"),
    ],
)
def test_wrong_requests_are_refused_and_nothing_is_written(made, changes, match):
    before = made.store.journal.path.read_text()

    with pytest.raises(UsageError, match=match):
        assign_blindly(made.store, request(**changes))

    assert made.store.journal.path.read_text() == before


def known(made, readings):
    """Truths: the consensus' liver, one that is absent, and one far from the consensus."""
    first, second, third = made.case_ids
    readings.import_label(first, "liver", readings.ball(first, centre=0.35, radius=0.3))
    readings.import_label(second, "liver", ABSENT)
    readings.import_label(third, "liver", readings.ball(third, centre=-0.35, radius=0.3))
    return request(random=3, known_truth="dataset:flare", decoys=0)


def test_known_truths_are_compared_with_what_the_reader_said(made, readings):
    first, second, third = made.case_ids
    assign_blindly(made.store, known(made, readings))
    assert known_truth_results(made.store) == []

    readings.review(first, "liver", "accept")
    readings.review(second, "liver", "absent")
    readings.review(third, "liver", "reject")

    found = {one.case_id: one for one in known_truth_results(made.store)}
    assert (found[first].dsc, found[first].shown_dsc) == (1.0, 1.0)
    assert (found[second].is_absent_right, found[second].shown_dsc) == (True, 0.0)
    assert (found[third].dsc, found[third].shown_dsc) == (None, 0.0)
    assert all(one.passes(0.8) for one in found.values())


@pytest.mark.parametrize(
    ("case", "verdict"), [(0, "absent"), (0, "reject"), (1, "accept"), (2, "accept")]
)
def test_wrong_answers_do_not_pass(made, readings, case, verdict):
    assign_blindly(made.store, known(made, readings))

    readings.review(made.case_ids[case], "liver", verdict)

    (result,) = known_truth_results(made.store)
    assert not result.passes(0.5)


def test_a_correction_is_measured_against_the_truth(made, readings):
    third = made.case_ids[2]
    assign_blindly(made.store, known(made, readings))
    nearly = readings.ball(third, centre=-0.35, radius=0.28)
    truth = readings.ball(third, centre=-0.35, radius=0.3)

    readings.review(third, "liver", "correct", mask=nearly)

    (result,) = known_truth_results(made.store)
    # The smaller ball lies within the larger one.
    assert result.dsc == pytest.approx(2 * nearly.voxels / (nearly.voxels + truth.voxels))
    assert result.shown_dsc == 0.0


def test_a_reader_qualifies_by_the_whole_set(made, readings):
    wanted = replace(known(made, readings), set_name="starters", least_share=0.6)
    assign_blindly(made.store, wanted)
    first, second, third = made.case_ids
    readings.review(first, "liver", "accept")
    readings.review(second, "liver", "absent")
    (row,) = qualifications(made.store, "starters")
    assert (row.judged, row.passed, row.outcome) == (2, 2, "not finished")

    readings.review(third, "liver", "accept")

    (row,) = qualifications(made.store, reader="anna")
    assert (row.judged, row.passed, row.outcome) == (3, 2, "qualified")
    assert replace(row, least_share=0.7).outcome == "not qualified"
    with pytest.raises(UsageError, match="known are starters"):
        qualifications(made.store, "others")


def test_a_known_set_is_given_whole_to_another_reader(made, readings):
    assign_blindly(made.store, replace(known(made, readings), set_name="starters"))

    again = BlindRequest(reader="bert", set_name="starters", seed=8, decoys=0)
    assert assign_blindly(made.store, again).drawn == 3

    assert [(row.reader, row.judged) for row in qualifications(made.store)] == [
        ("anna", 0),
        ("bert", 0),
    ]
    with pytest.raises(UsageError, match="is known: 3 items"):
        assign_blindly(made.store, replace(again, reader="cleo", random=2))


def test_an_independent_reading_can_be_the_truth(made, readings):
    case_id = made.case_ids[0]
    mask = readings.ball(case_id, centre=0.35, radius=0.3)
    readings.read(case_id, "liver", reader="bert", mask=mask)
    wanted = request(random=1, known_truth="reader:bert/independent", decoys=0)
    assign_blindly(made.store, wanted)

    readings.review(case_id, "liver", "accept")

    (result,) = known_truth_results(made.store, reader="anna")
    assert (result.dsc, result.truth) == (1.0, "reader:bert/independent")


def test_commands_tell_numbers_and_no_item(made, readings):
    known(made, readings)
    root = str(made.store.workspace.root)

    def run(*arguments):
        result = CliRunner().invoke(app, [*arguments, "-w", root])
        assert result.exit_code == 0, result.output
        return result.stdout

    said = run("assign", "--reader", "anna", "--audit", "--random", "1", "--structure", "spleen")
    truth = ["--known-truth", "dataset:flare", "--set", "starters"]
    said += run("assign", "--reader", "anna", *truth, "--random", "2", "--decoys", "1")
    listed = run("assign", "--list")
    assert "5 blind items" not in said
    assert "3 blind items" in said
    assert not [case_id for case_id in made.case_ids if case_id in said + listed]
    assert "known_truth" in listed
    for row in blind_rows(made):
        if row[2] == "known_truth":
            readings.review(row[0], row[1], "accept")
    assert "anna" in run("agreement", "--known-truth")
    (row,) = json.loads(run("qualify", "starters", "--json"))
    assert (row["items"], row["judged"]) == (2, 2)
    assert "starters" in run("qualify")
    assert sum(one.assigned for one in blind_counts(made.store, "anna")) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ("--audit", "--set", "s", "--reader", "anna", "--random", "1"),
        ("--audit", "--random", "1"),
        ("--audit", "--reader", "anna", "--case", "c-1", "--random", "1"),
    ],
)
def test_mixed_up_flags_end_with_2(made, arguments):
    root = str(made.store.workspace.root)

    assert CliRunner().invoke(app, ["assign", *arguments, "-w", root]).exit_code == 2
