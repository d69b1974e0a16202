"""Train the committee's members on what people corrected, and let the gate decide."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from configs.errors import NothingToLearnError, UsageError
from flows.devices import choose_device, uses_bfloat16
from flows.fine_tune import FineTuneJob, fine_tune_all
from flows.gate import Contender, Rivals, observe, running
from flows.member_networks import load_members
from flows.progress import Advance, silent
from flows.retrain_options import RetrainOptions
from flows.runs import recorded_run
from flows.split import split
from flows.training_card import FittedModel
from flows.training_cases import TrainingLabel, stored_labels, trainable_cases
from model.gate import GateDecision, GatePolicy, decide
from storage.canonical_json import JsonObject
from storage.cases import all_cases
from storage.gates import Challenge, record_gate
from storage.intake_record import inspect_file
from storage.labels import (
    LabelMask,
    LabelVersion,
    reference_labels,
)
from storage.model_registry import (
    CommitteeMemberRecord,
    CommitteeRecord,
    configured_committee,
)
from storage.predictions import closed_predictions
from storage.splits import effective_roles, frozen_cases
from storage.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetrainSummary:
    """What retraining gave.

    Attributes:
        labels: Structures of cases that were trained on, from people and data sets.
        gate_patients: Patients that the gate saw.
        members: Names of the retrained members.
    """

    gate_id: str
    decision: GateDecision
    labels: int
    gate_patients: int
    members: tuple[str, ...]


def retrain(
    store: Store, options: RetrainOptions | None = None, *, advance: Advance = silent
) -> RetrainSummary:
    """Train challengers from the champions, gate them, and put them in force when they pass.

    Trained on are the structures that a human looked at, of patients whose role is ``train``:
    accepted, corrected and absent ones; where nobody has, an imported dataset's. Whatever the gate
    decides becomes a journal line with its table.

    Args:
        store: The workspace.
        options: See there.
        advance: Told the gate cases that are done.

    Raises:
        NothingToLearnError: Nobody has judged a label yet.
        UsageError: A member is unknown.
        ConfigError: The committee is not complete.
        ModelError: A case or checkpoint does not fit, or the loss is no longer finite.
        ConflictError: A champion was replaced meanwhile.
    """
    options = options or RetrainOptions()
    split(store)
    committee = configured_committee(store)
    members = _chosen(committee, options.members)
    labels = corrections(store)
    check_cohorts(store, options.cohorts)
    facts = {
        "members": [member.name for member in members],
        "labels": len(labels),
        "seed": options.seed,
        "committee": committee.committee_id,
    }
    with recorded_run(store, "retrain", facts):
        jobs = [fine_tune_job(store, member, labels, options) for member in members]
        challenges = put_challengers(store, members, fine_tune_all(jobs))
        return conclude(store, committee, challenges, options, advance=advance)


def put_challengers(
    store: Store, members: Sequence[CommitteeMemberRecord], fitted: Sequence[FittedModel]
) -> list[Challenge]:
    """Store retrained weights as objects and name their champions; nothing is in force yet."""
    return [_challenge(store, member, model) for member, model in zip(members, fitted, strict=True)]


def conclude(
    store: Store,
    committee: CommitteeRecord,
    challenges: Sequence[Challenge],
    options: RetrainOptions,
    *,
    advance: Advance = silent,
) -> RetrainSummary:
    """Let the gate decide on challengers and record what it says.

    Raises:
        CaseError: A gate CT is gone or was changed.
        ConflictError: A champion was replaced meanwhile.
    """
    decision = _decision(store, committee, challenges, options, advance=advance)
    gate_id = record_gate(
        store,
        challenges,
        outcome=decision.outcome,
        reason=decision.reason,
        evidence=_evidence(decision, committee),
    )
    _LOG.info("gate: %s", decision.outcome)
    return RetrainSummary(
        gate_id=gate_id,
        decision=decision,
        labels=max((int(entry.card["retrained_on_labels"]) for entry in challenges), default=0),
        gate_patients=max((row.patients for row in decision.rows), default=0),
        members=tuple(entry.name for entry in challenges),
    )


def corrections(store: Store) -> tuple[TrainingLabel, ...]:
    """Return what retraining may learn from.

    Raises:
        NothingToLearnError: Nobody has judged a label of a patient who trains.
    """
    kept = stored_labels(store)
    if not kept:
        raise NothingToLearnError(
            "retraining needs labels that a human judged, on patients whose role is train; there "
            "are none yet: review some with `atlasloop review`"
        )
    return tuple(kept)


def check_cohorts(store: Store, cohorts: Sequence[Path]) -> None:
    """Refuse cohort folders that hold a scan of a patient who judges or is reported.

    Raises:
        UsageError: One does; training on it would spoil the gate.
        CaseError: A CT of a cohort cannot be read.
    """
    with store.read() as connection:
        frozen = frozen_cases(connection)
    for folder in cohorts:
        known = {inspect_file(case.ct_path).case_id for case in trainable_cases([folder])}
        if known & frozen:
            raise UsageError(
                "what trains a model must never judge it: "
                f"{folder.name} holds {', '.join(sorted(known & frozen))}, whose patients are set "
                "aside for the gate or the report; leave these cases out of --data"
            )


def fine_tune_job(
    store: Store,
    member: CommitteeMemberRecord,
    labels: Sequence[TrainingLabel],
    options: RetrainOptions,
) -> FineTuneJob:
    """Return a member's training with the settings' device, rate and share."""
    settings = store.settings
    device = choose_device(settings.annotate.device)
    return FineTuneJob(
        workspace=store.workspace.root,
        checkpoint=member.path,
        labels=tuple(labels),
        cohorts=options.cohorts,
        steps=options.steps or settings.retrain.steps,
        learning_rate=settings.retrain.learning_rate,
        correction_share=settings.retrain.correction_share,
        seed=options.seed,
        device=str(device),
        bfloat16=uses_bfloat16(settings.annotate.autocast, device),
    )


def gate_policy(store: Store) -> GatePolicy:
    """Return the gate's policy from the settings."""
    settings = store.settings.retrain
    return GatePolicy(
        dsc_margin=settings.dsc_margin,
        false_positive_margin=settings.false_positive_margin,
        sensitivity_margin=settings.sensitivity_margin,
        least_patients=settings.least_patients,
    )


def challengers(
    store: Store, committee: CommitteeRecord, challenges: Sequence[Challenge]
) -> CommitteeRecord:
    """Return the committee with the challengers in their champions' places.

    Temperatures stay behind with the weights that they were fitted on.
    """
    new = {entry.name: entry.challenger for entry in challenges}
    members = tuple(
        replace(
            member,
            weights=new[member.name],
            path=store.objects.path(new[member.name]),
            temperatures={},
        )
        if member.name in new
        else member
        for member in committee.members
    )
    return replace(committee, members=members)


def _decision(
    store: Store,
    committee: CommitteeRecord,
    challenges: Sequence[Challenge],
    options: RetrainOptions,
    *,
    advance: Advance,
) -> GateDecision:
    with store.read() as connection:
        references = masks_by_case(reference_labels(connection, role="gate"))
        roles = effective_roles(connection)
        cases = [case for case in all_cases(connection) if roles.get(case.patient_id) == "gate"]
        closed = closed_predictions(connection, committee.committee_id)
    how = running(store)
    settings = store.settings.annotate
    rivals = Rivals(
        Contender(load_members(committee, settings, how[0]), closed),
        Contender(load_members(challengers(store, committee, challenges), settings, how[0])),
    )
    observations = observe(store, cases, references, rivals, running=how, advance=advance)
    return decide(
        observations,
        gate_policy(store),
        generator=np.random.default_rng(options.seed),
        accept_underpowered=options.accept_underpowered,
    )


def _chosen(committee: CommitteeRecord, names: Sequence[str]) -> tuple[CommitteeMemberRecord, ...]:
    known = {member.name: member for member in committee.members}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"members are {', '.join(known)}; got {', '.join(unknown)}")
    return tuple(known[name] for name in names) or committee.members


def _challenge(store: Store, member: CommitteeMemberRecord, fitted: FittedModel) -> Challenge:
    weights = next(entry.weights for entry in store.settings.committee if entry.name == member.name)
    digest = store.objects.put(fitted.checkpoint)
    return Challenge(member.name, weights, member.weights, digest, fitted.card)


def masks_by_case(
    labels: Mapping[tuple[str, str], LabelVersion],
) -> dict[str, dict[str, LabelMask]]:
    """Return case id -> structure -> mask."""
    result: dict[str, dict[str, LabelMask]] = {}
    for (case_id, structure), label in labels.items():
        result.setdefault(case_id, {})[structure] = label.mask
    return result


def _evidence(decision: GateDecision, committee: CommitteeRecord) -> JsonObject:
    rows = [
        {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
        for row in (asdict(entry) for entry in decision.rows)
    ]
    return {
        "schema": 1,
        "committee": committee.committee_id,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "needed": decision.needed,
        "rows": rows,
    }
