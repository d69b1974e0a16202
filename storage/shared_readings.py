"""What two readers drew of one item without seeing the AI's mask, for their agreement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import duckdb

from storage.grid import Grid
from storage.label_crops import case_grids
from storage.label_sources import LabelSource, labels_of, list_sources
from storage.labels import LabelMask

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class SharedReading:
    """One item that two readers drew independently: their first reading of it each."""

    case_id: str
    structure: str
    first: str
    second: str
    first_mask: LabelMask
    second_mask: LabelMask
    grid: Grid


def shared_readings(connection: Connection, *, limit: int) -> list[SharedReading]:
    """Return what every two readers share, at most ``limit`` items a pair, by case.

    A reading whose reader had reviewed the AI's mask before is none.
    """
    readers = [one.source for one in list_sources(connection) if one.source.reading == 1]
    labels = {source: labels_of(connection, source).labels for source in readers}
    found = []
    for one, other in combinations(readers, 2):
        common = [
            key
            for key in sorted(labels[one].keys() & labels[other].keys())
            if "edit" not in (labels[one][key].origin, labels[other][key].origin)
        ]
        found += [(key, one, other) for key in common[:limit]]
    grids = case_grids(connection, _cases(found))
    return [
        SharedReading(
            case_id=key[0],
            structure=key[1],
            first=one.name,
            second=other.name,
            first_mask=labels[one][key].mask,
            second_mask=labels[other][key].mask,
            grid=grids[key[0]],
        )
        for key, one, other in found
    ]


def _cases(found: Sequence[tuple[tuple[str, str], LabelSource, LabelSource]]) -> list[str]:
    return sorted({key[0] for key, *_ in found})
