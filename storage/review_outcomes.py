"""What people said of the labels of one committee, beside the mask that the committee had drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from storage.blind_items import RESERVED_DAYS
from storage.label_sources import seen_with_ai
from storage.labels import LabelMask, label_mask
from storage.predictions import CONSENSUS

Connection = duckdb.DuckDBPyConnection

SESSION_MINUTES = 30
"""After a longer pause, a reader opens even the same CT anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewOutcome:
    """The last word on one label.

    Attributes:
        verdict: ``accept``, ``correct``, ``absent`` or ``reject``; ``defer`` of an audit's label
            that has no answer.
        predicted: The committee's mask.
        read: What the reader says is right; None for a label that was rejected or has no answer.
        unaided: Read without seeing the AI's mask.
        audit: The label was drawn at random for the audit, as this committee saw it, to be read in
            this way; one drawn to be read unaided that the queue brings to somebody is the queue's.
        first_look: The reader judged the committee's mask itself, not what others had made of it.
        opens: The first label that its reader judged in the CT, after another CT or a long pause.
        active_s: Recorded seconds of work.
        voxels_changed: Of a correction.
    """

    case_id: str
    structure: str
    verdict: str
    predicted: LabelMask
    read: LabelMask | None
    unaided: bool
    audit: bool
    first_look: bool
    opens: bool
    active_s: float
    voxels_changed: int

    @property
    def is_there(self) -> bool | None:
        """Whether the reader saw the structure; None for a rejected label."""
        return None if self.read is None else self.read.object is not None

    @property
    def is_changed(self) -> bool:
        """Whether the label did not stay as the committee drew it."""
        return self.read is None or self.read.object != self.predicted.object

    @property
    def counted_dsc(self) -> float | None:
        """DSC of the committee's mask with the reader's, where it follows without decoding.

        1 for one and the same object and 0 where one is empty. For a correction of the committee's
        own mask, A and B voxels of which C changed, it is exactly 1 - C / (A + B).
        """
        if self.read is None or self.read.object is self.predicted.object is None:
            return None
        if self.read.object == self.predicted.object:
            return 1.0
        if None in (self.read.object, self.predicted.object):
            return 0.0
        return self._from_changed(self.read.voxels) if self.first_look else None

    def _from_changed(self, voxels: int) -> float | None:
        """Return the DSC by the recorded change, unless the numbers cannot be of two masks."""
        both, changed = self.predicted.voxels + voxels, self.voxels_changed
        least = max(abs(self.predicted.voxels - voxels), 1)
        is_sound = least <= changed <= both and (both - changed) % 2 == 0
        return 1 - changed / both if is_sound else None


def review_outcomes(connection: Connection, committee_id: str) -> list[ReviewOutcome]:
    """Return the last review of each label that goes back to a committee's own mask.

    Left out are deferred and returned reviews, those that brought an older label back, checks of
    known truths, and labels that changed only along with a neighbour.

    Args:
        connection: An open index.
        committee_id: One version of the committee.
    """
    parents = _parents(connection)
    rows = connection.execute(
        _REVIEWS,
        {
            "committee": committee_id,
            "voter": CONSENSUS,
            "pause": SESSION_MINUTES,
            "unaided": False,
        },
    ).fetchall()
    outcomes = []
    for case_id, structure, verdict, base, prediction_id, audit, opens, *rest in rows:
        if _root(base, parents) != prediction_id:
            continue
        active_s, changed, *masks = rest
        predicted, read = label_mask(*masks[:3]), label_mask(*masks[3:])
        outcomes.append(
            ReviewOutcome(
                case_id=case_id,
                structure=structure,
                verdict=verdict,
                predicted=predicted,
                read=None if verdict == "reject" else read,
                unaided=False,
                audit=audit,
                first_look=base == prediction_id,
                opens=opens,
                active_s=active_s,
                voxels_changed=changed,
            )
        )
    return outcomes


def unaided_outcomes(connection: Connection, committee_id: str) -> list[ReviewOutcome]:
    """Return the newest reading of each label that was made without seeing the AI's mask.

    Readings whose reader had judged the label with the AI's mask before are left out.

    Args:
        connection: An open index.
        committee_id: The committee whose masks are set beside the readings.
    """
    rows = connection.execute(
        _READINGS, {"committee": committee_id, "voter": CONSENSUS, "unaided": True}
    ).fetchall()
    seen = {reader: seen_with_ai(connection, reader) for reader in {row[3] for row in rows}}
    newest: dict[tuple[str, str], ReviewOutcome] = {}
    for case_id, structure, verdict, reader, seq, audit, *masks in rows:
        key = (case_id, structure)
        if seen[reader].get(key, seq) < seq:
            continue
        newest[key] = ReviewOutcome(
            case_id=case_id,
            structure=structure,
            verdict=verdict,
            predicted=label_mask(*masks[:3]),
            read=label_mask(*masks[3:]),
            unaided=True,
            audit=audit,
            first_look=False,
            opens=False,
            active_s=0.0,
            voxels_changed=0,
        )
    return list(newest.values())


def unanswered_audits(
    connection: Connection, committee_id: str, *, unaided: bool, now: datetime
) -> list[ReviewOutcome]:
    """Return the audit's labels whose answer is a deferral or was returned, or overdue.

    They are the hard ones: an audit without them would make labels look better than they are. What
    was given to a reader lately may wait.

    Args:
        connection: An open index.
        committee_id: One version of the committee.
        unaided: Of the labels to be read without the AI's mask, or of the others.
        now: UTC without a zone.
    """
    rows = connection.execute(
        _UNANSWERED_READINGS if unaided else _UNANSWERED_REVIEWS,
        {"committee": committee_id, "voter": CONSENSUS, "unaided": unaided, "now": now},
    ).fetchall()
    return [
        ReviewOutcome(
            case_id=case_id,
            structure=structure,
            verdict="defer",
            predicted=label_mask(*mask),
            read=None,
            unaided=unaided,
            audit=True,
            first_look=False,
            opens=False,
            active_s=0.0,
            voxels_changed=0,
        )
        for case_id, structure, *mask in rows
    ]


def _parents(connection: Connection) -> dict[str, str | None]:
    return dict(
        connection.execute(
            "SELECT version_id, parent FROM label_versions WHERE reading = 'review'"
        ).fetchall()
    )


def _root(base: str | None, parents: Mapping[str, str | None]) -> str | None:
    """Return the prediction that a chain of versions began with."""
    while base is not None and base in parents:
        base = parents[base]
    return base


_AUDITED = """
    own AS (SELECT case_id, prediction_id FROM closed_cases WHERE committee_id = $committee),
    audited AS (
        SELECT case_id, structure, prediction_id, min(seq) AS seq, max(recorded_at) AS given_at
        FROM (
            SELECT b.case_id, b.structure, b.prediction_id, b.seq, b.recorded_at FROM blind_items b
            WHERE b.arm = 'audit' AND NOT $unaided
            UNION ALL
            SELECT a.case_id, a.structure, a.prediction_id, a.seq, a.recorded_at FROM audit_draws a
            WHERE a.unaided = $unaided
        ) SEMI JOIN own USING (prediction_id)
        GROUP BY case_id, structure, prediction_id
    )
"""

_REVIEWS = f"""
    WITH {_AUDITED}, timed AS (
        SELECT verdict_id, coalesce(
                   lag(case_id) OVER turns <> case_id
                   OR recorded_at - lag(recorded_at) OVER turns > to_minutes($pause), true) AS opens
        FROM verdicts WINDOW turns AS (PARTITION BY reader ORDER BY seq)
    )
    SELECT d.case_id, d.structure, d.verdict, d.base_version, own.prediction_id,
           u.case_id IS NOT NULL, t.opens, d.active_s, d.voxels_changed,
           m.object, m.box, coalesce(m.voxels, 0), v.object, v.box, coalesce(v.voxels, 0)
    FROM current_verdicts d
    JOIN own ON own.case_id = d.case_id
    JOIN timed t ON t.verdict_id = d.verdict_id
    LEFT JOIN masks m ON m.prediction_id = own.prediction_id AND m.member = $voter
                     AND m.structure = d.structure
    LEFT JOIN label_versions v ON v.verdict_id = d.verdict_id AND v.structure = d.structure
    LEFT JOIN current_decisions a ON a.verdict_id = d.verdict_id
    LEFT JOIN audited u ON u.case_id = d.case_id AND u.structure = d.structure
    WHERE d.verdict <> 'defer' AND d.restores IS NULL
      AND a.outcome IS DISTINCT FROM 'returned'
    ORDER BY d.seq
"""  # noqa: S608 literals of this module

_READINGS = f"""
    WITH {_AUDITED}
    SELECT v.case_id, v.structure, d.verdict, d.reader, v.seq, u.case_id IS NOT NULL,
           m.object, m.box, coalesce(m.voxels, 0), v.object, v.box, coalesce(v.voxels, 0)
    FROM label_versions v
    JOIN verdicts d ON d.verdict_id = v.verdict_id
    JOIN own ON own.case_id = v.case_id
    LEFT JOIN masks m ON m.prediction_id = own.prediction_id AND m.member = $voter
                     AND m.structure = v.structure
    LEFT JOIN audited u ON u.case_id = v.case_id AND u.structure = v.structure
    WHERE v.reading = 'independent'
    ORDER BY v.seq
"""  # noqa: S608 literals of this module

_OVERDUE = f"u.given_at <= $now - INTERVAL {RESERVED_DAYS} DAY"

_UNANSWERED_REVIEWS = f"""
    WITH {_AUDITED}
    SELECT u.case_id, u.structure, m.object, m.box, coalesce(m.voxels, 0)
    FROM audited u
    LEFT JOIN current_verdicts d ON d.case_id = u.case_id AND d.structure = u.structure
    LEFT JOIN current_decisions c ON c.verdict_id = d.verdict_id
    LEFT JOIN masks m ON m.prediction_id = u.prediction_id AND m.member = $voter
                     AND m.structure = u.structure
    WHERE CASE WHEN c.outcome = 'returned' THEN true
               WHEN d.verdict = 'defer' AND d.seq > u.seq THEN true
               WHEN d.verdict IS NULL OR d.verdict = 'defer' THEN {_OVERDUE}
               ELSE false END
    ORDER BY u.case_id, u.structure
"""  # noqa: S608 literals of this module

_UNANSWERED_READINGS = f"""
    WITH {_AUDITED}, said AS (
        SELECT u.case_id, u.structure, bool_or(v.verdict <> 'defer') AS is_read
        FROM audited u JOIN verdicts v
          ON v.case_id = u.case_id AND v.structure = u.structure AND v.seq > u.seq
         AND v.reading = 'independent'
        GROUP BY u.case_id, u.structure
    )
    SELECT u.case_id, u.structure, m.object, m.box, coalesce(m.voxels, 0)
    FROM audited u
    LEFT JOIN said s ON s.case_id = u.case_id AND s.structure = u.structure
    LEFT JOIN masks m ON m.prediction_id = u.prediction_id AND m.member = $voter
                     AND m.structure = u.structure
    WHERE CASE WHEN s.is_read IS NULL THEN {_OVERDUE} ELSE NOT s.is_read END
    ORDER BY u.case_id, u.structure
"""  # noqa: S608 literals of this module
