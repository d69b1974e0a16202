from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from configs.errors import UsageError
from flows.train import train_plan
from flows.train_loop import TrainingWatch
from flows.training_plan import TrainingPlan
from flows.training_validation import training_validation
from model.training import TrainedMember, new_network
from storage.cohort import read_cohort
from storage.store import Store
from storage.training_runs import training_run


@pytest.fixture
def trained(tiny_plan: TrainingPlan) -> TrainedMember:
    network = new_network(tiny_plan.settings, ("spleen", "liver")).eval()
    with torch.no_grad():
        # Everything is in every structure.
        network.head.set_prior_in_place(20.0)
    return TrainedMember(network, tiny_plan.settings.inference, ())


def test_a_cohort_gives_dsc_by_structure(
    training_store: Store, tiny_cohort: Path, trained: TrainedMember
) -> None:
    validate = training_validation(training_store, str(tiny_cohort))
    assert validate is not None

    values = validate(trained, 7)

    masks = [case.read_labels()["liver"] for case in read_cohort(tiny_cohort).cases]
    by_hand = [2 * mask.sum() / (mask.sum() + mask.size) for mask in masks]
    assert values["liver"] == pytest.approx(sum(by_hand) / 2)
    assert set(values) == {"spleen", "liver", "macro", "macro_organs"}


def test_without_patients_who_judge_nothing_is_validated(training_store: Store) -> None:
    assert training_validation(training_store, None) is None
    with pytest.raises(UsageError, match="report has none"):
        training_validation(training_store, "report")
    with pytest.raises(UsageError, match="got 'nowhere'"):
        training_validation(training_store, "nowhere")


def test_cases_that_judge_nothing_leave_the_training_alone(
    training_store: Store, tiny_cohort: Path, trained: TrainedMember, caplog
) -> None:
    validate = training_validation(training_store, str(tiny_cohort))
    assert validate is not None
    network = new_network_of(trained, ("uterus",))

    with caplog.at_level(logging.WARNING):
        values = validate(network, 3)

    assert values == {}
    assert "no validation after step 3" in caplog.text


def new_network_of(trained: TrainedMember, structures: tuple[str, ...]) -> TrainedMember:
    trained.network.structures = structures
    return trained


def test_figures_are_in_the_curves_of_a_run(
    training_store: Store, tiny_plan: TrainingPlan, monkeypatch
) -> None:
    monkeypatch.setattr("flows.training_curves.draw_curves", lambda path, *_: path.touch())
    watch = TrainingWatch(validate=training_validation(training_store, str(tiny_plan.data[0])))

    train_plan(training_store, tiny_plan, watch=watch)

    rows = training_run(training_store.workspace, "last").validation_csv.read_text().splitlines()
    assert any(row.startswith("8,macro,") for row in rows)
