from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from configs.errors import SomeCasesFailedError, UsageError
from configs.taxonomy import load_taxonomy
from flows.cli import app
from flows.intake import intake
from flows.phantom import make_cohort
from flows.validate import ValidateOptions, validate
from flows.validation_cases import cohort_cases
from storage.cases import all_cases
from storage.cohort import read_cohort
from storage.labels import ABSENT, LabelMask, version_json
from storage.masks import encode_mask
from storage.model_card import card_temperatures
from storage.model_registry import registered_model
from storage.predictions import flat_box
from storage.splits import freeze_roles
from storage.store import Store
from storage.volume import Volume

RUNNER = CliRunner()
FIRST = ValidateOptions(model="w0")


@pytest.fixture
def labeled(store: Store, write_ct, tmp_path) -> Store:
    """Three patients of the report: a liver block each, and a tumor in the first alone."""
    for seed in range(3):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    intake(store, [tmp_path / "cts"], workers=1)
    for number, case in enumerate(cases(store)):
        import_label(store, case, "liver", block(store, case, 10))
        import_label(store, case, "liver_tumor", block(store, case, 4) if number == 0 else ABSENT)
    freeze_roles(store, {case.patient_id: "report" for case in cases(store)})
    return store


def cases(store: Store):
    with store.read() as connection:
        return all_cases(connection)


def block(store: Store, case, size: int) -> LabelMask:
    grid = Volume.open(case.files[0].path).grid
    encoded = encode_mask(np.ones((size,) * 3, bool), ((5, 5 + size),) * 3, grid)
    assert encoded.data is not None
    assert encoded.box is not None
    return LabelMask(store.objects.put(encoded.data), flat_box(encoded.box), encoded.voxels)


def import_label(store: Store, case, structure: str, mask: LabelMask) -> None:
    versions = [version_json(structure, mask, parent=None)]
    facts = {"case_id": case.case_id, "dataset": "lits", "versions": versions}
    with store.transaction() as transaction:
        transaction.record("labels.imported", facts)


def test_the_frozen_patients_labels_are_compared(labeled: Store) -> None:
    validation = validate(labeled, FIRST)

    assert registered_model(labeled, "w0").card == {}
    summary = validation.summary
    assert (summary.cases, summary.patients, validation.labels) == (3, 3, {"dataset": 6})
    assert [row.structure for row in summary.structures] == ["liver", "liver_tumor"]
    assert summary.lesions[0].patients_with == 1
    assert summary.lesions[0].patients_free == 2
    assert validation.data == "patients of the role report"
    assert "imported dataset labels" in validation.about
    liver = next(row for row in summary.rows if row.structure == "liver")
    assert liver.reference_present


def test_figures_go_into_the_card_but_no_temperatures_of_the_report(labeled: Store) -> None:
    before = registered_model(labeled, "w0")

    validation = validate(labeled, ValidateOptions(model="w0", keep=True))

    card = registered_model(labeled, "w0").card
    assert validation.kept == ("validations",)
    assert card["validations"]["patients of the role report"]["cases"] == 3
    assert "temperatures" not in card
    assert registered_model(labeled, "w0").weights == before.weights
    page = (labeled.workspace.models_path / "w0.md").read_text()
    assert "## Validation on patients of the role report" in page


def test_a_ct_that_is_gone_is_left_out_and_told(labeled: Store) -> None:
    cases(labeled)[0].files[0].path.unlink()

    validation = validate(labeled, FIRST)

    assert [(one.case_id, str(one.reason)) for one in validation.failed] == [
        (cases(labeled)[0].case_id, "missing_file")
    ]
    assert validation.summary.cases == 2
    with pytest.raises(SomeCasesFailedError, match="missing_file"):
        validation.raise_for_failures()

    for case in cases(labeled)[1:]:
        case.files[0].path.unlink()
    with pytest.raises(SomeCasesFailedError, match="3 cases failed"):
        validate(labeled, FIRST)


def test_nothing_to_validate_on_is_told_with_the_remedy(labeled: Store) -> None:
    with pytest.raises(UsageError, match="the role gate has none"):
        validate(labeled, ValidateOptions(model="w0", role="gate"))
    with pytest.raises(UsageError, match=r"\(reviews\) has none"):
        validate(labeled, ValidateOptions(model="w0", reviews=True))
    with pytest.raises(UsageError, match="known are: w0, w1"):
        validate(labeled, ValidateOptions(model="w7"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Two CTs of thick slices."""
    out = tmp_path_factory.mktemp("cohort") / "phantoms"
    make_cohort(out, cases=2, seed=3, sites=["cedar"], workers=1)
    return out


@pytest.mark.slow
def test_a_cohorts_temperatures_are_kept(store: Store, cohort: Path) -> None:
    options = ValidateOptions(model="w0", cohorts=(cohort,), surface=False, keep=True)

    validation = validate(store, options)

    card = registered_model(store, "w0").card
    assert validation.summary.cases == 2
    assert validation.kept == ("validations", "temperatures")
    assert set(card["temperatures"]["structures"]) <= {"kidney_right", "liver", "liver_tumor"}
    assert card["temperatures"]["fitted_on"] == "cohort phantoms"
    assert card_temperatures(card) == {}  # two patients are too few to fit anything


@pytest.mark.slow
def test_a_cohorts_scans_of_training_patients_are_left_out(store: Store, cohort: Path) -> None:
    first, second = read_cohort(cohort).cases
    intake(store, [first.ct_path], workers=1)
    freeze_roles(store, {case.patient_id: "train" for case in cases(store)})

    found = cohort_cases(store, cohort)

    assert found.left_out == (first.case,)
    assert [source.case_id for source in found.sources] == [second.case]
    shared, whole = (cohort_cases(store, cohort, truth=truth).sources[0] for truth in (False, True))
    assert set(shared.read().references) == set(second.annotated)
    assert set(whole.read().references) == set(load_taxonomy().names)


def test_the_command_writes_table_csv_and_json(labeled: Store, tmp_path: Path) -> None:
    table, figures = tmp_path / "out" / "a.csv", tmp_path / "out" / "a.json"
    call = ["validate", "-m", "w0", "-w", str(labeled.workspace.root), "--no-surface"]

    done = RUNNER.invoke(app, [*call, "--csv", str(table), "--report", str(figures)])

    assert done.exit_code == 0, done.output
    assert "3 CTs of 3 patients" in done.output
    rows = rows_of(table)
    assert len(rows) == 6
    assert {row["role"] for row in rows} == {"report"}
    points = rows_of(tmp_path / "out" / "a.lesions.csv")
    assert points[0]["threshold"] == "0.1"
    assert {point["patient_specificity_of"] for point in points} == {"2"}
    report = json.loads(figures.read_text())
    assert (report["model"], report["labels"]) == ("w0", {"dataset": 6})
    assert not list((tmp_path / "out").glob(".*"))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_models_are_listed_and_shown(store: Store) -> None:
    root = str(store.workspace.root)

    listed = RUNNER.invoke(app, ["weights", "list", "-w", root, "--json"])
    shown = RUNNER.invoke(app, ["weights", "show", "w1", "-w", root])
    unknown = RUNNER.invoke(app, ["weights", "show", "nope", "-w", root])

    assert [model["name"] for model in json.loads(listed.output)] == ["w0", "w1"]
    assert shown.output.startswith("# w1\n")
    assert unknown.exit_code == 2
