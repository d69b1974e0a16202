"""Policies by name: what each would have a reader look at first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from model.triage.estimates import Estimates
from model.triage.gain import Places, by_rate, expected_gain, take_turns
from model.triage.score_table import Column, ScoreTable

Policy = Literal[
    "expected_gain",
    "disagreement",
    "attention",
    "entropy",
    "volume_outlier",
    "random_foreground",
    "round_robin",
]
POLICIES: tuple[Policy, ...] = get_args(Policy)
Objective = Literal["release", "learning"]

_MAD_TO_SD = 1.4826
_LEAST_FOR_OUTLIER = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How a policy is applied.

    Attributes:
        policy: Its name.
        objective: ``release``: the quality of the labels as they are handed out. ``learning``: what
            a network learns most from, so ceilings do not count, structures take turns and so do
            patients.
        weights: By structure, in the order of the table's names.
        ceilings: The same; DSC that two readers reach with each other.
        attention_structures: Whose attention ranks a CT under ``attention``.
        seed: Of ``random_foreground``.
        per_minute: Divide the priority of any other policy by predicted minutes, too.
        turns: Structures take turns, or patients, on top of the policy.
    """

    policy: Policy = "expected_gain"
    objective: Objective = "release"
    weights: Column
    ceilings: Column
    attention_structures: Collection[str] = ()
    seed: int = 0
    per_minute: bool = False
    turns: Literal["none", "structure", "patient"] = "none"


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """Labels in order.

    Attributes:
        order: Places in the table, first to look at first; only those that were asked for.
        risk: What each label was ranked by, in [0, 1], in the table's own order; NaN of others.
        gain: Expected gain in DSC, the same; NaN where nothing is known.
    """

    order: Places
    risk: Column
    gain: Column


def ranked(
    table: ScoreTable,
    estimates: Estimates,
    ranking: Ranking,
    *,
    among: npt.NDArray[np.bool_] | None = None,
) -> Ranked:
    """Order labels by a policy.

    What a policy has no number for comes last, in the order of structures and cases.

    Args:
        table: All labels; volume outliers are judged among all of them.
        estimates: Of the same labels.
        ranking: The policy.
        among: Which labels are to be ranked, shape (N,); all when None.
    """
    ceilings = (
        ranking.ceilings if ranking.objective == "release" else np.ones(len(table.structures))
    )
    gain = expected_gain(table, estimates, weights=ranking.weights, ceilings=ceilings)
    chosen = np.flatnonzero(np.ones(len(table), np.bool_) if among is None else among)
    if ranking.policy == "expected_gain":
        places, _ = by_rate(
            gain[chosen],
            estimates.minutes[chosen],
            table.case[chosen],
            opening_minutes=estimates.opening_minutes,
        )
        order, risk = chosen[places], np.full(len(table), np.nan)
        risk[chosen] = np.clip(gain[chosen], 0, 1)
    else:
        risk = priority(table, ranking)
        value = risk / estimates.minutes if ranking.per_minute else risk
        order = _falling(value, table, chosen)
    order = _with_turns(order, table, ranking)
    return Ranked(order, _unit(risk), gain)


def priority(table: ScoreTable, ranking: Ranking) -> Column:
    """Return what a policy that asks no estimate ranks by, shape (N,); NaN where it has none."""
    return _PRIORITIES[ranking.policy](table, ranking)


def disagreement(table: ScoreTable) -> Column:
    """Return 1 - pairwise Dice; where one member votes alone, of its passes or of itself.

    Source:
        Zenk et al. 2025: pairwise Dice of an ensemble was the best of the scores compared there.
    """
    agreement = np.where(table["covering_members"] > 1, table["pairwise_dice"], np.nan)
    for name in ("tta_dice", "self_consistency"):
        agreement = np.where(np.isnan(agreement), table[name], agreement)
    missed = ~(table["volume_ml"] > 0) & ~(table["seeing_members"] > 0)
    return np.where(missed, table["max_probability"], 1 - agreement)


def _falling(value: Column, table: ScoreTable, chosen: Places) -> Places:
    keys = (table.case[chosen], table.structure[chosen], np.nan_to_num(-value[chosen], nan=np.inf))
    return chosen[np.lexsort(keys)]


def _with_turns(order: Places, table: ScoreTable, ranking: Ranking) -> Places:
    if ranking.objective == "learning":
        return take_turns(take_turns(order, table.structure), table.patient)
    if ranking.turns == "patient":
        return take_turns(order, table.patient)
    if ranking.turns == "structure" or ranking.policy == "round_robin":
        return take_turns(order, table.structure)
    return order


def _attention(table: ScoreTable, ranking: Ranking) -> Column:
    """CTs by their attention over the target organs; within one, labels by their own."""
    wanted = [name in ranking.attention_structures for name in table.structures]
    counts = np.nan_to_num(table["attention_voxels"])
    size = np.zeros(len(table.case_ids))
    np.add.at(size, table.case, counts * np.array(wanted, np.bool_)[table.structure])
    order = np.lexsort((counts, size[table.case]))
    rank = np.empty(len(table))
    rank[order] = np.arange(1, len(table) + 1)
    return np.where(np.isnan(table["attention_voxels"]), np.nan, rank / max(1, len(table)))


def _volume_outlier(table: ScoreTable, ranking: Ranking) -> Column:
    """Distance of the logarithm of the volume from the structure's median, in robust deviations."""
    volume = table["volume_ml"]
    logs = np.log(np.where(volume > 0, volume, np.nan))
    far = np.full(len(table), np.nan)
    for code in np.unique(table.structure):
        rows = np.flatnonzero((table.structure == code) & np.isfinite(logs))
        if len(rows) >= _LEAST_FOR_OUTLIER:
            away = np.abs(logs[rows] - np.median(logs[rows]))
            scale = _MAD_TO_SD * np.median(away)
            far[rows] = away / scale if scale > 0 else 0.0
    return far


def _random_foreground(table: ScoreTable, ranking: Ranking) -> Column:
    drawn = np.random.default_rng(ranking.seed).random(len(table))
    return np.where(table["volume_ml"] > 0, drawn, np.nan)


def _by_disagreement(table: ScoreTable, ranking: Ranking) -> Column:
    return disagreement(table)


def _entropy(table: ScoreTable, ranking: Ranking) -> Column:
    return table["entropy_mean"]


_PRIORITIES: Mapping[str, Callable[[ScoreTable, Ranking], Column]] = {
    "disagreement": _by_disagreement,
    "round_robin": _by_disagreement,
    "attention": _attention,
    "entropy": _entropy,
    "volume_outlier": _volume_outlier,
    "random_foreground": _random_foreground,
}


def _unit(values: Column) -> Column:
    """Return values in [0, 1]; what may be larger is divided by the largest."""
    top = np.nanmax(values) if np.isfinite(values).any() else 1.0
    return values / top if top > 1 else np.clip(values, 0, 1)
