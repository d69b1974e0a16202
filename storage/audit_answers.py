"""What readers said of the labels of some predictions: reviews of them, and readings beside them.

A review counts where it, or what its version came from, began at the prediction itself; a reading
without the AI's mask where it was drawn for this very prediction. What was said of another
prediction of the same CT does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import duckdb

from storage.audit_draws import audit_seed, ticket_sql, way_of
from storage.blind_items import Key
from storage.label_sources import seen_with_ai
from storage.labels import LabelMask, label_mask
from storage.predictions import CONSENSUS

Connection = duckdb.DuckDBPyConnection

UnitKey = tuple[str, str, str]
"""Committee, patient and structure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FramedLabel:
    """One label of a frame: what the consensus of a prediction says of one structure.

    Attributes:
        unit: What it is drawn with.
        predicted: The label itself.
        aided_ticket: Where its unit stands in the order of audits with the AI's mask.
        unaided_ticket: The same of readings without it.
    """

    case_id: str
    structure: str
    prediction_id: str
    unit: UnitKey
    predicted: LabelMask
    aided_ticket: str
    unaided_ticket: str

    @property
    def key(self) -> Key:
        """Case and structure."""
        return (self.case_id, self.structure)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a reader said of a label.

    Attributes:
        verdict: ``defer`` is no answer.
        mask: What the reader's label is then; None where there is none, as of a rejection.
    """

    verdict_id: str
    verdict: str
    mask: LabelMask | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnReading:
    """A label that was drawn to be read without the AI's mask.

    Attributes:
        answer: The reader's first reading afterwards; None while it waits. A deferral waits.
        saw_ai: The reader has judged the label with the AI's mask in sight before reading it.
    """

    reader: str
    answer: Answer | None
    saw_ai: bool


def framed_labels(connection: Connection, prediction_ids: Collection[str]) -> list[FramedLabel]:
    """Return the labels of predictions that nobody had judged when their audit began.

    That is the first draw after the prediction; before any, now. What was judged earlier was not
    left to chance.

    Args:
        connection: An open index, in which the audit was opened.
        prediction_ids: One of each case.
    """
    tickets = [
        ticket_sql(f"'{way_of(unaided=unaided)}'", "f.committee_id", "f.patient_id", "f.structure")
        for unaided in (False, True)
    ]
    rows = connection.execute(
        f"""WITH framed AS (
                SELECT p.case_id, s.structure, p.prediction_id, p.committee_id,
                       coalesce(o.patient_id, p.case_id) AS patient_id,
                       (SELECT min(seq) FROM (SELECT seq FROM audit_seeds
                                              UNION ALL SELECT seq FROM audit_draws)
                        WHERE seq > p.seq) AS began
                FROM predictions p
                JOIN scores s ON s.prediction_id = p.prediction_id AND s.member = $voter
                LEFT JOIN current_patients o ON o.case_id = p.case_id
                WHERE p.prediction_id IN (SELECT unnest($ids))
            ), judged AS (
                SELECT case_id, structure, min(seq) AS seq FROM verdicts
                WHERE reading = 'review' AND verdict <> 'defer' GROUP BY case_id, structure
            )
            SELECT f.case_id, f.structure, f.prediction_id, f.committee_id, f.patient_id,
                   m.object, m.box, coalesce(m.voxels, 0), {tickets[0]}, {tickets[1]}
            FROM (
                SELECT f.* FROM framed f LEFT JOIN judged j
                  ON j.case_id = f.case_id AND j.structure = f.structure
                WHERE j.seq IS NULL OR j.seq > f.began
            ) f LEFT JOIN masks m ON m.prediction_id = f.prediction_id
                                 AND m.structure = f.structure AND m.member = $voter
            ORDER BY f.case_id, f.structure""",  # noqa: S608 literals of storage
        {"ids": list(prediction_ids), "voter": CONSENSUS, "seed": audit_seed(connection)},
    ).fetchall()
    return [
        FramedLabel(
            case_id=row[0],
            structure=row[1],
            prediction_id=row[2],
            unit=(row[3], row[4], row[1]),
            predicted=label_mask(*row[5:8]),
            aided_ticket=row[8],
            unaided_ticket=row[9],
        )
        for row in rows
    ]


def reviews_of(connection: Connection, prediction_ids: Collection[str]) -> dict[Key, list[Answer]]:
    """Return the reviews that began at the predictions' own labels, oldest first."""
    rows = connection.execute(
        """SELECT v.case_id, v.structure, v.verdict_id, v.verdict, v.base_version, l.verdict_id,
                  l.object, l.box, l.voxels
           FROM verdicts v LEFT JOIN label_versions l
             ON l.verdict_id = v.verdict_id AND l.structure = v.structure
           WHERE v.reading = 'review' AND v.case_id IN (
               SELECT case_id FROM predictions WHERE prediction_id IN (SELECT unnest($ids)))
           ORDER BY v.seq""",
        {"ids": list(prediction_ids)},
    ).fetchall()
    parents = dict(
        connection.execute(
            "SELECT version_id, parent FROM label_versions WHERE reading = 'review'"
        ).fetchall()
    )
    wanted = set(prediction_ids)
    found: dict[Key, list[Answer]] = {}
    for case_id, structure, verdict_id, verdict, base, made, *mask in rows:
        if _root(base, parents) in wanted:
            own = None if made is None else label_mask(*mask)
            answer = Answer(verdict_id=verdict_id, verdict=verdict, mask=own)
            found.setdefault((case_id, structure), []).append(answer)
    return found


def readings_of(
    connection: Connection, prediction_ids: Collection[str]
) -> dict[Key, list[DrawnReading]]:
    """Return what was drawn of predictions to be read without the AI's mask, oldest draw first."""
    rows = connection.execute(
        """SELECT d.case_id, d.structure, d.reader, v.verdict_id, v.verdict, v.seq,
                  l.object, l.box, coalesce(l.voxels, 0)
           FROM audit_draws d LEFT JOIN verdicts v
             ON v.case_id = d.case_id AND v.structure = d.structure AND v.reader = d.reader
            AND v.reading = 'independent' AND v.seq > d.seq
           LEFT JOIN label_versions l ON l.verdict_id = v.verdict_id AND l.structure = v.structure
           WHERE d.unaided AND d.prediction_id IN (SELECT unnest($ids))
           QUALIFY row_number() OVER (
               PARTITION BY d.draw_id, d.case_id, d.structure
               ORDER BY coalesce(v.verdict = 'defer', true), v.seq) = 1
           ORDER BY d.seq""",
        {"ids": list(prediction_ids)},
    ).fetchall()
    seen = {reader: seen_with_ai(connection, reader) for reader in {row[2] for row in rows}}
    found: dict[Key, list[DrawnReading]] = {}
    for case_id, structure, reader, verdict_id, verdict, seq, *mask in rows:
        key = (case_id, structure)
        answer = None
        if verdict_id is not None:
            own = None if verdict == "defer" else label_mask(*mask)
            answer = Answer(verdict_id=verdict_id, verdict=verdict, mask=own)
        looked = seen[reader].get(key)
        saw_ai = looked is not None and (seq is None or verdict == "defer" or looked < seq)
        found.setdefault(key, []).append(DrawnReading(reader=reader, answer=answer, saw_ai=saw_ai))
    return found


def touched_labels(connection: Connection) -> set[Key]:
    """Return what somebody had before the eyes with the AI's mask, were it as a neighbour."""
    rows = connection.execute(
        """SELECT case_id, structure FROM verdicts WHERE reading = 'review'
           UNION SELECT case_id, structure FROM label_versions WHERE reading = 'review'"""
    ).fetchall()
    return {(case_id, structure) for case_id, structure in rows}


def _root(base: str | None, parents: Mapping[str, str | None]) -> str | None:
    while base is not None and base in parents:
        base = parents[base]
    return base
