"""All figures of triage on one group of patients whose labels' truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.triage.conformal import IntervalQuality
from model.triage.evaluation import (
    BAD_DSC,
    Beliefs,
    DscErrors,
    Flags,
    KnownLabels,
    OrderQuality,
    ReplayQuality,
    coverage,
    drawn_coverage,
    dsc_errors,
    order_qualities,
    replay_qualities,
)
from model.triage.fault_sharing import SharedFaults
from model.triage.policies import Ranking
from model.triage.replay import ReaderModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatientGroup:
    """What is tested.

    Attributes:
        name: Of the group.
        labels: Of its patients.
        beliefs: What triage expects of them.
        queued: Which of them triage would queue, shape (N,).
        faults: Kind of gross fault -> labels that have it, where somebody made them.
    """

    name: str
    labels: KnownLabels
    beliefs: Beliefs
    queued: Flags
    faults: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEvaluation:
    """What came out on one group of patients.

    Attributes:
        group: Its name.
        patients, labels, bad: How many; bad are those present with a DSC below 0.8.
        faults: Kind of gross fault -> labels that have it.
        out_of_reach: Share of the labels' whole shortfall that no queue holds.
        coverage: Of the intervals, where there are any, if the structure is there.
        drawn_coverage: Of the same on all drawn masks; one of nothing has a DSC of 0.
        replays: Nothing where no label is queued.
        shared: Gross faults by how many members have them, where somebody made them.
    """

    group: str
    patients: int
    labels: int
    bad: int
    faults: Mapping[str, int]
    out_of_reach: float
    errors: DscErrors
    coverage: IntervalQuality
    drawn_coverage: IntervalQuality
    orders: tuple[OrderQuality, ...]
    replays: tuple[ReplayQuality, ...]
    shared: tuple[SharedFaults, ...] = ()


def evaluate_group(
    tested: PatientGroup, ranking: Ranking, *, reader: ReaderModel, seeds: Sequence[int]
) -> GroupEvaluation:
    """Measure order, predicted DSC, intervals and what a reader gains.

    Args:
        tested: The group.
        ranking: Weights and ceilings; every policy is tried.
        reader: Replayed.
        seeds: Of readers and samples of patients.
    """
    labels, beliefs = tested.labels, tested.beliefs
    ceilings = ranking.ceilings[labels.table.structure]
    lacking = np.maximum(0, ceilings - labels.quality)
    replays = replay_qualities(
        labels, beliefs, ranking, queued=tested.queued, reader=reader, seeds=seeds
    )
    return GroupEvaluation(
        group=tested.name,
        patients=len(np.unique(labels.table.patient)),
        labels=len(labels.table),
        bad=int((labels.present & (labels.dsc < BAD_DSC)).sum()),
        faults=tested.faults,
        out_of_reach=float(lacking[~tested.queued].sum() / lacking.sum()) if lacking.any() else 0.0,
        errors=dsc_errors(labels, beliefs),
        coverage=coverage(labels, beliefs),
        drawn_coverage=drawn_coverage(labels, beliefs),
        orders=tuple(order_qualities(labels, beliefs, ranking, queued=tested.queued)),
        replays=tuple(replays),
    )
