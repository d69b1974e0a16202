"""Prove triage on the committee's own labels, beside a source that never saw them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from configs.errors import UsageError
from configs.triage_priors import load_triage_priors
from flows.estimates import estimate
from flows.read_labels import read_labels
from flows.triage import queued_labels, ranking_of
from flows.true_labels import TrueLabels, true_labels
from model.triage import conformal, predicted_dsc
from model.triage.edit_chance import fit_edit_chance
from model.triage.evaluation import Beliefs, Flags, blind_to_cases, fit_triage
from model.triage.group_evaluation import GroupEvaluation, PatientGroup, evaluate_group
from model.triage.minutes import fit_minutes
from model.triage.predicted_dsc import structure_means
from model.triage.replay import ReaderModel
from model.triage.score_table import Codes
from storage.label_sources import LabelSource
from storage.model_registry import configured_committee
from storage.store import Store

LEAST_TESTED = 3
"""With fewer patients nothing can be said of an order within a structure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthPlan:
    """What is compared with what.

    Attributes:
        source: Who tells the truth.
        committee_id: Whose labels; None for the configured committee's.
        fit_share: Share of the patients whose truth fits the predictor, half of the others
            calibrating; None tests what the workspace's triage expects now.
        split_seed: Draws these patients.
        trained_too: Keep cases that a member may have been trained on.
        seeds: Readers and samples of patients in the replay.
        reader: How the replayed reader differs from what the policies believe.
    """

    source: LabelSource
    committee_id: str | None = None
    fit_share: float | None = None
    split_seed: int = 0
    trained_too: bool = False
    seeds: int = 10
    reader: ReaderModel = field(default_factory=ReaderModel)

    def __post_init__(self) -> None:
        if self.fit_share is not None and not 0 < self.fit_share < 1:
            raise UsageError(f"the share that is fitted on lies between 0 and 1: {self.fit_share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthEvaluation:
    """What came out.

    Attributes:
        committee_id: Whose labels.
        words: Where the expectations come from.
        patients: With a truth.
        fitted, calibrating: How many of them were used for that; the others are tested.
        trained: Cases that were left out, since a member may have learned from them.
        taught: Patients that were left out, since triage learned from their reviews.
        saw_ai: Labels that were left out, since their reader had seen the AI's mask.
    """

    committee_id: str
    words: str
    patients: int
    fitted: int
    calibrating: int
    trained: int
    taught: int
    saw_ai: int
    group: GroupEvaluation


def evaluate_on_truth(store: Store, plan: TruthPlan) -> TruthEvaluation:
    """Measure triage by the true DSC of a committee's labels.

    Args:
        store: The workspace; not to be called while its index is open.
        plan: Who tells the truth, and whether it fits the predictor.

    Raises:
        UsageError: The source says too little, or is no truth.
        ConfigError: The committee is not complete.
        StorageError: The index cannot be read or written.
    """
    committee_id = plan.committee_id or configured_committee(store).committee_id
    found = true_labels(store, committee_id, plan.source, trained_too=plan.trained_too)
    patient = found.known.table.patient
    parts = _parts(store, committee_id, patient, plan)
    tested = found.known.rows(parts.tested)
    beliefs = _fitted(store, found, parts) if parts.fits else _current(store, committee_id, found)
    queued = queued_labels(found.columns, store.settings.annotate.possibly_missed_probability)
    group = evaluate_group(
        PatientGroup(
            name=str(plan.source),
            labels=tested,
            beliefs=beliefs.rows(parts.tested),
            queued=queued[found.places][parts.tested],
        ),
        ranking_of(store.settings.triage, tested.table.structures),
        reader=plan.reader,
        seeds=range(plan.seeds),
    )
    return TruthEvaluation(
        committee_id=committee_id,
        words=beliefs.estimates.words,
        patients=len(np.unique(patient)),
        fitted=len(np.unique(patient[parts.fitted])),
        calibrating=len(np.unique(patient[parts.calibrating])),
        trained=found.trained,
        taught=parts.taught,
        saw_ai=found.saw_ai,
        group=group,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """Which of N labels are used for what; no patient is in two parts."""

    fitted: Flags
    calibrating: Flags
    tested: Flags
    taught: int = 0

    @property
    def fits(self) -> bool:
        return bool(self.fitted.any())


def _parts(store: Store, committee_id: str, patient: Codes, plan: TruthPlan) -> _Parts:
    if plan.fit_share is not None:
        return split_patients(patient, fit_share=plan.fit_share, seed=plan.split_seed)
    everybody = np.unique(patient)
    taught = np.intersect1d(everybody, _taught(store, committee_id))
    tested = len(everybody) - len(taught)
    if tested < LEAST_TESTED:
        left = f"; triage learned from reviews of {len(taught)} more" if len(taught) else ""
        raise UsageError(
            f"a test needs {LEAST_TESTED} patients whose truth {plan.source} tells, got "
            f"{tested}{left}"
        )
    nobody = np.zeros(len(patient), np.bool_)
    return _Parts(nobody, nobody, ~np.isin(patient, taught), len(taught))


def split_patients(patient: Codes, *, fit_share: float, seed: int) -> _Parts:
    """Draw who fits; half of the others calibrate, the rest is tested.

    Args:
        patient: Of each label, shape (N,).
        fit_share: Share of the patients.
        seed: Of the draw.

    Raises:
        UsageError: A part is too small.
    """
    drawn = np.random.default_rng(seed).permutation(np.unique(patient))
    fit = round(fit_share * len(drawn))
    calibrate = (len(drawn) - fit) // 2
    test = len(drawn) - fit - calibrate
    least = (predicted_dsc.LEAST_PATIENTS, conformal.LEAST_PATIENTS, LEAST_TESTED)
    if any(count < need for count, need in zip((fit, calibrate, test), least, strict=True)):
        raise UsageError(
            f"--fit-share {fit_share:g} of {len(drawn)} patients with a truth leaves {fit} to fit, "
            f"{calibrate} to calibrate and {test} to test; {least[0]}, {least[1]} and {least[2]} "
            "are needed"
        )
    bounds = np.split(drawn, [fit, fit + calibrate])
    fitted, calibrating, tested = (np.isin(patient, own) for own in bounds)
    return _Parts(fitted, calibrating, tested)


def _taught(store: Store, committee_id: str) -> Codes:
    """Return the patients whose reviews triage learned from; none where they were too few."""
    read = read_labels(store, committee_id, store.settings.triage.target)
    cases = {one.case_id for one in (*read.reviews, *read.readings)}
    patients = {read.patients[case_id] for case_id in cases}
    enough = len(patients) >= predicted_dsc.LEAST_PATIENTS
    return np.array(sorted(patients) if enough else [], np.int32)


def _fitted(store: Store, found: TrueLabels, parts: _Parts) -> Beliefs:
    table = found.known.table
    fitted = fit_triage(
        found.known.rows(parts.fitted),
        found.known.rows(parts.calibrating),
        ceilings=ranking_of(store.settings.triage, table.structures).ceilings,
        priors=load_triage_priors(),
        seed=0,
    )
    return fitted.beliefs(table)


def _current(store: Store, committee_id: str, found: TrueLabels) -> Beliefs:
    """Return what triage expects here and now, of the labels with a truth.

    The baseline knows each structure's mean over these very labels: the best that anything blind
    to the case could know.
    """
    known = found.known
    estimates = estimate(store, found.table, committee_id=committee_id).rows(found.places)
    means = structure_means(known.table, known.dsc)[known.table.structure]
    priors, unread = load_triage_priors(), np.full(len(means), np.nan)
    edits = fit_edit_chance(known.table, unread, unread, prior=priors.edit)
    minutes = fit_minutes(
        known.table, unread, unread, opens=np.zeros(len(means), np.bool_), prior=priors.minutes
    )
    return Beliefs(estimates, blind_to_cases(known.table, means, edits, minutes), minutes)
