from datetime import datetime

import pytest

from storage import database, projection
from storage.assignments import assign_readings
from storage.lesion_candidates import candidates_of
from storage.predictions import Manifest, StoredCandidate, close_case, manifest_grid
from storage.rebuild import rebuild
from storage.review_case import read_case
from storage.verify import verify
from tests.stored_scores import scores_of

COMMITTEE = "k-00000000000a"
NOW = datetime(2026, 1, 5, 12, 0)


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=2)


def candidate(peak, *, in_mask=False, structure="liver_tumor", host_share=0.5):
    return StoredCandidate(structure, peak, 1.5, (3, 4, 5), host_share, in_mask)


def close(made, case, *candidates, post_process="off"):
    case_id = made.case_ids[case]
    prediction_id = made.prediction_id(case_id)
    with made.store.read() as connection:
        grid = manifest_grid(made.store, prediction_id, connection)
    score = {"member": "committee", "structure": "liver", "volume_ml": 1.0, "removed_ml": 0.25}
    manifest = Manifest(
        case_id,
        COMMITTEE,
        (),
        grid,
        (),
        (),
        (score,),
        post_process=post_process,
        candidates=candidates,
        candidates_left_out={"liver_tumor": 3},
    )
    assert close_case(made.store, manifest, run_id="r-9", seconds=1.0)


def found(made, **choice):
    with made.store.read() as connection:
        records = candidates_of(connection, COMMITTEE, **choice)
    return [(record.case_id, record.candidate) for record in records]


def test_candidates_come_back_as_they_were_highest_peaks_first(made):
    faint, sure = candidate(0.3, host_share=None), candidate(0.9, in_mask=True)
    cyst = candidate(0.5, structure="kidney_cyst")
    close(made, 1, faint, sure)
    close(made, 0, cyst)
    first, second = made.case_ids

    assert found(made) == [(second, sure), (second, faint), (first, cyst)]
    assert found(made, case_ids=[second]) == [(second, sure), (second, faint)]
    assert found(made, in_mask=True) == [(second, sure)]
    assert found(made, in_mask=False) == [(second, faint), (first, cyst)]
    with made.store.read() as connection:
        assert candidates_of(connection, "k-000000000001") == []


def test_they_and_what_was_removed_survive_a_rebuild(made):
    close(made, 0, candidate(0.3))
    before = found(made)

    rebuild(made.store)

    assert found(made) == before != []
    with made.store.read() as connection:
        assert [score.removed_ml for score in scores_of(connection, COMMITTEE)] == [0.25]
        old = scores_of(connection, made.committee_id)
    assert {score.removed_ml for score in old} == {None}
    assert verify(made.store).findings == ()


def test_the_rules_of_a_case_are_an_object_that_verify_looks_at(made):
    rules = made.store.objects.put(b"rules")
    close(made, 0, post_process=rules)
    assert verify(made.store).findings == ()

    path = made.store.objects.path(rules)
    path.chmod(0o644)
    path.write_bytes(b"other")

    (finding,) = verify(made.store).findings
    assert rules in finding.place


def test_a_database_from_before_there_were_rules_opens(made, monkeypatch):
    """It is brought to the new schema, keeps its rows, and takes new cases."""
    before = scores(made)
    with monkeypatch.context() as old:
        shipped = database.migrations()
        old.setattr(database, "migrations", lambda: [one for one in shipped if one.version < 6])
        columns = projection._SCORE_ROWS.split(',"removed_ml"')[0] + "}]"
        old.setattr(projection, "_SCORE_ROWS", columns)
        old.setitem(projection._HANDLERS, "queue.ranked", projection._nothing)
        rebuild(made.store)
        with made.store.read() as connection:
            names = connection.execute("SELECT name FROM pragma_table_info('scores')").fetchall()
    assert ("removed_ml",) not in names

    assert scores(made) == before
    close(made, 0, candidate(0.3))

    assert len(found(made)) == 1
    places = [finding.place for finding in verify(made.store).findings]
    # The queue's rows of that time were left out above.
    assert [place for place in places if "queue" not in place] == []


def scores(made):
    with made.store.read() as connection:
        return connection.execute(
            "SELECT member, structure, volume_ml, max_probability FROM scores ORDER BY ALL"
        ).fetchall()


def test_a_case_has_the_places_outside_the_mask_unless_its_reader_is_to_read_blind(made):
    faint, likely = candidate(0.2), candidate(0.4)
    close(made, 0, faint, candidate(0.9, in_mask=True), likely)
    case_id = made.case_ids[0]
    assign_readings(made.store, reader="ben", case_ids=[case_id], structures=["liver_tumor"])

    anna, ben = (
        read_case(made.store, case_id, reader=reader, now=NOW) for reader in ("anna", "ben")
    )

    assert anna.candidates == {"liver_tumor": (likely, faint)}
    assert ben.candidates == {}
