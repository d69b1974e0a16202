"""Training on what datasets and people labeled in the workspace."""

from __future__ import annotations

from dataclasses import replace

import pytest

from configs.errors import UsageError
from flows.train import train_plan
from flows.train_loop import TrainingWatch
from flows.training_plan import TrainingPlan
from storage.cases import all_cases
from storage.labels import ABSENT
from storage.splits import freeze_roles, patient_roles
from storage.store import Store
from storage.training_runs import training_run


@pytest.fixture
def own_plan(tiny_plan: TrainingPlan) -> TrainingPlan:
    settings = replace(tiny_plan.settings, steps=2)
    return replace(tiny_plan, data=(), own_labels=True, settings=settings)


def on_cpu(store: Store) -> Store:
    with store.workspace.settings_path.open("a") as file:
        file.write('[annotate]\ndevice = "cpu"\n')
    return Store.open(store.workspace.root)


def patients(store: Store) -> dict[str, str]:
    with store.read() as connection:
        return {case.case_id: case.patient_id for case in all_cases(connection)}


def test_labels_of_datasets_and_people_train_and_bind_the_model(
    make_annotated, make_readings, own_plan: TrainingPlan
) -> None:
    made = make_annotated(cases=3)
    readings, (one, two, three) = make_readings(made), made.case_ids
    ball = readings.ball(one, centre=0.3, radius=0.4)
    readings.import_label(one, "liver", ball, dataset="kits23")
    readings.review(two, "stomach", "accept")
    readings.import_label(three, "spleen", ABSENT, dataset="lits")
    store = on_cpu(made.store)
    known = patients(store)
    freeze_roles(store, {known[one]: "train", known[two]: "train", known[three]: "report"})

    summary = train_plan(store, own_plan)

    assert summary is not None
    card = summary.model.card
    # The spleen's only label is of a patient who is reported.
    assert list(card["structures"]) == ["liver", "stomach"]
    used = {use["id"]: (use["cases"], use["licence_flag"]) for use in card["datasets"]}
    assert used == {"kits23": (1, "nc"), "review": (1, "none")}
    assert card["licences"]["flags"] == ["nc", "none"]
    assert "trained_on" not in card
    assert training_run(store.workspace, summary.run_id).description["datasets"] == ["kits23"]


def test_who_trains_is_settled_before_the_first_training(
    make_annotated, make_readings, own_plan: TrainingPlan
) -> None:
    made = make_annotated(cases=3)
    readings = make_readings(made)
    for case_id in made.case_ids:
        readings.import_label(case_id, "liver", ABSENT)
    store = on_cpu(made.store)
    freeze_roles(store, {patients(store)[made.case_ids[0]]: "train"})

    summary = train_plan(store, own_plan)

    assert summary is not None
    with store.read() as connection:
        roles = patient_roles(connection)
    assert roles.keys() == set(patients(store).values())
    train = sum(role == "train" for role in roles.values())
    assert [use["cases"] for use in summary.model.card["datasets"]] == [train]


def test_without_a_label_the_remedies_are_named(make_annotated, own_plan: TrainingPlan) -> None:
    store = on_cpu(make_annotated(cases=1).store)

    with pytest.raises(UsageError, match="atlasloop intake --dataset"):
        train_plan(store, own_plan)


def test_a_ct_that_changed_is_announced_and_the_others_train(
    changed_ct, own_plan: TrainingPlan
) -> None:
    store = on_cpu(changed_ct.store)
    told: list[str] = []

    summary = train_plan(store, own_plan, watch=TrainingWatch(announce=told.append))

    assert summary is not None
    assert [use["cases"] for use in summary.model.card["datasets"]] == [1]
    assert f"{changed_ct.changed} is left out, changed_file" in told[0]
