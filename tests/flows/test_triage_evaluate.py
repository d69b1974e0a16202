"""Evaluation on simulated committees, whose cases are made by hand here."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from configs.errors import UsageError
from flows import triage_evaluate as module
from flows.cli import app
from flows.simulated_committee import Simulation
from flows.triage_evaluate import EvaluationPlan, evaluate_triage
from flows.triage_report import evaluation_markdown
from model.grid import Grid
from model.scores import COMMITTEE, ScoreRow
from model.simulated_committee.case import SimulatedCase
from model.simulated_committee.table import PatientCase

GRID = Grid((4, 4, 4), (3.0, 3.0, 3.0))
STRUCTURES = ("liver", "spleen", "pancreas")
PLAN = EvaluationPlan(fit=25, calibrate=12, test=15, seeds=1)


def score_row(structure, member, *, dice, volume_ml):
    return ScoreRow(
        structure=structure,
        member=member,
        volume_ml=volume_ml,
        pairwise_dice=dice,
        self_consistency=None,
        entropy_mean=None,
        inconsistency=None,
        max_probability=0.9 if volume_ml else 0.1,
        removed_ml=0.0,
        overlap_exclusive=0.0,
    )


def made_case(seed):
    """Three structures whose members disagree by as much as they err; some have no spleen."""
    rng = np.random.default_rng(seed)
    rows, dsc, present = [], {}, {}
    for place, name in enumerate(STRUCTURES):
        present[name] = bool(name != "spleen" or rng.random() < 0.8)
        error = float(np.clip((0.05 + 0.05 * place) * rng.lognormal(0, 0.8), 0, 1))
        volume_ml = 60.0 if present[name] else 0.0
        if present[name]:
            dsc[name] = 1 - error
        for member in (COMMITTEE, "a", "b"):
            rows.append(score_row(name, member, dice=1 - error, volume_ml=volume_ml))
    return SimulatedCase(
        rows=tuple(rows), dsc=dsc, present=present, faults={}, fault_list=(), grid=GRID
    )


@pytest.fixture
def asked(monkeypatch):
    """The simulations that were asked for; nothing is simulated."""
    simulations = []

    def simulated(simulation, *, folder, workers, progress):
        simulations.append(simulation)
        return [
            PatientCase(case_id=f"{simulation.split}-{seed}", patient=seed, case=made_case(seed))
            for seed in seeds_of(simulation)
        ]

    monkeypatch.setattr(module, "simulated_patients", simulated)
    return simulations


@pytest.fixture
def label_map(tmp_path):
    path = tmp_path / "person.nii.gz"
    path.write_bytes(b"never read here")
    return path


def seeds_of(simulation):
    split = simulation.scenario.splits[simulation.split]
    return [split.seed(simulation.first + n) for n in range(simulation.count)]


def evaluated(plan):
    return evaluate_triage(plan, announce=lambda text: None)


def run(*arguments):
    return CliRunner().invoke(app, ["triage", "evaluate", *arguments], env={"COLUMNS": "200"})


def test_development_tests_patients_that_nothing_was_fitted_on(asked):
    evaluation = evaluated(PLAN)

    fit, audit, tested = asked
    seeds = [seed for simulation in asked for seed in seeds_of(simulation)]
    assert len(set(seeds)) == len(seeds) == 25 + 12 + 15
    assert [one.split for one in asked] == ["development", "calibration", "development"]
    assert not any(one.sealed for one in asked)
    assert seeds_of(tested)[0] == seeds_of(fit)[-1] + 1
    assert audit.count == 12
    (group,) = evaluation.groups
    assert (group.group, group.patients, group.labels) == ("development", 15, 45)


def test_the_first_tested_patient_counts_after_those_that_are_fitted_on(asked):
    evaluated(replace(PLAN, first=100))

    assert seeds_of(asked[2]) == list(range(125, 140))


def test_final_runs_make_sealed_faults_on_patients_of_their_own(asked, label_map):
    evaluation = evaluated(replace(PLAN, final=True, label_map=label_map, first=5))

    seeds = [seed for simulation in asked for seed in seeds_of(simulation)]
    assert len(set(seeds)) == len(seeds)
    assert [(one.split, one.sealed, one.first) for one in asked[2:]] == [
        ("held_out", False, 5),
        ("held_out", True, 20),
        ("unseen", False, 5),
        ("unseen", True, 20),
        ("priors", False, 5),
        ("priors", True, 20),
    ]
    assert not any(one.sealed for one in asked[:2])
    assert {one.split for one in asked if one.label_map} == {"priors"}
    assert len(evaluation.groups) == 6


def test_final_runs_without_a_label_map_leave_its_anatomy_out(asked):
    evaluated(replace(PLAN, final=True))

    assert {one.split for one in asked[2:]} == {"held_out", "unseen"}


def test_faults_of_the_scenario_are_not_sealed_in_development():
    with pytest.raises(UsageError, match="final runs"):
        Simulation(split="calibration", count=1, sealed=True)


def test_the_figures_are_those_of_the_tested_labels(asked):
    evaluation = evaluated(PLAN)

    (group,) = evaluation.groups
    cases = [made_case(seed) for seed in seeds_of(asked[2])]
    dsc = np.array([value for case in cases for value in case.dsc.values()])
    assert group.errors.n == len(dsc)
    assert group.bad == int((dsc < 0.8).sum())
    # Scores tell the error, which the structures' means do not.
    assert group.errors.predicted < 0.5 * group.errors.structure_mean
    assert group.out_of_reach == 0
    assert evaluation.split_patients == 10
    assert len(evaluation.splits) == 20
    assert all(one.patients == 2 for one in evaluation.splits)


def test_even_the_fewest_calibration_patients_give_intervals(asked):
    evaluation = evaluated(replace(PLAN, calibrate=10))

    assert evaluation.split_patients == 9
    assert all(one.coverage <= 1 for one in evaluation.splits)


def test_too_few_patients_to_fit_are_said_to_be_uncalibrated(asked):
    plan = replace(PLAN, fit=3)
    evaluation = evaluated(plan)

    report = evaluation_markdown(evaluation, plan)
    assert "uncalibrated" in report
    assert "No intervals: the predicted DSC is not fitted." in report
    assert "nan" not in report


def test_the_report_says_how_it_was_made_and_what_came_out(asked):
    evaluation = evaluated(PLAN)

    report = evaluation_markdown(evaluation, PLAN)

    (group,) = evaluation.groups
    assert "triage evaluate --fit 25 --calibrate 12 --test 15 --first 0 --seeds 1`" in report
    assert "(development patients)" in report
    assert f"{group.bad} labels that are there have a DSC below 0.8." in report
    assert f"mean error {group.errors.predicted:.3f}" in report
    assert "Gross faults: " not in report
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in report.splitlines()}
    oracle = next(one for one in group.replays if one.name == "oracle")
    lines = [line for line in report.splitlines() if line.startswith("| oracle |")]
    assert lines[1] == (
        f"| oracle | {oracle.area:.3f} | 1.00 | 1.00 to 1.00 | {oracle.minutes_95:.0%} | "
        f"{oracle.against_attention:.2f} |"
    )
    assert {one.name for one in (*group.orders, *group.replays)} <= set(rows)
    assert "nan" not in report


def test_the_command_writes_the_report_and_prints_json(asked, tmp_path):
    path = tmp_path / "triage.md"
    numbers = ("--fit", "25", "--calibrate", "12", "--test", "15", "--seeds", "2")

    result = run(*numbers, "--out", str(path), "--json")

    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))
    assert found["groups"][0]["patients"] == 15
    assert path.read_text().startswith("# Triage, evaluated on simulated committees\n")
    assert "fitted; replaying readers" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--calibrate", "9"], "more than 9 calibration patients, got 9"),
        (["--fit", "0"], "--fit"),
        (["--seeds", "0"], "--seeds"),
        (["--fit", "99990", "--test", "11"], "a split has 100000 patients"),
        (["--final", "--label-map", "nowhere.nii.gz"], "no label map nowhere.nii.gz"),
        (["--label-map", "nowhere.nii.gz"], "add --final"),
    ],
)
def test_wrong_arguments_end_with_2_before_anything_is_simulated(asked, arguments, words):
    result = run(*arguments)

    assert result.exit_code == 2
    assert words in result.output
    assert asked == []
