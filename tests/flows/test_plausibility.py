import pytest

from flows import plausibility
from flows.annotate import annotate
from flows.intake import intake
from flows.plausibility import check_cases, check_prediction
from flows.triage import triage
from storage.findings import UncheckedPrediction, findings_of, unchecked_predictions
from storage.model_registry import configured_committee


@pytest.fixture
def taken(store, write_ct, tmp_path):
    for seed in range(2):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    intake(store, [tmp_path / "cts"])
    return store


def waiting(store):
    rules = plausibility.plausibility_in_force("shipped", store.workspace.root)
    committee_id = configured_committee(store).committee_id
    with store.read() as connection:
        return [
            one.case_id for one in unchecked_predictions(connection, committee_id, rules.digest)
        ]


def test_a_case_is_checked_when_it_is_closed(taken):
    annotate(taken)

    assert waiting(taken) == []
    assert check_cases(taken).checked == ()
    with taken.read() as connection:
        rows = connection.execute("SELECT prediction_id FROM predictions").fetchall()
        found = [findings_of(connection, row[0]) for row in rows]
        checks = connection.execute("SELECT count(*) FROM checked_predictions").fetchone()
    assert checks == (2,)
    assert any(found)


def test_a_check_that_fails_leaves_the_case_closed_and_triage_catches_it_up(taken, monkeypatch):
    def broken(*_, **__):
        raise IndexError("a rule's own bug")

    with monkeypatch.context() as patched:
        patched.setattr(plausibility, "check_anatomy", broken)
        summary = annotate(taken)
    assert len(summary.closed) == 2
    assert summary.failed == ()
    assert sorted(waiting(taken)) == sorted(summary.closed)

    triage(taken)

    assert waiting(taken) == []


def test_one_case_that_cannot_be_read_does_not_stop_the_others(taken, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(plausibility, "check_closed_case", lambda *_: None)
        patched.setattr("flows.annotate.check_closed_case", lambda *_: None)
        annotate(taken)
    first, second = waiting(taken)
    real = plausibility.check_prediction

    def damaged(store, one, rules):
        if one.case_id == first:
            raise ValueError("damaged")
        return real(store, one, rules)

    monkeypatch.setattr(plausibility, "check_prediction", damaged)
    summary = check_cases(taken)

    assert summary.checked == (second,)
    assert summary.failed == ((first, "damaged"),)
    assert waiting(taken) == [first]


@pytest.mark.parametrize("flip", [False, True])
def test_a_finding_points_into_the_file_whatever_its_axes(make_annotated, small_affine, flip):
    affine = small_affine.copy()
    if flip:
        affine[:, 0] *= -1
        affine = affine[:, [2, 1, 0, 3]]
    made = make_annotated(affine=affine if flip else None)
    case_id = made.case_ids[0]
    one = UncheckedPrediction(case_id, made.prediction_id(case_id), ("liver", "stomach"))
    rules = plausibility.plausibility_in_force("shipped", made.store.workspace.root)

    found = check_prediction(made.store, one, rules)

    # The balls hold 4 mL; the liver lies to the right of the stomach in RAS, whatever the file.
    liver = next(f for f in found if f.structure == "liver" and f.rule == "volume")
    stomach = next(f for f in found if f.structure == "stomach" and f.rule == "volume")
    assert "less than the 700 mL" in liver.explanation
    with made.store.read() as connection:
        grid = plausibility.manifest_grid(made.store, one.prediction_id, connection)
    right = [grid.voxel_to_ras(f.place)[0] for f in (liver, stomach)]
    assert right[0] > right[1]
    assert all(0 <= v < n for v, n in zip(liver.place, grid.shape, strict=True))
    assert grid.voxel_from_ras(grid.voxel_to_ras(liver.place)) == liver.place
