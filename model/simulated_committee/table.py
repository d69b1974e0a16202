"""Simulated cases as triage's table, beside what is true of every label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.scores import COMMITTEE, ScoreRow
from model.simulated_committee.case import SimulatedCase
from model.triage.score_table import SCORES, Column, ScoreTable, score_table


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientCase:
    """A simulated case with its name and its patient's number."""

    case_id: str
    patient: int
    case: SimulatedCase


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedTable:
    """N labels with their truth.

    Attributes:
        table: What triage sees; every structure that a member covers, by case.
        dsc: Consensus against truth; NaN where the structure is not there.
        present: Whether it is there, shape (N,).
        fault: Kind of its gross fault, an empty text where it has none, shape (N,).
        faulty_members: How many members have that fault, shape (N,).
    """

    table: ScoreTable
    dsc: Column
    present: npt.NDArray[np.bool_]
    fault: npt.NDArray[np.str_]
    faulty_members: npt.NDArray[np.int32]


def simulated_table(cases: Sequence[PatientCase]) -> SimulatedTable:
    """Return the labels of some cases.

    A column of ``SCORES`` that is a field of ``ScoreRow`` is the consensus'; findings are NaN,
    since scores alone hold none.
    """
    structures = list(dict.fromkeys(name for one in cases for name in one.case.present))
    labels = [(n, one, name) for n, one in enumerate(cases) for name in one.case.present]
    gathered = [_by_structure(one.case.rows) for one in cases]
    found = [label_scores(gathered[n][name]) for n, _, name in labels]
    faulty = [
        {name: len(fault.members) for fault in one.case.fault_list for name in fault.structures}
        for one in cases
    ]
    table = score_table(
        case_ids=[one.case_id for one in cases],
        structures=structures,
        case=np.array([n for n, _, _ in labels], np.int32),
        patient=np.array([one.patient for _, one, _ in labels], np.int32),
        structure=np.array([structures.index(name) for _, _, name in labels], np.int32),
        scores={
            score: np.array([scores.get(score, np.nan) for scores in found], np.float64)
            for score in SCORES
        },
    )
    return SimulatedTable(
        table,
        np.array([one.case.dsc.get(name, np.nan) for _, one, name in labels], np.float64),
        np.array([one.case.present[name] for _, one, name in labels], np.bool_),
        np.array([one.case.faults.get(name, "") for _, one, name in labels], np.str_),
        np.array([faulty[n].get(name, 0) for n, _, name in labels], np.int32),
    )


def label_scores(rows: Sequence[ScoreRow]) -> dict[str, float]:
    """Return the scores of one label from its members' rows and the consensus', where defined."""
    (consensus,) = (row for row in rows if row.member == COMMITTEE)
    members = [row for row in rows if row.member != COMMITTEE]
    volumes = np.array([row.volume_ml for row in members])
    scores: Mapping[str, float | None] = {
        **{score: getattr(consensus, score, None) for score in SCORES},
        "covering_members": float(len(members)),
        "seeing_members": float(np.count_nonzero(volumes > 0)),
        "volume_spread": _spread(volumes),
        "removed_share": _removed_share(consensus),
    }
    return {score: float(value) for score, value in scores.items() if value is not None}


def _spread(volumes_ml: Column) -> float | None:
    """Return the population standard deviation over the mean; None of one member or of nothing."""
    if len(volumes_ml) < 2 or not volumes_ml.any():
        return None
    return float(volumes_ml.std() / volumes_ml.mean())


def _removed_share(consensus: ScoreRow) -> float | None:
    if consensus.removed_ml is None:
        return None
    before_ml = consensus.volume_ml + consensus.removed_ml
    return consensus.removed_ml / before_ml if before_ml else None


def _by_structure(rows: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    gathered: dict[str, list[ScoreRow]] = {}
    for row in rows:
        gathered.setdefault(row.structure, []).append(row)
    return gathered
