"""What opening a label is expected to bring, and the order that brings most in little time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.triage.estimates import Estimates
from model.triage.score_table import Codes, Column, ScoreTable

Places = npt.NDArray[np.intp]


def expected_gain(
    table: ScoreTable, estimates: Estimates, *, weights: Column, ceilings: Column
) -> Column:
    """Return the expected gain in DSC of opening each label, shape (N,); NaN where none is known.

    Weight times the expected shortfall that the reader makes good. If the structure is there, a
    mask lacks something to the ceiling, times the chance of an edit; a missed one lacks all of it.
    If it is not there, a mask lacks the whole ceiling. Whoever opens the last two sees it.

    Args:
        table: The labels.
        estimates: Of the same labels.
        weights: By structure, in the order of ``table.structures``.
        ceilings: DSC that two readers reach with each other, by structure.
    """
    ceiling = ceilings[table.structure]
    has_mask = table["volume_ml"] > 0
    lacking = np.maximum(0.0, ceiling - estimates.dsc) * estimates.edit_chance
    if_there = np.where(has_mask, lacking, ceiling)
    if_absent = np.where(has_mask, ceiling, 0.0)
    presence = estimates.presence
    shortfall = presence * if_there + (1 - presence) * if_absent
    return weights[table.structure] * shortfall


def by_rate(
    gain: Column, minutes: Column, case: Codes, *, opening_minutes: float
) -> tuple[Places, Column]:
    """Order labels so that the gain grows fastest with the minutes, CTs opened once.

    A CT's labels come by falling gain per minute. Its head, as many labels as give the highest rate
    together with the opening, is one block; every further label is a block of its own, since the CT
    is open by then. Blocks come by falling rate, which is best for such chains (Sidney 1975).

    Args:
        gain: Of each label, shape (N,), 0 or more; NaN counts as 0.
        minutes: Of each, more than 0.
        case: The CT of each.
        opening_minutes: Of opening a CT, 0 or more.

    Returns:
        Places of the labels in order, shape (N,), and each label's block rate, in the labels' own
        order.
    """
    gain = np.nan_to_num(gain, nan=0.0)
    order = np.lexsort((-(gain / minutes), case))
    g, m, c = gain[order], minutes[order], case[order]
    starts = np.flatnonzero(np.r_[True, c[1:] != c[:-1]]) if len(c) else np.zeros(0, np.intp)
    group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(c)]))
    rate = _within(g, starts, group) / (opening_minutes + _within(m, starts, group))
    best = np.maximum.reduceat(rate, starts)[group] if len(c) else rate
    place = np.arange(len(c))
    first_best = np.full(len(starts), len(c))
    reached = np.flatnonzero(rate >= best)
    np.minimum.at(first_best, group[reached], reached)
    block_rate = np.where(place <= first_best[group], best, g / m)
    final = np.lexsort((place, c, -block_rate))
    rates = np.empty(len(c))
    rates[order] = block_rate
    return order[final], rates


def running_minutes(
    order: Places, minutes: Column, case: Codes, *, opening_minutes: float
) -> Column:
    """Return the minutes that are gone when each label of an order is done, shape (N,)."""
    ordered = case[order]
    opens = np.zeros(len(order), np.bool_)
    opens[np.unique(ordered, return_index=True)[1]] = True
    return np.cumsum(minutes[order] + opening_minutes * opens)


def take_turns(order: Places, groups: Codes) -> Places:
    """Return an order in which groups take turns, each keeping its own order.

    The first of every group comes first, then the second of every group; within a turn, groups
    keep the order they had.
    """
    if not len(order):
        return order
    ordered = groups[order]
    by_group = np.argsort(ordered, kind="stable")
    sizes = np.unique(ordered, return_counts=True)[1]
    rank = np.empty(len(order), np.intp)
    rank[by_group] = np.arange(len(order)) - np.repeat(np.r_[0, np.cumsum(sizes)[:-1]], sizes)
    return order[np.argsort(rank, kind="stable")]


def _within(values: Column, starts: Places, group: npt.NDArray[np.intp]) -> Column:
    """Return running sums that begin anew with each group."""
    total = np.cumsum(values)
    before = np.r_[0.0, total][starts]
    return total - before[group]
