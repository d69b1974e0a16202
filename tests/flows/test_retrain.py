from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import nibabel
import numpy as np
import pytest

from configs.errors import CaseError, ConflictError, UsageError
from flows.annotate import annotate
from flows.fine_tune import fine_tune, job_data
from flows.intake import intake
from flows.phantom import make_cohort
from flows.retrain import (
    RetrainOptions,
    check_cohorts,
    corrections,
    fine_tune_job,
    retrain,
)
from flows.runs import recorded_run
from flows.split import split
from flows.triage import triage
from model.checkpoint import load_checkpoint
from storage.assignments import assign_readings
from storage.claims import claim_items
from storage.cohort import read_cohort
from storage.gates import Challenge, has_labels_since_gate, last_gate, record_gate
from storage.labels import ABSENT, LabelMask, base_of, reference_labels, version_json
from storage.masks import encode_mask
from storage.model_registry import configured_committee, registered_models
from storage.predictions import flat_box
from storage.rebuild import rebuild
from storage.splits import Role, freeze_roles, patient_groups, patient_roles
from storage.store import Store
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify
from storage.volume import Volume

NOW = datetime(2026, 1, 5, 12, 0)
STEPS = RetrainOptions(steps=2)


@pytest.fixture
def annotated(store: Store, write_ct, tmp_path) -> Store:
    for seed in range(3):
        write_ct(tmp_path / "cts" / f"{seed}.nii.gz", seed=seed)
    intake(store, [tmp_path / "cts"])
    annotate(store)
    triage(store)
    return store


def cases(store: Store) -> list[tuple[str, str]]:
    """Case and patient, in the order of registration."""
    with store.read() as connection:
        return connection.execute(
            "SELECT c.case_id, p.patient_id FROM cases c JOIN current_patients p "
            "ON p.case_id = c.case_id ORDER BY c.seq"
        ).fetchall()


def give_roles(store: Store, *roles: Role) -> list[str]:
    known = cases(store)
    freeze_roles(store, {patient: role for (_, patient), role in zip(known, roles, strict=True)})
    return [case_id for case_id, _ in known]


def judge(store: Store, case_id: str, structure: str, kind: str, mask: LabelMask | None = None):
    claim_items(store, case_id, [structure], reader="anna", now=NOW, lease=timedelta(minutes=5))
    with store.read() as connection:
        base = base_of(connection, case_id, structure)
    assert base is not None
    verdict = Verdict(
        case_id=case_id,
        structure=structure,
        verdict=kind,  # type: ignore[arg-type]
        reader="anna",
        base_version=base[0],
        request_id=f"{case_id}/{structure}/{kind}",
        opened_at=NOW,
        active_s=1.0,
        mask=mask,
    )
    give_verdict(store, verdict, now=NOW)


def drawn(store: Store, case_id: str) -> LabelMask:
    """A block of 8 x 8 x 8 voxels."""
    with store.read() as connection:
        path = connection.execute(
            "SELECT path FROM current_files WHERE case_id = ?", [case_id]
        ).fetchone()[0]
    grid = Volume.open(Path(path)).grid
    encoded = encode_mask(np.ones((8, 8, 8), bool), ((4, 12),) * 3, grid)
    assert encoded.data is not None
    assert encoded.box is not None
    return LabelMask(store.objects.put(encoded.data), flat_box(encoded.box), encoded.voxels)


def test_every_patient_gets_a_role_that_stays(annotated: Store) -> None:
    first = split(annotated)
    again = split(annotated)

    assert (first.added, again.added) == (3, 0)
    assert first.patients == again.patients
    assert sum(first.patients.values()) == 3


def test_twins_share_a_role_and_follow_the_one_that_has_it(empty_store: Store) -> None:
    with empty_store.transaction() as transaction:
        for name in ("a", "b", "c"):
            facts = {"case_id": f"c-{name}", "patient_id": f"p-{name}", "assigned_by": "csv"}
            transaction.record("patient.assigned", facts)
        pair = {"case_a": "c-a", "case_b": "c-c", "similarity": 0.99}
        transaction.record("twins.found", pair)
    freeze_roles(empty_store, {"p-c": "report"})

    split(empty_store)

    with empty_store.read() as connection:
        roles = patient_roles(connection)
        groups = patient_groups(connection)
    assert roles["p-a"] == "report"
    assert groups == [("p-a", "p-c"), ("p-b",)]


def test_a_role_is_never_changed(annotated: Store) -> None:
    ((_, patient), *_) = cases(annotated)
    freeze_roles(annotated, {patient: "gate"})

    with pytest.raises(UsageError, match="frozen"):
        freeze_roles(annotated, {patient: "train"})


def test_only_judged_structures_of_training_patients_are_learned(annotated: Store) -> None:
    first, gate, report = give_roles(annotated, "train", "gate", "report")
    for case_id in (first, gate, report):
        judge(annotated, case_id, "liver", "correct", drawn(annotated, case_id))
    judge(annotated, first, "spleen", "absent")
    judge(annotated, first, "kidney_right", "reject")
    judge(annotated, first, "liver_tumor", "defer")

    labels = corrections(annotated)

    assert [(label.case_id, label.structure) for label in labels] == [
        (first, "liver"),
        (first, "spleen"),
    ]
    member = configured_committee(annotated).members[0]
    loaded = load_checkpoint(member.path)
    names = loaded.network.structures
    job = fine_tune_job(annotated, member, labels, STEPS)
    (sample,) = job_data(job, names, loaded.inference).samples
    assert {names[number] for number in sample.annotated.tolist()} == {"liver", "spleen"}
    assert [names[number] for number in sample.centres] == ["liver"]


def test_without_a_verdict_there_is_nothing_to_learn(annotated: Store) -> None:
    give_roles(annotated, "train", "train", "gate")

    with pytest.raises(UsageError, match="a human judged"):
        retrain(annotated, STEPS)


def test_labels_are_new_until_a_retraining_that_began_after_them_reaches_its_gate(
    annotated: Store,
) -> None:
    def is_there_something_new() -> bool:
        with annotated.read() as connection:
            return has_labels_since_gate(connection)

    def retrain_to_the_gate(meanwhile: str | None = None) -> None:
        with recorded_run(annotated, "retrain", {}):
            if meanwhile is not None:
                judge(annotated, first, meanwhile, "absent")
            record_gate(annotated, [], outcome="underpowered", reason="few", evidence={})

    first, *_ = give_roles(annotated, "train", "gate", "report")
    seen = [is_there_something_new()]
    judge(annotated, first, "liver", "absent")
    seen.append(is_there_something_new())
    with recorded_run(annotated, "retrain", {}):
        seen.append(is_there_something_new())
    seen.append(is_there_something_new())
    retrain_to_the_gate()
    seen.append(is_there_something_new())
    retrain_to_the_gate(meanwhile="spleen")
    seen.append(is_there_something_new())

    assert seen == [False, True, True, True, False, True]


def test_fine_tuning_starts_from_the_champion(annotated: Store) -> None:
    first, *_ = give_roles(annotated, "train", "gate", "gate")
    judge(annotated, first, "liver", "correct", drawn(annotated, first))
    member = configured_committee(annotated).members[0]
    job = fine_tune_job(annotated, member, corrections(annotated), STEPS)

    first_fit, second_fit = fine_tune(job), fine_tune(job)

    assert first_fit.checkpoint == second_fit.checkpoint
    assert first_fit.card["retrained_steps"] == 2
    assert first_fit.checkpoint != member.path.read_bytes()


def test_too_few_patients_do_not_promote_and_the_journal_says_so(annotated: Store) -> None:
    before = registered_models(annotated)
    first, gate, _ = give_roles(annotated, "train", "gate", "report")
    judge(annotated, first, "liver", "correct", drawn(annotated, first))
    judge(annotated, gate, "liver", "correct", drawn(annotated, gate))

    summary = retrain(annotated, STEPS)

    assert summary.decision.outcome == "underpowered"
    assert summary.gate_patients == 1
    assert registered_models(annotated) == before
    with annotated.read() as connection:
        assert last_gate(connection) == (summary.gate_id, "underpowered", summary.decision.reason)


def test_promotion_changes_the_committee_and_survives_a_rebuild(annotated: Store) -> None:
    first, gate, _ = give_roles(annotated, "train", "gate", "report")
    judge(annotated, first, "liver", "correct", drawn(annotated, first))
    judge(annotated, gate, "spleen", "absent")
    before = configured_committee(annotated)
    # Nothing speaks against it: without DSC rows and with an equal rate of false positives.
    options = RetrainOptions(steps=1, members=("m0",), accept_underpowered=True)

    summary = retrain(annotated, options)

    after = configured_committee(annotated)
    assert summary.decision.outcome == "promoted"
    assert after.committee_id != before.committee_id
    assert after.members[1] == before.members[1]
    assert after.members[0].weights != before.members[0].weights
    rebuild(annotated)
    assert configured_committee(annotated) == after
    verify(annotated).raise_for_findings()
    assert len(annotate(annotated).closed) == 3


def test_a_champion_that_was_replaced_meanwhile_is_a_conflict(annotated: Store) -> None:
    challenge = Challenge("m0", "w0", "0" * 64, annotated.put_json({"weights": 1}), {})

    with pytest.raises(ConflictError, match="replaced while"):
        record_gate(annotated, [challenge], outcome="promoted", reason="", evidence={})


def test_an_unknown_member_is_named(annotated: Store) -> None:
    with pytest.raises(UsageError, match="members are m0, m1; got m7"):
        retrain(annotated, RetrainOptions(members=("m7",)))


def read_alone(store: Store, case_id: str, mask: LabelMask | None) -> None:
    """One structure, liver, drawn without the AI's mask; absent without a mask."""
    assign_readings(store, reader="ben", case_ids=[case_id], structures=["liver"])
    verdict = Verdict(
        case_id=case_id,
        structure="liver",
        verdict="absent" if mask is None else "correct",
        reader="ben",
        base_version=None,
        request_id=f"alone-{mask is None}",
        opened_at=NOW,
        active_s=1.0,
        reading="independent",
        mask=mask,
    )
    give_verdict(store, verdict, now=NOW)


def test_a_reading_without_the_ais_mask_judges_before_dataset_and_review(annotated: Store) -> None:
    _, gate, _ = give_roles(annotated, "train", "gate", "report")

    def reference() -> LabelMask:
        with annotated.read() as connection:
            return reference_labels(connection, role="gate")[gate, "liver"].mask

    block = drawn(annotated, gate)
    judge(annotated, gate, "liver", "correct", block)
    reviewed = reference()
    read_alone(annotated, gate, None)
    read = reference()
    with annotated.transaction() as transaction:
        version = version_json("liver", block, parent=None)
        transaction.record(
            "labels.imported", {"case_id": gate, "dataset": "later", "versions": [version]}
        )

    assert (reviewed, read) == (block, ABSENT)
    assert reference() == ABSENT


def test_a_cohort_with_a_frozen_patients_scan_is_refused(annotated: Store, tmp_path) -> None:
    make_cohort(tmp_path / "sites", cases=1, seed=3, sites=["aspen"], workers=1)
    (case,) = read_cohort(tmp_path / "sites").cases
    (taken,) = intake(annotated, [case.ct_path]).taken
    patient = dict(cases(annotated))[taken.case_id]
    check_cohorts(annotated, [tmp_path / "sites"])
    freeze_roles(annotated, {patient: "report"})

    with pytest.raises(UsageError, match=f"never judge it: sites holds {taken.case_id}"):
        check_cohorts(annotated, [tmp_path / "sites"])


def test_a_judged_ct_that_changed_ends_a_retraining(annotated: Store, tmp_path: Path) -> None:
    train, other, _ = give_roles(annotated, "train", "train", "gate")
    judge(annotated, train, "liver", "correct", drawn(annotated, train))
    judge(annotated, other, "liver", "correct", drawn(annotated, other))
    with annotated.read() as connection:
        row = connection.execute("SELECT path FROM current_files WHERE case_id = ?", [train])
        path = Path(row.fetchone()[0])
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + np.int16(1), image.affine), path)

    with pytest.raises(CaseError, match=f"{train} cannot be trained on"):
        retrain(annotated, STEPS)


def test_a_card_keeps_the_terms_of_the_labels_it_learned(annotated: Store) -> None:
    train, *_ = give_roles(annotated, "train", "gate", "report")
    version = version_json("liver", drawn(annotated, train), parent=None)
    with annotated.transaction() as transaction:
        facts = {"case_id": train, "dataset": "kits23", "versions": [version]}
        transaction.record("labels.imported", facts)
    member = configured_committee(annotated).members[0]
    job = fine_tune_job(annotated, member, corrections(annotated), STEPS)

    card = fine_tune(job).card

    assert "nc" in card["licences"]["flags"]
    assert {"from": "kits23", "flag": "nc", "licence": "CC BY-NC-SA (data), MIT (code)"} in (
        card["licences"]["inherited"]
    )
