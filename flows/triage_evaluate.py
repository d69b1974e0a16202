"""Prove triage: order, predicted DSC, intervals and minutes on labels whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from configs.errors import UsageError
from configs.setting_sections import TriageSettings
from configs.simulated_committee import SplitName
from configs.triage_priors import load_triage_priors
from flows.simulated_committee import Progress, Simulation, simulated_patients
from flows.triage import ranking_of
from model.simulated_committee.table import SimulatedTable, simulated_table
from model.triage.conformal import LEAST_PATIENTS, IntervalQuality
from model.triage.evaluation import FittedTriage, KnownLabels, fit_triage, split_coverage
from model.triage.fault_sharing import faults_found
from model.triage.group_evaluation import GroupEvaluation, PatientGroup, evaluate_group
from model.triage.replay import ReaderModel

MISSED_PROBABILITY = 0.25
_SPLITS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """Which simulated patients are used for what.

    Attributes:
        fit: Patients that everything is fitted on (split ``development``).
        calibrate: Patients of the audit (split ``calibration``).
        test: Patients of each tested group.
        first: Place of the first tested patient in its split; in ``development`` after those of
            ``fit``.
        final: Test on the splits that nothing was tuned on, with the sealed faults; else on further
            patients of ``development``.
        label_map: A label map of a real person, another family of anatomy, for ``final``; None
            leaves it out.
        folder: Where simulated cases are kept; None for nowhere.
        workers: Processes.
        seeds: Readers and samples of patients in the replay.
        reader: How the replayed reader differs from what the policies believe.
        ours: Settings whose weights rank.
    """

    fit: int = 150
    calibrate: int = 240
    test: int = 150
    first: int = 0
    final: bool = False
    label_map: Path | None = None
    folder: Path | None = None
    workers: int = 1
    seeds: int = 10
    reader: ReaderModel = field(default_factory=ReaderModel)
    ours: TriageSettings = field(default_factory=TriageSettings)

    def __post_init__(self) -> None:
        if self.calibrate <= LEAST_PATIENTS:
            raise UsageError(
                f"intervals need more than {LEAST_PATIENTS} calibration patients, got "
                f"{self.calibrate}"
            )
        if self.label_map is not None and not self.final:
            raise UsageError("a label map is another anatomy for final runs; add --final")
        if self.label_map is not None and not self.label_map.is_file():
            raise UsageError(f"there is no label map {self.label_map}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """All that came out.

    Attributes:
        words: What the predictor was fitted on.
        splits: Coverage over splits of the calibration patients, two hundred of whom calibrate
            where there are so many.
        split_patients: How many calibrate there.
    """

    words: str
    splits: tuple[IntervalQuality, ...]
    split_patients: int
    groups: tuple[GroupEvaluation, ...]


def evaluate_triage(
    plan: EvaluationPlan, *, announce: Callable[[str], None], progress: Progress | None = None
) -> Evaluation:
    """Simulate committees, fit triage on some patients and test it on others.

    Raises:
        UsageError: A split has not so many patients.
        CaseError: The label map is damaged.
    """
    simulations = _simulations(plan)
    for simulation in simulations.values():
        simulation.scenario.splits[simulation.split].seed(simulation.first + simulation.count - 1)
    cases, names = [], []
    for name, simulation in simulations.items():
        announce(f"{name}: {simulation.count} simulated patients")
        own = simulated_patients(
            simulation, folder=plan.folder, workers=plan.workers, progress=progress
        )
        cases += own
        names += [name] * len(own)
    known = simulated_table(cases)
    group_of_case = np.array(names)[known.table.case]
    parts = {name: _part(known, group_of_case == name) for name in simulations}
    ranking = ranking_of(plan.ours, known.table.structures)
    fitted = fit_triage(
        _labels(parts["fit"]),
        _labels(parts["audit"]),
        ceilings=ranking.ceilings,
        priors=load_triage_priors(),
        seed=0,
    )
    announce("fitted; replaying readers")
    tested = [name for name in simulations if name not in ("fit", "audit")]
    calibrating = max(LEAST_PATIENTS, min(200, plan.calibrate * 5 // 6))
    return Evaluation(
        words=fitted.predictor.words,
        splits=tuple(
            split_coverage(
                _labels(parts["audit"]),
                fitted.predictor,
                splits=_SPLITS,
                calibrate=calibrating,
                seed=1,
            )
        ),
        split_patients=calibrating,
        groups=tuple(_group(name, parts[name], fitted, plan) for name in tested),
    )


def _simulations(plan: EvaluationPlan) -> dict[str, Simulation]:
    found = {
        "fit": Simulation(split="development", count=plan.fit),
        "audit": Simulation(split="calibration", count=plan.calibrate),
    }
    if not plan.final:
        found["development"] = Simulation(
            split="development", first=plan.fit + plan.first, count=plan.test
        )
        return found
    splits: tuple[SplitName, ...] = ("held_out", "unseen", "priors")
    for split in splits:
        if split == "priors" and plan.label_map is None:
            continue
        label_map = plan.label_map if split == "priors" else None
        simulation = Simulation(split=split, first=plan.first, count=plan.test, label_map=label_map)
        found[split] = simulation
        found[f"{split}, sealed faults too"] = replace(
            simulation, sealed=True, first=plan.first + plan.test
        )
    return found


def _group(
    name: str, part: SimulatedTable, fitted: FittedTriage, plan: EvaluationPlan
) -> GroupEvaluation:
    labels, table = _labels(part), part.table
    kinds, counts = np.unique(part.fault[part.fault != ""], return_counts=True)
    tested = PatientGroup(
        name=name,
        labels=labels,
        beliefs=fitted.beliefs(table),
        queued=(table["volume_ml"] > 0)
        | (table["seeing_members"] > 0)
        | (table["max_probability"] >= MISSED_PROBABILITY),
        faults=dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
    )
    ranking = ranking_of(plan.ours, table.structures)
    found = evaluate_group(tested, ranking, reader=plan.reader, seeds=range(plan.seeds))
    shared = faults_found(labels, part.faulty_members, fitted, ranking, queued=tested.queued)
    return replace(found, shared=shared)


def _part(known: SimulatedTable, where: np.ndarray) -> SimulatedTable:
    return SimulatedTable(
        known.table.rows(where),
        known.dsc[where],
        known.present[where],
        known.fault[where],
        known.faulty_members[where],
    )


def _labels(part: SimulatedTable) -> KnownLabels:
    return KnownLabels(part.table, part.dsc, part.present)
