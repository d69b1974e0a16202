"""How good a label is, told from its scores before anybody looks.

The regressor is a sum of rising piecewise linear functions of the scores with partially pooled
offsets of the structures (``model.triage.additive``). It was chosen over monotone gradient boosting
by nested comparison (``benchmarks/dsc_predictors.py``): lower error and better order within
structures from 12 to 800 read patients, most where few were read, in a fraction of the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.triage.additive import AdditiveModel, Penalty, chosen_penalty, fit_additive
from model.triage.estimates import Basis
from model.triage.score_table import Codes, Column, ScoreTable

LEAST_PATIENTS = 20
"""With fewer reviewed patients, or labels below ``LEAST_LABELS``, a fallback is given."""
LEAST_LABELS = 30

_AGREEMENTS = (
    "pairwise_dice_least",
    "self_consistency",
    "tta_dice",
    "max_probability",
)
_RISKS = (
    "volume_spread",
    "entropy_mean",
    "entropy_border",
    "entropy_worst",
    "inconsistency",
    "overlap_exclusive",
    "removed_share",
    "findings",
)
_FALLBACKS = ("pairwise_dice", "tta_dice", "self_consistency")
_FOLDS = 5
_GRID = tuple(Penalty(offset, 0.3, rise) for offset in (50.0, 5.0) for rise in (300.0, 30.0, 3.0))


@dataclass(frozen=True, slots=True, eq=False)
class DscPredictor:
    """Predicts the DSC of a label with what a reader would draw, given that it is there.

    Attributes:
        model: Of 1 - DSC; None for the fallback.
        basis: ``calibrated`` where it was fitted.
        words: The same for people.
    """

    model: AdditiveModel | None
    basis: Basis
    words: str

    def predict(self, table: ScoreTable) -> Column:
        """Return the predicted DSC, shape (N,), in [0, 1].

        It is NaN for a label without a single score and, in the fallback, without its scores.
        """
        if self.model is None:
            return fallback_dsc(table)
        columns = risks(table)
        predicted = np.clip(1 - self.model.predict(columns, table.structure), 0, 1)
        return np.where(np.isnan(columns).all(axis=0), np.nan, predicted)


def fit_dsc(table: ScoreTable, dsc: Column, *, seed: int) -> DscPredictor:
    """Fit the predictor to labels that somebody read.

    Args:
        table: Scores made before any member was trained on the label, of one committee version.
        dsc: With what the reader drew, shape (N,); NaN where there is none, which counts nothing.
        seed: Of the folds of patients that choose the penalty.
    """
    known = np.isfinite(dsc)
    read, error = table.rows(known), 1 - dsc[known]
    patients = len(np.unique(read.patient))
    if patients < LEAST_PATIENTS or len(read) < LEAST_LABELS:
        return _fallback(len(read), patients)
    columns, structures = risks(read), len(read.structures)
    penalty = chosen_penalty(
        columns,
        read.structure,
        error,
        structures=structures,
        fold=_folds(read.patient, seed),
        grid=_GRID,
    )
    model = fit_additive(columns, read.structure, error, structures=structures, penalty=penalty)
    words = f"predicted from scores, fitted to {len(read)} read labels of {patients} patients"
    return DscPredictor(model, "calibrated", words)


def fallback_dsc(table: ScoreTable) -> Column:
    """Return the agreement that stands in where few labels were read, shape (N,).

    It is the Dice between the members' families; of a single member the one under small changes of
    its input, else its self-consistency. None of them is a DSC: what all members share is missing.
    """
    result = np.full(len(table), np.nan)
    for name in _FALLBACKS:
        result = np.where(np.isnan(result), table[name], result)
    return np.clip(result, 0, 1)


def structure_means(table: ScoreTable, dsc: Column) -> Column:
    """Return each structure's mean DSC, shape (S,), the baseline that knows nothing of the case.

    A structure that nobody read has the mean of all that were; NaN where nothing was read.

    Args:
        table: Labels that somebody read.
        dsc: Theirs, shape (N,); NaN counts nothing.
    """
    known = np.isfinite(dsc)
    counts, sums = (
        np.bincount(table.structure[known], weights=weights, minlength=len(table.structures))
        for weights in (None, dsc[known])
    )
    overall = float(dsc[known].mean()) if known.any() else np.nan
    return np.where(counts > 0, sums / np.maximum(counts, 1), overall)


def risks(table: ScoreTable) -> list[Column]:
    """Return columns that are worse the higher they are, each of shape (N,), NaN where unknown.

    The first is the fallback's, which tells most of a label where little was read.
    """
    covering = np.where(table["covering_members"] > 0, table["covering_members"], np.nan)
    return [
        1 - fallback_dsc(table),
        *(1 - table[name] for name in _AGREEMENTS),
        *(table[name] for name in _RISKS),
        1 - table["seeing_members"] / covering,
    ]


def _fallback(labels: int, patients: int) -> DscPredictor:
    words = (
        f"uncalibrated: agreement of the members stands in for the DSC; {labels} labels of "
        f"{patients} patients were read, a prediction needs {LEAST_LABELS} of {LEAST_PATIENTS}"
    )
    return DscPredictor(None, "uncalibrated", words)


def _folds(patient: Codes, seed: int) -> Codes:
    """Return a fold for each row; a patient's rows are in one."""
    names, place = np.unique(patient, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return (order % _FOLDS).astype(np.int32)[place]
