"""How probable it is that a structure is there at all, asked before how good its label is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.triage.additive import AdditiveModel, Penalty, fit_additive
from model.triage.score_table import Column, ScoreTable

LEAST_PATIENTS = 20
"""With fewer reviewed patients, or labels of either answer below ``LEAST_EACH``, a fallback is
given."""
LEAST_EACH = 10

_PENALTY = Penalty(offset=2.0, lead=0.5, rise=0.5)


@dataclass(frozen=True, slots=True, eq=False)
class PresenceModel:
    """Predicts presence.

    Attributes:
        model: Of the log odds; None for the fallback.
        words: What it rests on, for people.
    """

    model: AdditiveModel | None
    words: str

    def predict(self, table: ScoreTable) -> Column:
        """Return the probability that each structure is there, shape (N,); NaN where unknown."""
        fallback = fallback_presence(table)
        if self.model is None:
            return fallback
        predicted = self.model.predict(_signs(table), table.structure)
        return np.where(np.isnan(fallback), np.nan, predicted)


def fit_presence(table: ScoreTable, is_there: Column) -> PresenceModel:
    """Fit the model to labels that somebody read.

    Args:
        table: Of one committee version.
        is_there: 1 where the reader saw the structure, 0 where not, NaN where nobody said.
    """
    known = np.isfinite(is_there) & ~np.isnan(fallback_presence(table))
    read, answer = table.rows(known), is_there[known]
    patients, present = len(np.unique(read.patient)), int(answer.sum())
    absent = len(answer) - present
    if patients < LEAST_PATIENTS or min(present, absent) < LEAST_EACH:
        return PresenceModel(
            None,
            f"presence is uncalibrated: the highest probability stands in; readers saw {present} "
            f"structures and missed {absent} in {patients} patients, a fit needs {LEAST_EACH} of "
            f"each in {LEAST_PATIENTS}",
        )
    model = fit_additive(
        _signs(read),
        read.structure,
        answer,
        structures=len(read.structures),
        penalty=_PENALTY,
        loss="logistic",
    )
    words = f"presence from scores, fitted to {len(read)} read labels of {patients} patients"
    return PresenceModel(model, words)


def fallback_presence(table: ScoreTable) -> Column:
    """Return what stands in where little was read, shape (N,); NaN without any score.

    It is the highest probability in the volume, else the share of members that see the structure,
    else whether the consensus has a voxel of it.
    """
    has_voxels = np.where(np.isnan(table["volume_ml"]), np.nan, table["volume_ml"] > 0)
    result = np.full(len(table), np.nan)
    for column in (table["max_probability"], _seeing_share(table), has_voxels):
        result = np.where(np.isnan(result), column, result)
    return np.clip(result, 0, 1)


def _signs(table: ScoreTable) -> list[Column]:
    """Return columns that speak for the structure the more, the higher they are."""
    return [
        table["max_probability"],
        _seeing_share(table),
        np.log1p(np.maximum(table["volume_ml"], 0)),
        table["pairwise_dice"],
        table["self_consistency"],
    ]


def _seeing_share(table: ScoreTable) -> Column:
    covering = np.where(table["covering_members"] > 0, table["covering_members"], np.nan)
    return table["seeing_members"] / covering
