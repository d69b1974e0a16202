"""The scores of all cases that a committee closed, by column, for ranking many at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from storage.predictions import CONSENSUS

Connection = duckdb.DuckDBPyConnection

Fetched = npt.NDArray[np.generic]
"""A column as DuckDB gives it: masked where it has NULL."""

NUMBERS = (
    "volume_ml",
    "pairwise_dice",
    "pairwise_dice_least",
    "self_consistency",
    "entropy_mean",
    "entropy_border",
    "entropy_worst",
    "inconsistency",
    "tta_dice",
    "overlap_exclusive",
    "max_probability",
    "removed_ml",
    "attention_voxels",
    "attention_heat",
    "attention_mm3",
)
"""Columns of the consensus' row."""

MEMBER_NUMBERS = (
    "covering_members",
    "seeing_members",
    "volume_spread",
    "low_ml",
    "high_ml",
    "highest_probability",
    "findings",
    "candidates",
    "candidate_peak",
)
"""What is counted over members, findings and lesion candidates."""

WORDS = ("odd_one", "only_member", "seen_by", "finding")

_QUERY = f"""
    WITH rows AS (
        SELECT c.case_id, s.* FROM closed_cases c JOIN scores s USING (prediction_id)
        WHERE c.committee_id = $committee
    ),
    members AS (
        SELECT prediction_id, structure,
               count(*) AS covering_members,
               count(*) FILTER (volume_ml > 0) AS seeing_members,
               CASE WHEN count(*) > 1
                    THEN stddev_pop(volume_ml) / nullif(avg(volume_ml), 0) END AS volume_spread,
               min(volume_ml) AS low_ml, max(volume_ml) AS high_ml,
               max(max_probability) AS highest_probability,
               CASE WHEN count(pairwise_dice) > 2
                     AND min(pairwise_dice, 2)[1] < min(pairwise_dice, 2)[2]
                    THEN arg_min(member, pairwise_dice) END AS odd_one,
               CASE WHEN count(*) = 1 THEN any_value(member) END AS only_member
        FROM rows WHERE member <> $consensus GROUP BY prediction_id, structure
    ),
    unseen AS (
        SELECT r.prediction_id, r.structure,
               string_agg(r.member || ' (' || CASE
                   WHEN r.volume_ml >= 10 THEN printf('%.0f', r.volume_ml)
                   WHEN r.volume_ml >= 1 THEN printf('%.1f', r.volume_ml)
                   ELSE printf('%.2g', r.volume_ml) END || ' mL)', ' and ' ORDER BY r.member
               ) AS seen_by
        FROM rows r JOIN rows k ON k.prediction_id = r.prediction_id AND k.structure = r.structure
             AND k.member = $consensus AND NOT k.volume_ml > 0
        WHERE r.member <> $consensus AND r.volume_ml > 0 GROUP BY r.prediction_id, r.structure
    ),
    found AS (
        SELECT prediction_id, structure, count(*) AS findings,
               string_agg(DISTINCT rule, ', ' ORDER BY rule) AS finding
        FROM current_findings WHERE severity = 'fault' GROUP BY prediction_id, structure
    ),
    likely AS (
        SELECT prediction_id, structure, count(*) AS candidates, max(peak) AS candidate_peak
        FROM lesion_candidates WHERE NOT in_mask GROUP BY prediction_id, structure
    )
    SELECT r.case_id, r.structure, p.patient_id, {", ".join(f"r.{name}" for name in NUMBERS)},
           coalesce(m.covering_members, 0) AS covering_members,
           coalesce(m.seeing_members, 0) AS seeing_members,
           m.volume_spread, m.low_ml, m.high_ml,
           greatest(r.max_probability, m.highest_probability) AS highest_probability,
           CASE WHEN k.prediction_id IS NULL THEN NULL ELSE coalesce(f.findings, 0) END AS findings,
           coalesce(l.candidates, 0) AS candidates, l.candidate_peak,
           m.odd_one, m.only_member, u.seen_by, f.finding
    FROM rows r
    JOIN current_patients p ON p.case_id = r.case_id
    LEFT JOIN members m ON m.prediction_id = r.prediction_id AND m.structure = r.structure
    LEFT JOIN unseen u ON u.prediction_id = r.prediction_id AND u.structure = r.structure
    LEFT JOIN found f ON f.prediction_id = r.prediction_id AND f.structure = r.structure
    LEFT JOIN likely l ON l.prediction_id = r.prediction_id AND l.structure = r.structure
    LEFT JOIN (SELECT DISTINCT prediction_id FROM checked_predictions) k
           ON k.prediction_id = r.prediction_id
    WHERE r.member = $consensus
    ORDER BY r.case_id, r.structure
"""  # noqa: S608 literals of storage


@dataclass(frozen=True, slots=True, eq=False)
class ScoreColumns:
    """N labels, each a structure of a case as the committee sees it.

    Attributes:
        case_ids, patients: Names that ``case`` and ``patient`` count through.
        structures: Names that ``structure`` counts through.
        case, patient, structure: Shape (N,).
        numbers: ``NUMBERS`` and ``MEMBER_NUMBERS``, shape (N,); NaN where not defined.
        words: ``WORDS``, shape (N,); None where there are none.
    """

    case_ids: tuple[str, ...]
    patients: tuple[str, ...]
    structures: tuple[str, ...]
    case: npt.NDArray[np.int32]
    patient: npt.NDArray[np.int32]
    structure: npt.NDArray[np.int32]
    numbers: dict[str, npt.NDArray[np.float64]]
    words: dict[str, npt.NDArray[np.object_]]

    def __len__(self) -> int:
        """Return N."""
        return len(self.case)


def score_columns(connection: Connection, committee_id: str) -> ScoreColumns:
    """Return the scores of every case that a committee closed, in the order of the cases' ids.

    Not in that of closing: which case a killed run leaves for last must not change the queue.
    ``benchmarks/triage_million.py`` times it for a million rows of scores.
    """
    found: dict[str, Any] = connection.execute(
        _QUERY, {"committee": committee_id, "consensus": CONSENSUS}
    ).fetchnumpy()
    case_ids, case = _codes(found["case_id"])
    patients, patient = _codes(found["patient_id"])
    structures, structure = _codes(found["structure"])
    return ScoreColumns(
        case_ids=case_ids,
        patients=patients,
        structures=structures,
        case=case,
        patient=patient,
        structure=structure,
        numbers={name: _numbers(found[name]) for name in (*NUMBERS, *MEMBER_NUMBERS)},
        words={name: _words(found[name]) for name in WORDS},
    )


def _codes(names: Fetched) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Return the different names in the order of their first row, and each row's place in them."""
    places: dict[str, int] = {}
    codes = np.fromiter(
        (places.setdefault(name, len(places)) for name in names), np.int32, len(names)
    )
    return tuple(places), codes


def _numbers(column: Fetched) -> npt.NDArray[np.float64]:
    return np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)


def _words(column: Fetched) -> npt.NDArray[np.object_]:
    masked = np.ma.asarray(column)
    words = np.array(np.ma.getdata(masked), object)
    words[np.ma.getmaskarray(masked)] = None
    return words
