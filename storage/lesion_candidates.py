"""Places that may be a lesion, as stored with the predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.predictions import StoredCandidate


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """A candidate of one closed case."""

    case_id: str
    prediction_id: str
    candidate: StoredCandidate


def candidates_of(
    connection: duckdb.DuckDBPyConnection,
    committee_id: str,
    *,
    case_ids: Sequence[str] | None = None,
    in_mask: bool | None = None,
) -> list[CandidateRecord]:
    """Return the candidates of the cases that a committee closed, highest peaks first by structure.

    Args:
        connection: Of a read.
        committee_id: Whose predictions.
        case_ids: Of these cases alone; all when None.
        in_mask: Those in the mask, those not in it, or both when None.
    """
    rows = connection.execute(
        """SELECT case_id, prediction_id, structure, peak, volume_ml, centre, host_share, in_mask
           FROM current_lesion_candidates
           WHERE committee_id = $committee AND ($cases IS NULL OR list_contains($cases, case_id))
             AND ($in_mask IS NULL OR in_mask = $in_mask)
           ORDER BY seq, structure, peak DESC, volume_ml DESC, centre""",
        {
            "committee": committee_id,
            "cases": None if case_ids is None else list(case_ids),
            "in_mask": in_mask,
        },
    ).fetchall()
    return [_record(row) for row in rows]


def _record(row: tuple[Any, ...]) -> CandidateRecord:
    case_id, prediction_id, structure, peak, volume_ml, (i, j, k), host_share, in_mask = row
    candidate = StoredCandidate(structure, peak, volume_ml, (i, j, k), host_share, in_mask)
    return CandidateRecord(case_id, prediction_id, candidate)


def candidates_outside(
    connection: duckdb.DuckDBPyConnection, prediction_id: str
) -> dict[str, tuple[StoredCandidate, ...]]:
    """Return structure -> places outside its mask that may be it, highest peaks first."""
    rows = connection.execute(
        """SELECT structure, peak, volume_ml, centre, host_share, in_mask FROM lesion_candidates
           WHERE prediction_id = ? AND NOT in_mask
           ORDER BY structure, peak DESC, volume_ml DESC, centre""",
        [prediction_id],
    ).fetchall()
    found: dict[str, list[StoredCandidate]] = {}
    for structure, peak, volume_ml, (i, j, k), host_share, in_mask in rows:
        candidate = StoredCandidate(structure, peak, volume_ml, (i, j, k), host_share, in_mask)
        found.setdefault(structure, []).append(candidate)
    return {name: tuple(own) for name, own in found.items()}
