"""What triage expects of labels: how good they are, and what a look costs and brings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.triage.score_table import Column

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]
Basis = Literal["calibrated", "uncalibrated", "none"]
"""``calibrated``: fitted to reviews, with intervals from the audit. ``uncalibrated``: a stated
fallback. ``none``: nothing is known."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Columns of N labels, in the order of a ``ScoreTable``.

    Attributes:
        dsc: Predicted DSC with what a reader would draw, given that the structure is there; NaN
            where nothing is known.
        low, high: Interval of that DSC; NaN where it is not calibrated.
        presence: Probability that the structure is there at all.
        edit_chance: Probability that a reader who opens it changes it.
        minutes: Predicted minutes of work on it, the opening of its CT left out.
        opening_minutes: Of opening a CT, once for all its labels.
        basis: Where ``dsc`` comes from.
        words: The same for people, with the numbers of reviews behind it.
    """

    dsc: Column
    low: Column
    high: Column
    presence: Column
    edit_chance: Column
    minutes: Column
    opening_minutes: float
    basis: Basis
    words: str

    def rows(self, where: Flags | Places) -> Estimates:
        """Return those of some of the labels."""
        return replace(
            self,
            dsc=self.dsc[where],
            low=self.low[where],
            high=self.high[where],
            presence=self.presence[where],
            edit_chance=self.edit_chance[where],
            minutes=self.minutes[where],
        )
