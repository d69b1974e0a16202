"""What training and reports take where a second reader has to approve."""

from datetime import datetime

import pytest

from configs.settings import load_settings
from flows.training_cases import stored_labels
from flows.validation_cases import workspace_cases
from storage.approvals import Decision, decide
from storage.cases import all_cases
from storage.readers import Actor
from storage.store import Store

NOW = datetime(2026, 1, 5, 12, 0)


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def with_role(made, role):
    with made.store.read() as connection:
        (case,) = all_cases(connection)
    with made.store.transaction() as transaction:
        transaction.record("split.frozen", {"roles": {case.patient_id: role}})


def store(made, *, four_eyes):
    settings = load_settings(None, {"review": {"four_eyes": four_eyes}}).settings
    return Store.open(made.store.workspace.root, settings)


def approve(made, structure):
    with made.store.read() as connection:
        (verdict_id,) = connection.execute(
            "SELECT verdict_id FROM current_verdicts WHERE structure = ?", [structure]
        ).fetchone()
    decision = Decision(verdict_id=verdict_id, outcome="approved", by=Actor("ben"))
    decide(made.store, decision, now=NOW)


def sources(made, *, four_eyes):
    labels = stored_labels(store(made, four_eyes=four_eyes))
    return {label.structure: label.source for label in labels}


def test_training_takes_approved_reviews_and_datasets_labels_for_the_rest(made, readings):
    case_id = made.case_ids[0]
    with_role(made, "train")
    for structure, radius in (("liver", 0.2), ("stomach", 0.25)):
        mask = readings.ball(case_id, centre=0.35, radius=radius)
        readings.import_label(case_id, structure, mask)
        readings.review(case_id, structure, "accept")
    readings.review(case_id, "spleen", "absent")
    approve(made, "liver")

    assert sources(made, four_eyes=False) == dict.fromkeys(
        ("liver", "stomach", "spleen"), "reader:anna"
    )
    assert sources(made, four_eyes=True) == {"liver": "reader:anna", "stomach": "dataset:flare"}


def test_reports_take_approved_reviews_only(made, readings):
    with_role(made, "gate")
    readings.review(made.case_ids[0], "liver", "accept")

    def count(*, four_eyes):
        found = workspace_cases(store(made, four_eyes=four_eyes), "gate", reviews=True)
        return len(found.sources)

    assert (count(four_eyes=False), count(four_eyes=True)) == (1, 0)
    approve(made, "liver")
    assert count(four_eyes=True) == 1
