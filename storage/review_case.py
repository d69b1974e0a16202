"""What the case page shows of one CT: every queued or judged structure, read in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import duckdb

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from storage.approvals import ReviewState, own_verdicts
from storage.blind_items import reserved_items
from storage.cases import CaseRow, case_row
from storage.findings import StoredFinding, findings_of, without_mention_of
from storage.grid import Grid
from storage.labels import ABSENT, LabelMask, LabelVersion, bases_of, versions_of_case
from storage.lesion_candidates import candidates_outside
from storage.open_readings import UNREAD
from storage.predictions import (
    CONSENSUS,
    StoredCandidate,
    StoredMap,
    StoredMask,
    manifest_grid,
    maps_of_case,
    masks_of_case,
)
from storage.review_queue import ReviewItem, items_of_case
from storage.roles import Action, check_allowed, is_allowed, registered_roles
from storage.store import Store

Connection = duckdb.DuckDBPyConnection

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class JudgedVerdict:
    """The last review of a structure, and what a second reader said of it.

    Attributes:
        state: ``submitted`` until a second reader approved or returned it.
        decision_id: The decision, None before.
        comment: Of a return.
        is_own: It is this reader's own work, see ``storage.approvals``.
    """

    verdict: str
    reader: str
    tags: tuple[str, ...]
    given_at: datetime
    verdict_id: str
    state: ReviewState
    decision_id: str | None
    decided_by: str | None
    comment: str | None
    is_own: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewCase:
    """One case as the index stood at one moment.

    Attributes:
        grid: The CT's grid, to which all boxes refer.
        prediction_id: The newest prediction.
        items: Its queued structures, worst first, and its blind ones for this reader.
        bases: Structure -> the id and mask that a verdict given now is about, for every structure
            of the taxonomy that this reader may see.
        masks: Structure -> masks of the newest prediction, the consensus first.
        maps: Structure -> maps of the newest prediction.
        verdicts: Structure -> the last review.
        versions: Label versions of the reviews, oldest first.
        held_until: Structure -> expiry of this reader's own claim.
        may_approve: This reader's role allows to approve and return verdicts.
        findings: Structure -> what the plausibility rules found in the newest prediction.
        candidates: Lesion -> places outside its mask that may be one, highest peaks first.
        waiting_blind: Structures that wait for a blind look, of this reader or another. No
            correction of a neighbour may take voxels from them before.
        good_until: When the next claim, reservation or kept return on it ends, and with it what is
            said here; None where there is none.

    Of a blind structure there is the mask to judge and the members' masks, as A, B, ... in an order
    that says nothing; no map, no candidate, no verdict and no version of it, and no finding that
    speaks of it.
    """

    case: CaseRow
    grid: Grid
    prediction_id: str
    items: tuple[ReviewItem, ...]
    bases: Mapping[str, tuple[str, LabelMask]]
    masks: Mapping[str, Sequence[StoredMask]]
    maps: Mapping[str, Sequence[StoredMap]]
    verdicts: Mapping[str, JudgedVerdict]
    versions: tuple[LabelVersion, ...]
    held_until: Mapping[str, datetime]
    may_approve: bool
    findings: Mapping[str, Sequence[StoredFinding]] = field(default_factory=dict)
    candidates: Mapping[str, Sequence[StoredCandidate]] = field(default_factory=dict)
    waiting_blind: frozenset[str] = frozenset()
    good_until: datetime | None = None

    def mask_of_version(self, structure: str, version_id: str) -> LabelMask | None:
        """Return the mask that a version names; None when it is of an older prediction."""
        if version_id == self.bases[structure][0]:
            return self.bases[structure][1]
        for one in self.versions:
            if one.structure == structure and one.version_id == version_id:
                return one.mask
        if version_id != self.prediction_id or self._is_blind(structure):
            return None
        for mask in self.masks.get(structure, ()):
            if mask.member == CONSENSUS:
                return LabelMask(mask.object, mask.box, mask.voxels)
        return ABSENT

    def _is_blind(self, structure: str) -> bool:
        return any(item.is_blind and item.structure == structure for item in self.items)


def read_case(store: Store, case_id: str, *, reader: str, now: datetime) -> ReviewCase:
    """Read everything that a case page needs, under one lock.

    A structure that this reader is to read without the AI's mask, and has not read yet, is left out
    altogether.

    Raises:
        AccessError: The reader is not registered where others are.
        UsageError: No such case, or nobody annotated it.
        StorageError: The workspace is locked or damaged.
    """
    with store.read() as connection:
        check_allowed(connection, reader, Action.LOOK)
        case = case_row(connection, case_id)
        prediction_id = _prediction(connection, case_id)
        hidden = _unread(connection, case_id, reader)
        visible = [name for name in load_taxonomy().names if name not in hidden]
        items = tuple(items_of_case(connection, case_id, reader=reader, now=now))
        blind = {item.structure for item in items if item.is_blind}
        masks = masks_of_case(connection, prediction_id)
        maps = maps_of_case(connection, prediction_id)
        versions = versions_of_case(connection, case_id)
        untold = hidden | blind
        claims = _claims(connection, case_id, now)
        reserved = reserved_items(connection, case_id, reader=reader, now=now)
        ends = [
            *(end for _, _, end in claims),
            *(one.until for one in reserved.values()),
            *_kept_returns(connection, case_id, now),
        ]
        return ReviewCase(
            case=case,
            grid=manifest_grid(store, prediction_id, connection),
            prediction_id=prediction_id,
            items=items,
            bases=bases_of(connection, case_id, visible),
            masks={
                name: _anonymous(found) if name in blind else found
                for name, found in masks.items()
                if name not in hidden
            },
            maps={name: found for name, found in maps.items() if name not in untold},
            verdicts=_verdicts(connection, case_id, untold, reader),
            versions=tuple(one for one in versions if one.structure not in untold),
            held_until={name: end for name, holder, end in claims if holder == reader},
            may_approve=is_allowed(registered_roles(connection), reader, Action.APPROVE),
            findings=without_mention_of(findings_of(connection, prediction_id), untold),
            candidates={
                name: found
                for name, found in candidates_outside(connection, prediction_id).items()
                if name not in untold
            },
            waiting_blind=frozenset(blind).union(reserved),
            good_until=min(ends, default=None),
        )


def _anonymous(masks: Sequence[StoredMask]) -> list[StoredMask]:
    """Return the members' masks under letters, by their contents' hash; the consensus is left out.

    Which member drew which mask is not to be told from one item to the next.
    """
    members = sorted((one for one in masks if one.member != CONSENSUS), key=lambda one: one.object)
    return [replace(one, member=_LETTERS[place % 26]) for place, one in enumerate(members)]


def _prediction(connection: Connection, case_id: str) -> str:
    row = connection.execute(
        "SELECT prediction_id FROM current_predictions WHERE case_id = ?", [case_id]
    ).fetchone()
    if row is None:
        raise UsageError(f"{case_id} has no label to judge; run `atlasloop annotate` first")
    return row[0]


def _unread(connection: Connection, case_id: str, reader: str) -> set[str]:
    rows = connection.execute(
        f"WITH {UNREAD} SELECT structure FROM unread WHERE case_id = $case",  # noqa: S608 literals of storage
        {"reader": reader, "case": case_id},
    ).fetchall()
    return {row[0] for row in rows}


def _verdicts(
    connection: Connection, case_id: str, hidden: set[str], reader: str
) -> dict[str, JudgedVerdict]:
    rows = connection.execute(
        """SELECT structure, verdict, reader, tags, given_at, verdict_id, state, decision_id,
                  reviewer, comment
           FROM review_states WHERE case_id = ?""",
        [case_id],
    ).fetchall()
    own = own_verdicts(connection, case_id, reader=reader)
    return {
        row[0]: JudgedVerdict(
            verdict=row[1],
            reader=row[2],
            tags=tuple(row[3]),
            given_at=row[4],
            verdict_id=row[5],
            state=row[6],
            decision_id=row[7],
            decided_by=row[8],
            comment=row[9],
            is_own=row[5] in own,
        )
        for row in rows
        if row[0] not in hidden
    }


def _claims(connection: Connection, case_id: str, now: datetime) -> list[tuple[str, str, datetime]]:
    """Return structure, reader and end of every claim on a case that holds now."""
    return connection.execute(
        "SELECT structure, reader, expires_at FROM claims WHERE case_id = ? AND expires_at > ?",
        [case_id, now],
    ).fetchall()


def _kept_returns(connection: Connection, case_id: str, now: datetime) -> list[datetime]:
    """Return until when returned verdicts of a case are kept for who gave them."""
    rows = connection.execute(
        """SELECT r.kept_until FROM current_verdicts d
           JOIN current_decisions r ON r.verdict_id = d.verdict_id
           WHERE d.case_id = ? AND r.outcome = 'returned' AND r.kept_until > ?""",
        [case_id, now],
    ).fetchall()
    return [row[0] for row in rows]
