"""The second half of the demo: review, retrain, gate and annotate again, in three arms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from configs.simulated_reader import load_reader_skill
from configs.taxonomy import shipped_taxonomy
from flows.agreement import PairAgreement, agreement
from flows.annotate import AnnotateSummary, annotate
from flows.fine_tune import FineTuneJob, fine_tune_all
from flows.gate import Contender, case_outcomes, running
from flows.member_networks import load_members
from flows.progress import Advance, silent
from flows.retrain import (
    RetrainOptions,
    RetrainSummary,
    challengers,
    conclude,
    corrections,
    fine_tune_job,
    put_challengers,
)
from flows.simulated_reader import Item, SimulatedReader, Truth
from flows.training_cases import TrainingLabel
from flows.triage import triage
from storage.assignments import assign_readings
from storage.cases import CaseRow, all_cases
from storage.gates import Challenge
from storage.model_registry import CommitteeRecord, configured_committee
from storage.predictions import closed_predictions
from storage.queue import read_queue
from storage.splits import Role, freeze_roles
from storage.store import Store
from storage.verdicts import VerdictKind

CORRECTIONS = 24
STEPS = 60
LEARNING_RATE = 4e-3
_EVERYTHING = 1_000_000


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to spend the same extra training.

    Attributes:
        labels: Corrections that it trained on.
        dsc: Mean DSC over structures on the report patients, against the hidden truth; None when no
            structure is there.
    """

    name: str
    labels: int
    dsc: float | None


@dataclass(frozen=True, slots=True)
class LoopResult:
    """What going round gave.

    Attributes:
        before: Mean DSC of the first champion on the report patients.
        arms: The same after training on, in three ways.
        report_cases: Cases that these means are over.
        verdicts: What the simulated reader said of the first queue items.
        independent: Structures that it read without the AI's mask.
        agreements: Committee against reader: readings without the AI's mask, then corrections.
    """

    before: float | None
    arms: tuple[Arm, ...]
    report_cases: int
    verdicts: Counter[VerdictKind]
    independent: int
    agreements: tuple[PairAgreement, ...]
    retrained: RetrainSummary
    annotated: AnnotateSummary


def close_loop(
    store: Store,
    cohort: Path,
    truths: Mapping[str, Truth],
    *,
    seed: int,
    advance: Advance = silent,
) -> LoopResult:
    """Go round once: a simulated reader corrects, the committee retrains and annotates again.

    Half of the phantoms may train, a quarter decides at the gate, a quarter is only reported. The
    arms differ in the corrections alone: none, drawn at random from the queue, the queue's first.

    Args:
        store: A workspace whose phantoms are annotated and queued.
        cohort: The sites that the committee was trained on.
        truths: Case id -> reader of the truth.
        seed: Of the reader, the random arm and the training.
        advance: Told the cases that are annotated again.
    """
    reader = SimulatedReader(store=store, truths=truths, skill=load_reader_skill(), seed=seed)
    by_role = _freeze(store, list(truths))
    candidates = _queued(store, by_role["train"])
    verdicts = reader.review(candidates[:CORRECTIONS])
    independent = _read_gate(store, reader, by_role["gate"])
    agreements = tuple(
        pair
        for source in (f"reader:{reader.name}/independent", f"reader:{reader.name}")
        for pair in agreement(store, ["committee", source], seed=seed)
    )
    labels = {
        "no corrections": (),
        "random corrections": tuple(reader.labels(_drawn(candidates, seed))),
        "queue corrections": corrections(store),
    }
    committee = configured_committee(store)
    options = RetrainOptions(cohorts=(cohort,), steps=STEPS, seed=seed, accept_underpowered=True)
    challenges = _train_arms(store, committee, labels, options)
    scores = _report(store, reader, by_role["report"], committee, list(challenges.values()))
    retrained = conclude(store, committee, challenges["queue corrections"], options)
    annotated = annotate(store, advance=advance)
    triage(store)
    return LoopResult(
        before=scores[0],
        arms=tuple(
            Arm(name, len(labels[name]), score)
            for name, score in zip(challenges, scores[1:], strict=True)
        ),
        report_cases=len(by_role["report"]),
        verdicts=verdicts,
        independent=independent,
        agreements=agreements,
        retrained=retrained,
        annotated=annotated,
    )


def _freeze(store: Store, case_ids: Sequence[str]) -> dict[Role, list[CaseRow]]:
    """Give the phantoms' patients their roles, in the order of registration."""
    with store.read() as connection:
        cases = [case for case in all_cases(connection) if case.case_id in set(case_ids)]
    half, quarter = len(cases) // 2, len(cases) // 4
    by_role: dict[Role, list[CaseRow]] = {
        "train": cases[:half],
        "gate": cases[half : half + quarter],
        "report": cases[half + quarter :],
    }
    freeze_roles(store, {case.patient_id: role for role, rows in by_role.items() for case in rows})
    return by_role


def _queued(store: Store, cases: Sequence[CaseRow]) -> list[Item]:
    known = {case.case_id for case in cases}
    with store.read() as connection:
        queue = read_queue(connection, kind="present", limit=_EVERYTHING)
    entries = (queued.entry for queued in queue)
    return [(entry.case_id, entry.structure) for entry in entries if entry.case_id in known]


def _drawn(candidates: Sequence[Item], seed: int) -> list[Item]:
    count = min(CORRECTIONS, len(candidates))
    chosen = np.random.default_rng(seed).choice(len(candidates), count, replace=False)
    return [candidates[number] for number in sorted(chosen.tolist())]


def _read_gate(store: Store, reader: SimulatedReader, cases: Sequence[CaseRow]) -> int:
    names = shipped_taxonomy().names
    ids = [case.case_id for case in cases]
    assign_readings(store, reader=reader.name, case_ids=ids, structures=names)
    return reader.read_independently([(case_id, name) for case_id in ids for name in names])


def _train_arms(
    store: Store,
    committee: CommitteeRecord,
    labels: Mapping[str, tuple[TrainingLabel, ...]],
    options: RetrainOptions,
) -> dict[str, list[Challenge]]:
    """Train every member in every arm, all side by side, and store the weights."""
    jobs: list[FineTuneJob] = []
    for known in labels.values():
        for member in committee.members:
            job = fine_tune_job(store, member, known, options)
            jobs.append(replace(job, learning_rate=LEARNING_RATE))
    fitted = fine_tune_all(jobs)
    size = len(committee.members)
    return {
        name: put_challengers(store, committee.members, fitted[place : place + size])
        for name, place in zip(labels, range(0, len(fitted), size), strict=True)
    }


def _report(
    store: Store,
    reader: SimulatedReader,
    cases: Sequence[CaseRow],
    committee: CommitteeRecord,
    arms: Sequence[Sequence[Challenge]],
) -> list[float | None]:
    """Return the mean DSC over structures of the champion, then of each arm."""
    how = running(store)
    with store.read() as connection:
        closed = closed_predictions(connection, committee.committee_id)
    records = (committee, *(challengers(store, committee, arm) for arm in arms))
    committees = [
        Contender(load_members(record, store.settings.annotate, how[0]), known)
        for record, known in zip(records, (closed, *({} for _ in arms)), strict=True)
    ]
    found: list[dict[str, list[float]]] = [{} for _ in committees]
    for case in cases:
        truth = reader.true_labels(case.case_id)
        for entry in case_outcomes(store, case, truth, committees, running=how):
            for scores, outcome in zip(found, entry.committees, strict=True):
                if outcome.dsc is not None:
                    scores.setdefault(entry.structure, []).append(outcome.dsc)
    return [_macro(scores) for scores in found]


def _macro(scores: Mapping[str, Sequence[float]]) -> float | None:
    means = [float(np.mean(values)) for values in scores.values()]
    return float(np.mean(means)) if means else None
