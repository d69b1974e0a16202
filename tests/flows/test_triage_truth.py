"""Triage judged by what datasets and independent readers say of a committee's own labels."""

from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from configs.errors import UsageError
from flows import triage_truth, true_labels
from flows.cli import app
from flows.simulated_committee import Simulation
from flows.triage_report import truth_markdown
from flows.triage_truth import TruthPlan, evaluate_on_truth, split_patients
from model.triage import predicted_dsc
from model.triage.evaluation import KnownLabels
from model.triage.score_table import score_table
from storage.label_sources import parse_source
from storage.labels import ABSENT

FLARE = parse_source("dataset:flare")


@pytest.fixture
def made(make_annotated):
    """Four patients, each with a liver and a stomach; only member a sees a spleen."""
    made = make_annotated(cases=4)
    with made.store.transaction() as transaction:
        # Their scans are alike; they are not to be taken for one patient's.
        transaction.connection.execute("DELETE FROM twins")
    return made


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


@pytest.fixture
def four_livers(made, readings):
    """A truth of four livers: as drawn, larger, absent, and as drawn."""
    same, larger = {"centre": 0.35, "radius": 0.3}, {"centre": 0.35, "radius": 0.4}
    first, second, third, fourth = made.case_ids
    for case_id, ball in ((first, same), (second, larger), (fourth, same)):
        readings.import_label(case_id, "liver", readings.ball(case_id, **ball))
    readings.import_label(third, "liver", ABSENT)
    return made


def compared(made, source=FLARE, **changes):
    return true_labels.true_labels(made.store, made.committee_id, source, **changes)


def plan(made, **changes):
    return TruthPlan(source=FLARE, committee_id=made.committee_id, seeds=1, **changes)


def named(found):
    table = found.known.table
    return {
        (table.case_ids[case], table.structures[structure]): (dsc, present)
        for case, structure, dsc, present in zip(
            table.case, table.structure, found.known.dsc, found.known.present, strict=True
        )
    }


def run(*arguments):
    return CliRunner().invoke(app, ["triage", *arguments], env={"COLUMNS": "300"})


def test_the_true_dsc_is_that_of_the_consensus_with_the_source(made, readings, four_livers):
    first, second, third, fourth = made.case_ids
    readings.import_label(first, "spleen", readings.ball(first, centre=-0.6, radius=0.15))
    readings.import_label(second, "spleen", ABSENT)
    # The consensus' ball lies within the larger one of the same centre.
    small, large = (
        readings.ball(second, centre=0.35, radius=radius).voxels for radius in (0.3, 0.4)
    )

    found = named(compared(made))

    assert found[first, "liver"] == (1.0, True)
    assert found[second, "liver"] == (pytest.approx(2 * small / (small + large)), True)
    assert found[first, "spleen"] == (0.0, True)
    assert found[fourth, "liver"] == (1.0, True)
    for absent in ((third, "liver"), (second, "spleen")):
        assert np.isnan(found[absent][0])
        assert not found[absent][1]
    assert len(found) == 6


def test_a_pair_of_masks_is_decoded_once(made, four_livers, monkeypatch):
    before = named(compared(made))
    monkeypatch.setattr(true_labels, "paired_crops", lambda *_: pytest.fail("decoded again"))

    assert str(named(compared(made))) == str(before)


def test_a_damaged_mask_is_left_out_and_named(made, four_livers, caplog):
    store = made.store
    with store.read() as connection:
        digest = connection.execute(
            "SELECT object FROM label_versions WHERE case_id = ? AND source = 'dataset:flare'",
            [made.case_ids[1]],
        ).fetchone()[0]
    store.objects.path(digest).write_bytes(b"no mask")

    found = named(compared(made))

    assert {case_id for case_id, _ in found} == set(made.case_ids) - {made.case_ids[1]}
    assert "is not compared" in caplog.text


def test_independent_readings_count_unless_their_reader_saw_the_mask(made, readings):
    first, second, *_ = made.case_ids
    readings.review(first, "liver", "accept", reader="ben")
    for case_id in (first, second):
        mask = readings.ball(case_id, centre=0.35, radius=0.3)
        readings.read(case_id, "liver", reader="ben", mask=mask)

    found = compared(made, parse_source("reader:ben/independent"))

    assert set(named(found)) == {(second, "liver")}
    assert found.saw_ai == 1


@pytest.mark.parametrize("text", ["committee", "member:a", "reader:ben"])
def test_a_source_that_saw_the_masks_is_no_truth(made, text):
    with pytest.raises(UsageError, match="a truth never saw the AI's masks"):
        compared(made, parse_source(text))


def test_what_has_no_truth_is_said(made, readings, four_livers):
    with pytest.raises(UsageError, match=r"dataset:none holds no label.*dataset:flare"):
        compared(made, parse_source("dataset:none"))
    with pytest.raises(UsageError, match=r"k-other annotated no case.*k-000000000001"):
        true_labels.true_labels(made.store, "k-other", FLARE)
    readings.review(made.case_ids[0], "liver", "accept", reader="ben")
    readings.read(
        made.case_ids[0],
        "liver",
        reader="ben",
        mask=readings.ball(made.case_ids[0], centre=0.35, radius=0.3),
    )
    with pytest.raises(UsageError, match="says nothing, without having seen the AI's mask"):
        compared(made, parse_source("reader:ben/independent"))


def test_cases_that_members_trained_on_are_left_out(made, four_livers, monkeypatch):
    trained = set(made.case_ids[:1])
    monkeypatch.setattr(true_labels, "maybe_trained_on", lambda *_: trained)

    found = compared(made)

    assert {case_id for case_id, _ in named(found)} == set(made.case_ids[1:])
    assert found.trained == 1
    assert len(named(compared(made, trained_too=True))) == 4
    trained.update(made.case_ids)
    with pytest.raises(UsageError, match=r"each of the 4 annotated cases.*--trained-too"):
        compared(made)


def test_what_triage_expects_now_is_judged_with_its_words(made, four_livers):
    evaluation = evaluate_on_truth(made.store, plan(made))

    group = evaluation.group
    dsc = [one for one, present in named(compared(made)).values() if present]
    # Members agree by 0.7 on every liver, which stands in for a DSC.
    assert group.errors.predicted == pytest.approx(np.mean(np.abs(np.array(dsc) - 0.7)))
    assert group.errors.n == 3
    assert "uncalibrated: agreement of the members stands in" in evaluation.words
    assert (evaluation.patients, evaluation.fitted, evaluation.taught) == (4, 0, 0)
    assert (group.patients, group.labels, group.coverage.patients) == (4, 4, 0)
    # Nobody can order labels of equal scores.
    assert {one.name: one.within.spearman for one in group.orders}["predicted DSC"] is None


def test_patients_whose_reviews_taught_triage_are_not_tested(
    made, readings, four_livers, monkeypatch
):
    readings.review(made.case_ids[0], "stomach", "accept")
    monkeypatch.setattr(predicted_dsc, "LEAST_PATIENTS", 1)

    evaluation = evaluate_on_truth(made.store, plan(made))

    assert (evaluation.taught, evaluation.group.patients) == (1, 3)
    readings.review(made.case_ids[1], "stomach", "accept")
    with pytest.raises(UsageError, match=r"needs 3 patients.*got 2; .* reviews of 2 more"):
        evaluate_on_truth(made.store, plan(made))


def test_patients_are_split_whole_by_the_seed():
    patient = np.repeat(np.arange(60), 3).astype(np.int32)

    parts, again, other = (split_patients(patient, fit_share=0.5, seed=seed) for seed in (0, 0, 1))

    groups = [set(patient[own].tolist()) for own in (parts.fitted, parts.calibrating, parts.tested)]
    assert [len(group) for group in groups] == [30, 15, 15]
    assert set.union(*groups) == set(range(60))
    assert (parts.fitted.astype(int) + parts.calibrating + parts.tested == 1).all()
    assert (parts.fitted == again.fitted).all()
    assert (parts.fitted != other.fitted).any()


def test_too_few_patients_to_fit_are_counted(made, four_livers):
    with pytest.raises(UsageError, match="of 4 patients with a truth leaves 2 to fit, 1 to cali"):
        evaluate_on_truth(made.store, plan(made, fit_share=0.5))
    with pytest.raises(UsageError, match="between 0 and 1"):
        plan(made, fit_share=1.0)


def many_labels(patients):
    """Two structures a patient, whose members disagree by as much as they err."""
    rng = np.random.default_rng(0)
    case, structure = (part.ravel().astype(np.int32) for part in np.mgrid[:patients, :2])
    error = np.clip(np.array([0.05, 0.15])[structure] * rng.lognormal(0, 0.8, len(case)), 0, 1)
    ones = np.ones(len(case))
    scores = {"pairwise_dice": 1 - error, "volume_ml": 60 * ones, "seeing_members": 3 * ones}
    table = score_table(
        case_ids=[f"c-{number}" for number in range(patients)],
        structures=("liver", "pancreas"),
        case=case,
        patient=case,
        structure=structure,
        scores={**scores, "covering_members": 3 * ones, "max_probability": 0.9 * ones},
    )
    return SimpleNamespace(
        columns=SimpleNamespace(
            numbers={**table.scores, "highest_probability": table["max_probability"]}
        ),
        table=table,
        places=np.arange(len(case)),
        known=KnownLabels(table, 1 - error, ones > 0),
        trained=0,
        saw_ai=0,
    )


def test_a_truth_that_fits_is_tested_on_others(empty_store, monkeypatch):
    found = many_labels(60)
    monkeypatch.setattr(triage_truth, "true_labels", lambda *_, **__: found)
    chosen = TruthPlan(source=FLARE, committee_id="k-1", fit_share=0.5, seeds=2)

    evaluation = evaluate_on_truth(empty_store, chosen)

    group = evaluation.group
    assert (evaluation.fitted, evaluation.calibrating, group.patients) == (30, 15, 15)
    assert evaluation.words == "predicted from scores, fitted to 60 read labels of 30 patients"
    assert group.errors.predicted < 0.5 * group.errors.structure_mean
    assert group.coverage.patients == 15
    assert "fitted on the truth of 30 patients, calibrated on 15" in truth_markdown(
        evaluation, chosen
    )


def test_the_command_prints_and_writes_what_came_out(made, four_livers, tmp_path):
    out = tmp_path / "out.md"
    given = ("evaluate", "--workspace", str(made.store.workspace.root), "--truth", "dataset:flare")

    result = run(*given, "--committee", made.committee_id, "--seeds", "1", "--out", str(out))

    assert result.exit_code == 0, result.output
    assert result.stdout == out.read_text()
    assert result.stdout.startswith("# Triage of committee k-000000000001, evaluated on dataset:")
    assert "4 patients have a truth. Left out: 0 cases" in result.stdout
    assert "| oracle |" in result.stdout
    assert "nan" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--fit-share", "0.5"], "--fit-share goes with --truth"),
        (["evaluate", "--trained-too"], "--trained-too goes with --truth"),
        (["evaluate", "--workspace", "."], "--workspace goes with --truth"),
        (["evaluate", "--truth", "dataset:a", "--final"], "--final is for simulated committees"),
        (["evaluate", "--truth", "dataset:a", "--test", "9"], "--test is for simulated"),
        (["evaluate", "--truth", "dataset:a", "--split-seed", "1"], "goes with --fit-share"),
        (["evaluate", "--truth", "nobody"], "a label source is"),
        (["evaluate", "--truth", "dataset:a", "--fit-share", "2"], "between 0 and 1"),
        (["--policy", "entropy", "evaluate"], "options of evaluate come after"),
    ],
)
def test_options_that_do_not_fit_end_with_2(monkeypatch, arguments, words):
    monkeypatch.setattr(Simulation, "__post_init__", lambda _: pytest.fail("it simulates"))

    result = run(*arguments)

    assert result.exit_code == 2
    assert words in " ".join(result.output.split())
