"""A small model of columns: an offset for each structure and rising steps of a few scores.

It is fitted anew at every triage, so it must be quick and the same each time, must not trust few
labels, and a worse score must never make a better label. Hence a sum of piecewise linear functions
that only rise, with offsets of structures that are drawn toward their common mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from model.triage.score_table import Codes, Column

Loss = Literal["squared", "logistic"]
Matrix = npt.NDArray[np.float64]

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97, 1.0)
"""Where the steps of a score begin and end, closer where few labels are bad. Past the outer ones
nothing is learned, so the model is flat there."""
_STRAIGHT = 0.1
"""What a line over the whole range of a score costs beside its steps, so that little data draw a
line."""
_LEAST_KNOWN = 0.5
_LEAST_RANGE = 1e-9
_CERTAIN = 1e-6
"""Ridge of the base of a likelihood, which has no greatest point where all targets are alike."""


@dataclass(frozen=True, slots=True, eq=False)
class Rise:
    """What one column adds.

    Attributes:
        place: Of the column.
        knots: Values of the column, rising, shape (K,).
        values: What is added there, not falling, shape (K,).
        typical: What stands in where the column is NaN, by structure, shape (S,).
    """

    place: int
    knots: Column
    values: Column
    typical: Column


@dataclass(frozen=True, slots=True, eq=False)
class AdditiveModel:
    """A fitted sum.

    Attributes:
        base: Of a structure that was not seen.
        offsets: Added for each structure, shape (S,); 0 for those not seen.
        rises: Of the columns that were not constant.
        loss: What it was fitted with; a logistic one predicts probabilities.
    """

    base: float
    offsets: Column
    rises: tuple[Rise, ...]
    loss: Loss

    def predict(self, columns: Sequence[Column], structure: Codes) -> Column:
        """Return the sum, or its probability, for N rows, shape (N,)."""
        total = self.base + self.offsets[structure]
        for rise in self.rises:
            total += np.interp(
                _filled(columns[rise.place], rise.typical, structure), rise.knots, rise.values
            )
        return special.expit(total) if self.loss == "logistic" else total


@dataclass(frozen=True, slots=True)
class Penalty:
    """How many labels it takes to move something half way.

    Attributes:
        offset: An offset of a structure.
        lead: A step of the first column, which is known to matter.
        rise: A step of the others.
    """

    offset: float
    lead: float
    rise: float


def fit_additive(
    columns: Sequence[Column],
    structure: Codes,
    target: Column,
    *,
    structures: int,
    penalty: Penalty,
    loss: Loss = "squared",
) -> AdditiveModel:
    """Fit the sum by penalised least squares or likelihood.

    Args:
        columns: Each of shape (N,), NaN where it is not known; more of one never lowers the sum.
        structure: Of each row, shape (N,).
        target: Finite, shape (N,); 0 to 1 for a logistic loss.
        structures: How many there are in all.
        penalty: Ridge on offsets and steps; the base is free.
        loss: See ``Loss``.
    """
    design = _Design.of(columns, structure, structures)
    matrix, ridge = design.matrix(columns, structure), design.ridge(penalty)
    if loss == "logistic":
        return design.model(_likeliest(matrix, target, ridge, design.free), loss)
    weights = _least_squares(matrix.T @ matrix, matrix.T @ target, ridge, design.free)
    return design.model(weights, loss)


def chosen_penalty(
    columns: Sequence[Column],
    structure: Codes,
    target: Column,
    *,
    structures: int,
    fold: Codes,
    grid: Sequence[Penalty],
) -> Penalty:
    """Return the penalty of the lowest squared error on left-out rows, the first of equals.

    Args:
        columns: As for ``fit_additive``, as the next three.
        structure: Of each row.
        target: Of each row.
        structures: How many there are in all.
        fold: Which rows are left out together, shape (N,).
        grid: What to choose from.
    """
    design = _Design.of(columns, structure, structures)
    matrix = design.matrix(columns, structure)
    parts = [fold == number for number in np.unique(fold)]
    products = [(matrix[part].T @ matrix[part], matrix[part].T @ target[part]) for part in parts]
    gram, moment = (sum(product[place] for product in products) for place in (0, 1))
    errors = []
    for penalty in grid:
        ridge, error = design.ridge(penalty), 0.0
        for part, (own_gram, own_moment) in zip(parts, products, strict=True):
            weights = _least_squares(gram - own_gram, moment - own_moment, ridge, design.free)
            error += float(np.square(target[part] - matrix[part] @ weights).sum())
        errors.append(error)
    return grid[int(np.argmin(errors))]


@dataclass(frozen=True, slots=True, eq=False)
class _Design:
    """Columns of the linear problem: base, one a structure, then a line and steps of each score."""

    structures: int
    places: tuple[int, ...]
    knots: tuple[Column, ...]
    typical: tuple[Column, ...]

    @classmethod
    def of(cls, columns: Sequence[Column], structure: Codes, structures: int) -> _Design:
        places, knots, typical = [], [], []
        for place, column in enumerate(columns):
            known = np.isfinite(column)
            if known.mean() < _LEAST_KNOWN:
                continue
            points = np.unique(np.quantile(column[known], _QUANTILES))
            points = points[np.r_[True, np.diff(points) > _LEAST_RANGE]]
            if len(points) < 2:
                continue
            places.append(place)
            knots.append(points)
            typical.append(_typical(column, structure, structures))
        return cls(structures, tuple(places), tuple(knots), tuple(typical))

    @property
    def free(self) -> int:
        """Weights before the steps."""
        return 1 + self.structures

    def matrix(self, columns: Sequence[Column], structure: Codes) -> Matrix:
        rows = len(structure)
        one_hot = np.zeros((rows, self.structures))
        one_hot[np.arange(rows), structure] = 1
        parts = [np.ones((rows, 1)), one_hot]
        for place, knots, typical in zip(self.places, self.knots, self.typical, strict=True):
            values = _filled(columns[place], typical, structure)[:, None]
            line = (values - knots[0]) / (knots[-1] - knots[0])
            steps = (values - knots[:-1]) / np.diff(knots)
            parts.append(np.clip(np.hstack([line, steps]), 0, 1))
        return np.hstack(parts)

    def ridge(self, penalty: Penalty) -> Column:
        parts = [np.r_[_CERTAIN, np.full(self.structures, penalty.offset)]]
        for place, knots in zip(self.places, self.knots, strict=True):
            steps = penalty.rise if place else penalty.lead
            parts.append(np.r_[_STRAIGHT * steps, np.full(len(knots) - 1, steps)])
        return np.concatenate(parts)

    def model(self, weights: Column, loss: Loss) -> AdditiveModel:
        rises, start = [], self.free
        for place, knots, typical in zip(self.places, self.knots, self.typical, strict=True):
            line, steps = weights[start], weights[start + 1 : start + len(knots)]
            start += len(knots)
            straight = line * (knots - knots[0]) / (knots[-1] - knots[0])
            rises.append(Rise(place, knots, straight + np.r_[0.0, np.cumsum(steps)], typical))
        return AdditiveModel(float(weights[0]), weights[1 : self.free], tuple(rises), loss)


def _typical(column: Column, structure: Codes, structures: int) -> Column:
    """Return the median of each structure, and of all where it has none, shape (S,)."""
    known = np.isfinite(column)
    typical = np.full(structures, np.median(column[known]))
    for code in np.unique(structure[known]):
        typical[code] = np.median(column[known & (structure == code)])
    return typical


def _filled(column: Column, typical: Column, structure: Codes) -> Column:
    return np.where(np.isnan(column), typical[structure], column)


def _least_squares(gram: Matrix, moment: Column, ridge: Column, free: int) -> Column:
    """Return the weights of least penalised squares, not below 0 after the first ``free``.

    The free ones are eliminated, so that what is left is a non-negative least squares problem.
    """
    system = gram + np.diag(ridge)
    corner, edge = system[:free, :free], system[:free, free:]
    if edge.shape[1] == 0:
        return np.asarray(np.linalg.solve(corner, moment), np.float64)
    solved = np.linalg.solve(corner, np.c_[edge, moment[:free]])
    rest = system[free:, free:] - edge.T @ solved[:, :-1]
    root = np.linalg.cholesky(rest)
    aim = moment[free:] - edge.T @ solved[:, -1]
    steps, _ = optimize.nnls(root.T, np.linalg.solve(root, aim))
    return np.r_[solved[:, -1] - solved[:, :-1] @ steps, steps]


def _likeliest(matrix: Matrix, target: Column, ridge: Column, free: int) -> Column:
    """Return the weights of greatest penalised likelihood, not below 0 after ``free``."""

    def objective(weights: Column) -> tuple[float, Column]:
        total = matrix @ weights
        value = np.logaddexp(0, total).sum() - target @ total + 0.5 * ridge @ weights**2
        return float(value), matrix.T @ (special.expit(total) - target) + ridge * weights

    bounds = [(None, None)] * free + [(0, None)] * (len(ridge) - free)
    start = np.zeros(len(ridge))
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x, np.float64)
