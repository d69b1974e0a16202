"""Answered items of a known truth: the masks that a reader saw, made and was measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from configs.errors import UsageError
from storage.blind_items import AnsweredItem, answered_items
from storage.grid import Grid
from storage.label_crops import case_grids
from storage.label_sources import SourceLabels, labels_of, parse_source
from storage.labels import ABSENT, LabelMask, label_mask
from storage.predictions import CONSENSUS

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class KnownItem:
    """One answered item with its three masks.

    Attributes:
        own: What the verdict made; None where it made none, as a rejection.
        shown: What the reader saw.
    """

    item: AnsweredItem
    truth: LabelMask
    own: LabelMask | None
    shown: LabelMask
    grid: Grid


def known_items(connection: Connection, *, reader: str | None = None) -> list[KnownItem]:
    """Return the answered items of a known truth, in the order of the verdicts.

    Raises:
        UsageError: A truth is gone.
    """
    answered = answered_items(connection, "known_truth", reader=reader)
    names = {item.truth for item in answered if item.truth is not None}
    sources = {name: labels_of(connection, parse_source(name)) for name in sorted(names)}
    grids = case_grids(connection, sorted({item.case_id for item in answered}))
    return [
        KnownItem(
            item,
            _truth(item, sources),
            _own(connection, item),
            _shown(connection, item),
            grids[item.case_id],
        )
        for item in answered
    ]


def readers_of_sets(connection: Connection) -> dict[str, Sequence[str]]:
    """Return qualification set -> the readers it was given to, by name."""
    rows = connection.execute(
        """SELECT set_name, list_sort(list_distinct(list(reader))) FROM blind_items
           WHERE set_name IS NOT NULL GROUP BY set_name"""
    ).fetchall()
    return dict(rows)


def _truth(item: AnsweredItem, sources: Mapping[str, SourceLabels]) -> LabelMask:
    found = sources[item.truth].labels.get((item.case_id, item.structure)) if item.truth else None
    if found is None:
        raise UsageError(
            f"the truth of {item.structure} of {item.case_id} is gone from {item.truth}; it was "
            "there when the item was assigned"
        )
    return found.mask


def _own(connection: Connection, item: AnsweredItem) -> LabelMask | None:
    row = connection.execute(
        """SELECT object, box, voxels FROM label_versions
           WHERE verdict_id = ? AND structure = ?""",
        [item.verdict_id, item.structure],
    ).fetchone()
    return None if row is None else label_mask(*row)


def _shown(connection: Connection, item: AnsweredItem) -> LabelMask:
    row = connection.execute(
        """SELECT object, box, voxels FROM masks
           WHERE prediction_id = $base AND member = $committee AND structure = $structure
           UNION ALL
           SELECT object, box, voxels FROM label_versions WHERE version_id = $base""",
        {"base": item.base_version, "committee": CONSENSUS, "structure": item.structure},
    ).fetchone()
    return ABSENT if row is None else label_mask(*row)
