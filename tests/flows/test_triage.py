import json

import pytest
from typer.testing import CliRunner

from flows.annotate import annotate
from flows.cli import app
from flows.intake import intake
from flows.queue import show_queue, within_minutes
from flows.queue_page import write_queue_page
from flows.runs import started_by
from flows.triage import triage
from storage.model_registry import configured_committee
from storage.queue import is_queue_stale, queue_size, ranked_how


@pytest.fixture
def annotated(store, write_ct, tmp_path):
    for seed in range(3):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    intake(store, [tmp_path / "cts"])
    annotate(store)
    return store


def test_queue_has_each_structure_of_each_case_at_most_once(annotated):
    triage(annotated)

    shown = show_queue(annotated, limit=100)
    keys = [(q.entry.case_id, q.entry.structure) for q in (*shown.present, *shown.possibly_missed)]
    assert len(keys) == len(set(keys)) > 0
    positions = [q.entry.position for q in (*shown.present, *shown.possibly_missed)]
    assert sorted(positions) == list(range(1, len(keys) + 1))


def test_gain_is_expected_of_each_label_and_the_rest_is_said_to_be_uncalibrated(annotated):
    triage(annotated)

    entries = [queued.entry for queued in show_queue(annotated, limit=100).present]
    assert all(entry.gain is not None and entry.gain >= 0 for entry in entries)
    assert all(entry.minutes is not None and entry.minutes > 0 for entry in entries)
    assert all(entry.dsc_low is None for entry in entries)
    with annotated.read() as connection:
        assert "uncalibrated" in ranked_how(connection)["words"]


def test_structures_take_turns_in_round_robin(annotated):
    triage(annotated, policy="round_robin")

    entries = [queued.entry for queued in show_queue(annotated, limit=100).present]
    structures = {entry.structure for entry in entries}
    first_round = [entry.structure for entry in entries[: len(structures)]]
    assert set(first_round) == structures


def test_new_triage_replaces_the_snapshot_whole(annotated):
    triage(annotated)
    with annotated.read() as connection:
        before = queue_size(connection)

    triage(annotated)

    with annotated.read() as connection:
        assert queue_size(connection) == before


def test_queue_is_stale_from_a_closed_case_to_the_next_triage(annotated):
    committee_id = configured_committee(annotated).committee_id
    with annotated.read() as connection:
        before = is_queue_stale(connection, committee_id)

    triage(annotated)

    with annotated.read() as connection:
        assert before
        assert not is_queue_stale(connection, committee_id)
        assert not is_queue_stale(connection, "k-another")


def test_what_started_a_run_is_noted_in_its_line(annotated):
    with started_by(prefect_flow_run="f-1"):
        triage(annotated)
    triage(annotated)

    with annotated.read() as connection:
        rows = connection.execute(
            "SELECT facts ->> '$.started_by.prefect_flow_run' FROM runs "
            "WHERE verb = 'triage' ORDER BY seq"
        ).fetchall()
    assert rows == [("f-1",), (None,)]


def test_log_of_a_run_holds_its_lines(annotated):
    triage(annotated)

    last = max(
        annotated.workspace.runs_path.glob("r-*.jsonl"), key=lambda path: path.stat().st_mtime
    )
    messages = [json.loads(line)["message"] for line in last.read_text().splitlines()]
    assert (messages[0], messages[-1]) == ("triage started", "triage ended")
    assert "nobody is there to audit" in messages[1]


def test_filter_shows_one_structure(annotated):
    triage(annotated)
    structure = show_queue(annotated, limit=1).present[0].entry.structure

    shown = show_queue(annotated, limit=100, structure=structure)

    assert {queued.entry.structure for queued in shown.present} == {structure}


def test_page_of_a_vanished_ct_says_so_instead_of_failing(annotated, tmp_path):
    triage(annotated)
    for path in (tmp_path / "cts").iterdir():
        path.unlink()

    write_queue_page(annotated, show_queue(annotated, limit=2), tmp_path / "q.html")

    assert "No picture: missing_file" in (tmp_path / "q.html").read_text()


def test_triage_of_nothing_gives_an_empty_queue(store):
    assert triage(store) == {"present": 0, "possibly_missed": 0}
    assert show_queue(store, limit=5).present == ()


def test_minutes_reach_as_far_as_labels_and_openings_allow(annotated):
    triage(annotated)
    whole = within_minutes(annotated, 1e6)

    assert whole.labels == whole.waiting > 0
    assert whole.cases == 3
    none, half = within_minutes(annotated, 0.0), within_minutes(annotated, whole.whole_minutes / 2)
    assert (none.labels, none.gain) == (0, None)
    assert 0 < half.labels < whole.labels
    assert 0 < half.gain <= whole.gain


def test_an_unknown_policy_is_wrong_use(annotated):
    result = CliRunner().invoke(
        app, ["triage", "-w", str(annotated.workspace.root), "--policy", "best"]
    )

    assert result.exit_code == 2
    assert "expected_gain" in result.output
