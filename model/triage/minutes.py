"""How long a reader will work on a label, and what it costs to open its CT.

On the log scale, an offset for everybody, one for each structure and a slope on the size of the
change are added to the prior's minutes; each is drawn toward 0 as if the prior had been seen as
often as its weight says. Times have long tails, so labels far off count less (Huber 1964), and the
mean of what is left over turns the fitted medians into means (Duan 1983).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from configs.triage_priors import MinutesPrior
from model.triage.conformal import Flags
from model.triage.score_table import Codes, Column, ScoreTable

LEAST_OPENINGS = 20
"""Fewer labels that were first in their CT, or that were not, tell nothing of the opening."""

_HUBER = 1.345
"""In robust standard deviations: 95 % efficient on normal errors (Huber 1964)."""
_ROUNDS = 20
_LEAST_SPREAD = 0.05
_LEAST_LEFT = 0.5
"""The prior's opening taken off a label's time leaves at least this share of it."""
_NORMAL_MAD = 1.4826


@dataclass(frozen=True, slots=True, eq=False)
class MinutesModel:
    """Predicts minutes.

    Attributes:
        prior: What the fit starts from.
        common: Added on the log scale; 0 without recorded times.
        slope: Added for each doubling or so of the change: times ``log1p(changed / reference)``.
        offsets: Added for each structure, shape (S,).
        smearing: Mean over median.
        opening_minutes: Of opening a CT, once for all its labels.
        words: What it rests on, for people.
    """

    prior: MinutesPrior
    common: float
    slope: float
    offsets: Column
    smearing: float
    opening_minutes: float
    words: str

    def predict(self, table: ScoreTable, dsc: Column) -> Column:
        """Return the mean minutes of work on each label, its CT being open, shape (N,).

        Args:
            table: The labels.
            dsc: Predicted, shape (N,); NaN where it is not known.
        """
        size = change_size(table, dsc, self.prior)
        added = self.common + self.slope * size + self.offsets[table.structure]
        return self.prior.look * np.exp(size + added) * self.smearing


def fit_minutes(
    table: ScoreTable, dsc: Column, minutes: Column, *, opens: Flags, prior: MinutesPrior
) -> MinutesModel:
    """Fit the model to recorded active times.

    Args:
        table: Labels that somebody reviewed.
        dsc: As the predictor sees them, shape (N,); NaN where it is not known.
        minutes: Active minutes of the review, shape (N,); NaN or 0 counts nothing.
        opens: Labels whose time holds the opening of their CT, shape (N,).
        prior: What holds without times.
    """
    known = np.isfinite(minutes) & (minutes > 0)
    structure, taken, first = table.structure[known], minutes[known], opens[known]
    size = change_size(table, dsc, prior)[known]
    opening, estimated = _opening(taken, first, size, prior)
    if estimated:
        # What is left of a first label's time after a long opening is mostly noise.
        structure, taken, size = structure[~first], taken[~first], size[~first]
    else:
        taken = np.where(first, np.maximum(taken - opening, _LEAST_LEFT * taken), taken)
    over = np.log(taken / prior.look) - size
    weights, smearing = _robust(size, structure, over, len(table.structures), prior.weight)
    return MinutesModel(
        prior=prior,
        common=float(weights[0]),
        slope=float(weights[1]),
        offsets=weights[2:],
        smearing=smearing,
        opening_minutes=opening,
        words=_words(int(known.sum()), estimated=estimated),
    )


def change_size(table: ScoreTable, dsc: Column, prior: MinutesPrior) -> Column:
    """Return how much a correction changes as ``log1p(volume / reference)``, shape (N,).

    Two masks of about one volume V with a DSC d differ in 2 V (1 - d).
    """
    changed_ml = 2 * table["volume_ml"] * (1 - dsc)
    unknown = np.isnan(changed_ml) | (table["volume_ml"] <= 0)
    return np.log1p(np.where(unknown, prior.unknown_changed_ml, changed_ml) / prior.reference_ml)


def _opening(
    minutes: Column, first: Flags, size: Column, prior: MinutesPrior
) -> tuple[float, bool]:
    """Return the minutes of opening a CT, and whether the times tell them.

    They are by how much labels that come first in a CT take longer than the others do at the same
    size of change, in the median.
    """
    if min(int(first.sum()), int((~first).sum())) < LEAST_OPENINGS:
        return prior.opening, False
    expected = prior.look * np.exp(size)
    pace = float(np.median(minutes[~first] / expected[~first]))
    return max(float(np.median(minutes[first] - pace * expected[first])), 0.0), True


def _robust(
    size: Column, structure: Codes, over: Column, structures: int, weight: float
) -> tuple[Column, float]:
    """Return common, slope and offsets by iterated weighted ridge, and the smearing factor."""
    design = np.zeros((len(over), 2 + structures))
    design[:, 0], design[:, 1] = 1, size
    design[np.arange(len(over)), 2 + structure] = 1
    ridge = np.diag(np.full(2 + structures, weight))
    weights = np.zeros(2 + structures)
    spread = _LEAST_SPREAD
    for _ in range(_ROUNDS if len(over) else 0):
        rest = over - design @ weights
        spread = max(_NORMAL_MAD * float(np.median(np.abs(rest))), _LEAST_SPREAD)
        trust = np.minimum(1, _HUBER * spread / np.maximum(np.abs(rest), 1e-12))
        weighted = design * trust[:, None]
        system = design.T @ weighted + ridge
        weights = np.asarray(np.linalg.solve(system, weighted.T @ over), np.float64)
    rest = np.clip(over - design @ weights, -3 * spread, 3 * spread)
    # As if the prior, whose minutes are means already, had been seen `weight` times.
    smearing = (np.exp(rest).sum() + weight) / (len(over) + weight)
    return weights, float(smearing)


def _words(labels: int, *, estimated: bool) -> str:
    source = "recorded times" if estimated else "published times"
    if labels == 0:
        return "minutes are uncalibrated: published times of other readers stand in"
    return f"minutes fitted to {labels} recorded times; opening a CT from {source}"
