"""How probable it is that a reader who opens a label changes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from configs.triage_priors import EditPrior
from model.triage.additive import AdditiveModel, Penalty, fit_additive
from model.triage.score_table import Column, ScoreTable

LEAST_PATIENTS = 20
"""With fewer reviewed patients, or labels of either answer below ``LEAST_EACH``, a fallback is
given."""
LEAST_EACH = 10

_PENALTY = Penalty(offset=5.0, lead=0.5, rise=0.5)


@dataclass(frozen=True, slots=True, eq=False)
class EditChance:
    """Predicts whether a reader accepts a label as it is.

    Attributes:
        model: Of the log odds; None for the fallback.
        prior: What the fallback is made of, and of labels without a predicted DSC.
        words: What it rests on, for people.
    """

    model: AdditiveModel | None
    prior: EditPrior
    words: str

    def predict(self, table: ScoreTable, dsc: Column) -> Column:
        """Return the probability of a change, shape (N,), in [0, 1].

        Args:
            table: The labels.
            dsc: Predicted, shape (N,); NaN where it is not known.
        """
        fallback = fallback_edit_chance(dsc, self.prior)
        if self.model is None:
            return fallback
        predicted = self.model.predict([1 - dsc], table.structure)
        return np.where(np.isnan(dsc), fallback, predicted)


def fit_edit_chance(
    table: ScoreTable, dsc: Column, changed: Column, *, prior: EditPrior
) -> EditChance:
    """Fit the model to reviews.

    Args:
        table: Labels that somebody reviewed.
        dsc: As the predictor sees them, not as the review turned out, shape (N,).
        changed: 0 where the label was accepted, 1 where it was corrected, absent or rejected, NaN
            where nobody said.
        prior: Of the fallback.
    """
    known = np.isfinite(changed) & np.isfinite(dsc)
    read, answer = table.rows(known), changed[known]
    patients, changes = len(np.unique(read.patient)), int(answer.sum())
    kept = len(answer) - changes
    if patients < LEAST_PATIENTS or min(changes, kept) < LEAST_EACH:
        return EditChance(
            None,
            prior,
            f"the chance of an edit is uncalibrated: it follows the predicted DSC; readers changed "
            f"{changes} labels and kept {kept} in {patients} patients, a fit needs {LEAST_EACH} of "
            f"each in {LEAST_PATIENTS}",
        )
    model = fit_additive(
        [1 - dsc[known]],
        read.structure,
        answer,
        structures=len(read.structures),
        penalty=_PENALTY,
        loss="logistic",
    )
    words = f"chance of an edit fitted to {len(read)} reviews of {patients} patients"
    return EditChance(model, prior, words)


def fallback_edit_chance(dsc: Column, prior: EditPrior) -> Column:
    """Return the prior's chance for each predicted DSC, shape (N,)."""
    chance = np.interp(dsc, [prior.sure_dsc, 1.0], [prior.most, prior.least])
    return np.where(np.isnan(dsc), prior.unknown, chance)
