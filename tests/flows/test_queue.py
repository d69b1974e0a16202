import pytest
from typer.testing import CliRunner

from configs.errors import AccessError
from flows.cli import app
from flows.queue import show_queue
from storage.assignments import assign_readings
from storage.blind_items import BlindBatch, BlindItem, assign_blind
from storage.queue import QueueEntry, write_queue
from storage.reader_registry import register_reader
from storage.readers import Actor
from storage.roles import Role

CANARY = "told by a canary"


@pytest.fixture
def made(make_annotated):
    """Two cases; the blind item and the unaided reading have words and numbers of their own."""
    made = make_annotated(cases=2)
    first, second = made.case_ids
    keys = [(first, "liver"), (second, "liver"), (first, "stomach"), (second, "spleen")]
    entries = [
        QueueEntry(
            position=position,
            kind="possibly_missed" if structure == "spleen" else "present",
            case_id=case_id,
            structure=structure,
            risk=0.4242 if position in (2, 4) else 0.5,
            reason=CANARY if position in (2, 4) else "members disagree",
            predicted_dsc=0.4242 if position in (2, 4) else None,
        )
        for position, (case_id, structure) in enumerate(keys, 1)
    ]
    write_queue(made.store, entries, committee_id=made.committee_id, policy="disagreement")
    return made


def give(made, reader="anna"):
    _, second = made.case_ids
    batch = BlindBatch(
        reader=reader, items=(BlindItem(second, "liver", "audit", 1),), frame=4, seed=0
    )
    assign_blind(made.store, batch)
    assign_readings(made.store, reader=reader, case_ids=[second], structures=["spleen"])


@pytest.mark.parametrize("flags", [[], ["--json"], ["--html"], ["--as", "bert"]])
def test_no_form_of_the_queue_tells_of_what_is_to_be_judged_blind_or_unaided(made, tmp_path, flags):
    page = tmp_path / "q.html"
    flags = ["--html", str(page)] if flags == ["--html"] else flags
    command = ["queue", "-w", str(made.store.workspace.root), *flags]

    def shown():
        result = CliRunner(env={"COLUMNS": "300"}).invoke(app, command)
        assert result.exit_code == 0, result.output
        return result.stdout + (page.read_text() if page.exists() else "")

    before = shown()
    assert CANARY in before
    give(made)

    after = shown()

    assert CANARY not in after
    assert ".42" not in after
    assert made.case_ids[1] not in after
    pictures = (before.count("data:image/png"), after.count("data:image/png"))
    assert pictures == ((4, 2) if page.exists() else (0, 0))


@pytest.mark.parametrize(("policy", "column"), [("expected_gain", "gain"), ("entropy", "score")])
def test_the_number_is_called_what_it_was_ranked_by(made, policy, column):
    entries = [one.entry for one in show_queue(made.store, limit=9).present]
    write_queue(made.store, entries, committee_id=made.committee_id, policy=policy)

    result = CliRunner(env={"COLUMNS": "300"}).invoke(
        app, ["queue", "-w", str(made.store.workspace.root)]
    )

    named = {"gain", "score"} & set(result.stdout.replace("┃", " ").split())
    assert named == {column}


def test_places_are_counted_without_a_gap(made):
    give(made)

    shown = show_queue(made.store, limit=9)

    assert [queued.entry.position for queued in shown.present] == [1, 2]
    assert shown.possibly_missed == ()


def test_where_readers_are_registered_each_sees_what_is_not_theirs_to_judge_blind(made):
    ada = Actor("ada")
    register_reader(made.store, "ada", Role.ADMIN, by=ada)
    register_reader(made.store, "anna", Role.ANNOTATOR, by=ada)
    _, second = made.case_ids
    batch = BlindBatch(
        reader="anna", items=(BlindItem(second, "liver", "audit", 1),), frame=4, seed=0
    )
    assign_blind(made.store, batch, by=ada)

    def seen(reader):
        shown = show_queue(made.store, limit=9, reader=reader)
        return (second, "liver") in {
            (one.entry.case_id, one.entry.structure) for one in shown.present
        }

    assert (seen("anna"), seen("ada")) == (False, True)
    for stranger in ("eve", None):
        with pytest.raises(AccessError):
            show_queue(made.store, limit=9, reader=stranger)
