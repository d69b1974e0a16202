"""Estimates of a workspace's labels that rest on no review."""

from __future__ import annotations

import numpy as np

from model.triage.estimates import Estimates
from model.triage.policies import disagreement
from model.triage.score_table import ScoreTable
from storage.store import Store


def estimate(store: Store, table: ScoreTable, *, committee_id: str) -> Estimates:
    """Return what the scores alone let expect; replaced by fitted estimates."""
    nothing = np.full(len(table), np.nan)
    has_mask = table["volume_ml"] > 0
    dsc = np.where(has_mask, 1 - disagreement(table), nothing)
    return Estimates(
        dsc=dsc,
        low=nothing,
        high=nothing,
        presence=np.where(has_mask, 1.0, table["max_probability"]),
        edit_chance=np.nan_to_num(1 - dsc, nan=0.5),
        minutes=np.full(len(table), 2.0),
        opening_minutes=0.5,
        basis="uncalibrated",
        words="uncalibrated: the agreement of the members, no review was used",
    )
