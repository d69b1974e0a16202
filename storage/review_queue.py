"""What the queue page shows: the current queue with the state of each item, one page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import duckdb

from storage.open_readings import UNREAD
from storage.queue import ranked_at, ranked_how
from storage.queue_states import gather_facts, queued_items
from storage.roles import Action, check_allowed

Connection = duckdb.DuckDBPyConnection

Status = Literal["open", "mine", "held", "deferred", "done"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFilter:
    """Which items of the queue are shown.

    Attributes:
        structures: Only these; None for all.
        statuses: Only items in one of these states.
        kind: ``present`` or ``possibly_missed``; None for both.
        reason: Only items whose reason holds this text, in any case.
        least_risk: Only items of this score or a higher one.
        dataset: Only CTs of this public dataset.
    """

    structures: tuple[str, ...] | None = None
    statuses: tuple[Status, ...] = ("open", "mine", "deferred")
    kind: str | None = None
    reason: str = ""
    least_risk: float | None = None
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewItem:
    """One queued structure of one case, as a reader sees it.

    Attributes:
        position: Rank, 1 is looked at first; of a blind item a drawn place.
        kind: ``present`` or ``possibly_missed``; ``blind`` of a blind item.
        risk: What it is ranked by; None of a blind item, which says nothing of itself.
        status: ``done``: judged. ``held``: another reader has it open. ``mine``: this reader has.
            ``deferred``: this reader could not decide; for everybody else it stays ``open``.
        holder: Who has it open, or for whom it is kept, whatever the status.
        verdict: The last verdict of the reviews, if there is one.
        verdict_by: Who gave it.
        held_until: When the claim of the holder ends, UTC.
        returned_by: The second reader who returned that verdict, so that it is open again.
        predicted_dsc, dsc_low, dsc_high: What triage expects of the label if the structure is
            there, and the interval; None of a blind item and where nothing is known.
        presence: Probability that it is there; the same.
        minutes: Predicted for it; None of a blind item.
    """

    position: int
    kind: str
    case_id: str
    structure: str
    risk: float | None
    reason: str
    prediction_id: str
    status: Status
    holder: str | None
    verdict: str | None
    verdict_by: str | None
    returned_by: str | None = None
    held_until: datetime | None = None
    predicted_dsc: float | None = None
    dsc_low: float | None = None
    dsc_high: float | None = None
    presence: float | None = None
    minutes: float | None = None

    @property
    def is_blind(self) -> bool:
        """Whether the reader is to judge it without being told why it was chosen."""
        return self.kind == "blind"


@dataclass(frozen=True, slots=True)
class QueuedCase:
    """One CT of a page.

    Attributes:
        items: Its items that pass the filter, worst first.
        datasets: The public datasets it came with; not told of a CT with a blind item.
    """

    case_id: str
    items: tuple[ReviewItem, ...]
    datasets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QueuePage:
    """One page of the queue.

    Attributes:
        cases: The page's CTs, the one with the worst item first.
        has_more: Whether further CTs pass the filter.
        matching: How many items pass the filter, on all pages.
        counts: Items by status in the whole queue, filter or not.
        ranked_at: When the queue was ranked, UTC; None before the first triage.
        readings: Independent readings that wait for this reader.
        datasets: The public datasets that CTs came with, whether queued or not.
        policy: What the queue was ranked by; empty of an older snapshot.
        basis: ``calibrated``, ``uncalibrated`` or ``none``: what predicted DSC rests on; the same.
        estimate_words: The same in words, one sentence an estimate.
    """

    cases: tuple[QueuedCase, ...]
    has_more: bool
    matching: int
    counts: dict[Status, int]
    ranked_at: datetime | None
    readings: int
    datasets: tuple[str, ...] = ()
    policy: str = ""
    basis: str = ""
    estimate_words: tuple[str, ...] = ()

    @property
    def items(self) -> tuple[ReviewItem, ...]:
        """The page's items, CT by CT."""
        return tuple(item for case in self.cases for item in case.items)


# Positions beyond the page's end that are looked through before the whole queue is: 2,048 rows are
# what DuckDB reads at once, and of 160,000 items they cost a third.
_LOOK_AHEAD = 2048
_EVERY_POSITION = 2**31 - 1

# A filter on rows of the queue, by what is wanted. Only what is wanted is asked: texts and the join
# with datasets cost. A CT with a blind item is of no dataset.
_WANTED = {
    "structures": "list_contains($structures, structure)",
    "kind": "kind = $kind",
    "reason": "contains(lower(reason), lower($reason))",
    "risk": "risk >= $risk",
    "dataset": """case_id IN (SELECT case_id FROM current_dataset_cases WHERE dataset = $dataset)
        AND case_id NOT IN (SELECT case_id FROM item_facts WHERE slot IS NOT NULL)""",
}
_COLUMNS = (
    "position, kind, case_id, structure, risk, reason, prediction_id, status, holder, verdict, "
    "verdict_by, returned_by, held_until, predicted_dsc, dsc_low, dsc_high, presence, minutes"
)


def queue_page(
    connection: Connection,
    wanted: QueueFilter,
    *,
    reader: str,
    now: datetime,
    limit: int,
    offset: int = 0,
) -> QueuePage:
    """Return one page of the queue.

    A CT stands where its worst item stands, among those that pass the filter.

    Args:
        connection: An open index.
        wanted: The filter.
        reader: Who looks; states are seen with this reader's eyes.
        now: The time, UTC without a zone; claims that expired by then hold nothing.
        limit: CTs on the page.
        offset: CTs on the pages before.

    Raises:
        AccessError: The reader is not registered where others are.
    """
    check_allowed(connection, reader, Action.LOOK)
    gather_facts(connection, reader=reader, now=now)
    search = _search(wanted, reader)
    case_ids, places = _page_cases(connection, search, limit=limit + 1, offset=offset)
    counts, matching = _counted(connection, search)
    how = ranked_how(connection)
    readings = connection.execute(
        f"WITH {UNREAD} SELECT count(*) FROM unread",  # noqa: S608 literals of storage
        {"reader": reader},
    ).fetchone()
    return QueuePage(
        cases=_queued_cases(connection, search, case_ids[:limit], places),
        has_more=len(case_ids) > limit,
        matching=matching,
        counts=counts,
        ranked_at=ranked_at(connection),
        readings=readings[0] if readings else 0,
        datasets=_datasets(connection),
        policy=how.get("policy", ""),
        basis=how.get("basis", ""),
        estimate_words=tuple(part for part in how.get("words", "").split("; ") if part),
    )


@dataclass(frozen=True, slots=True)
class _Search:
    """What is looked for.

    Attributes:
        rows: A condition in SQL on the queue's rows.
        parameters: Theirs.
        reader: Whose eyes see the states.
        statuses: Those that are wanted.
    """

    rows: str
    parameters: Mapping[str, object]
    reader: str
    statuses: tuple[Status, ...]

    @property
    def items(self) -> str:
        """The condition on ``items``, which have a status."""
        return f"list_contains($statuses, status) AND {self.rows}"

    @property
    def item_parameters(self) -> dict[str, object]:
        """What a query of ``items`` by this condition takes."""
        return {**self.parameters, "reader": self.reader, "statuses": list(self.statuses)}


def _search(wanted: QueueFilter, reader: str) -> _Search:
    values: dict[str, object] = {
        "structures": None if wanted.structures is None else list(wanted.structures),
        "kind": wanted.kind,
        "reason": wanted.reason.strip() or None,
        "risk": wanted.least_risk,
        "dataset": wanted.dataset,
    }
    parameters = {name: value for name, value in values.items() if value is not None}
    rows = " AND ".join(("true", *(_WANTED[name] for name in parameters)))
    return _Search(rows, parameters, reader, tuple(wanted.statuses))


def _counted(connection: Connection, search: _Search) -> tuple[dict[Status, int], int]:
    """Return the items by status, and how many pass the filter.

    Of a long queue few rows were touched by anybody. All others are open, so they are counted
    without asking where each of them stands.
    """
    total, found = _row_counts(connection, "current_queue", search)
    # Texts and numbers that nobody asks for are not read: they cost more than all the rest.
    reason = "reason" if "reason" in search.parameters else "NULL AS reason"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE touched_queue AS
            SELECT position, kind, case_id, structure, risk, {reason}, prediction_id, case_place,
                   NULL AS predicted_dsc, NULL AS dsc_low, NULL AS dsc_high, NULL AS presence,
                   NULL AS minutes
            FROM current_queue q
            SEMI JOIN item_facts f ON f.case_id = q.case_id AND f.structure = q.structure"""  # noqa: S608 literals of storage
    )
    touched, touched_found = _row_counts(connection, "touched_queue", search)
    rows = connection.execute(
        f"""{queued_items(queue="touched_queue")}
            SELECT status, count(*), count(*) FILTER (WHERE {search.items})
            FROM items GROUP BY status""",  # noqa: S608 literals of storage
        search.item_parameters,
    ).fetchall()
    counts = dict.fromkeys(STATUSES, 0) | {row[0]: row[1] for row in rows}
    counts["open"] += total - touched
    matching = sum(row[2] for row in rows)
    if "open" in search.statuses:
        matching += found - touched_found
    return counts, matching


def _row_counts(connection: Connection, table: str, search: _Search) -> tuple[int, int]:
    """Return how many rows a table has, and how many pass the filter on rows."""
    ((total, found),) = connection.execute(
        f"SELECT count(*), count(*) FILTER (WHERE {search.rows}) FROM {table}",  # noqa: S608 literals of storage
        search.parameters,
    ).fetchall()
    return total, found


def _page_cases(
    connection: Connection, search: _Search, *, limit: int, offset: int
) -> tuple[list[str], tuple[int, int] | None]:
    """Return the page's CTs, looked for among the first positions where those suffice.

    Returns:
        The CTs, and the first and last ``case_place`` of theirs; None where one is not known,
        since only a blind item of the CT was found.
    """
    rows: list[tuple[str, int, int | None]] = []
    for last in (offset + limit + _LOOK_AHEAD, _EVERY_POSITION):
        # The first items' CTs stand first, and lie first.
        near = "case_place <= $last AND position <= $last"
        rows = connection.execute(
            f"""{queued_items(near)}
                SELECT case_id, min(position) AS place, max(case_place) FROM items
                WHERE {search.items} GROUP BY case_id
                ORDER BY place, case_id LIMIT $limit OFFSET $offset""",  # noqa: S608 literals of storage
            {**search.item_parameters, "limit": limit, "offset": offset, "last": last},
        ).fetchall()
        if rows and len(rows) == limit and rows[-1][1] <= last:
            break
    places = [place for _, _, place in rows if place is not None]
    known = len(places) == len(rows) and rows
    return [row[0] for row in rows], (min(places), max(places)) if known else None


def _queued_cases(
    connection: Connection,
    search: _Search,
    case_ids: Sequence[str],
    places: tuple[int, int] | None,
) -> tuple[QueuedCase, ...]:
    first, last = places or (0, _EVERY_POSITION)
    among = "case_id IN (SELECT unnest($cases))"
    near = f"case_place BETWEEN $first AND $last AND {among}"
    rows = connection.execute(
        f"""{queued_items(near)} SELECT {_COLUMNS} FROM items WHERE {search.items} AND {among}
            ORDER BY position, structure""",  # noqa: S608 literals of storage
        {**search.item_parameters, "cases": list(case_ids), "first": first, "last": last},
    ).fetchall()
    found: dict[str, list[ReviewItem]] = {case_id: [] for case_id in case_ids}
    for row in rows:
        item = ReviewItem(*row)
        found[item.case_id].append(item)
    named = _datasets_of(connection, case_ids)
    return tuple(
        QueuedCase(case_id, tuple(items), named.get(case_id, ()))
        for case_id, items in found.items()
    )


def _datasets_of(connection: Connection, case_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    rows = connection.execute(
        """SELECT case_id, list_sort(list_distinct(list(dataset))) FROM current_dataset_cases
           WHERE list_contains($cases, case_id)
             AND case_id NOT IN (SELECT case_id FROM item_facts WHERE slot IS NOT NULL)
           GROUP BY case_id""",
        {"cases": list(case_ids)},
    ).fetchall()
    return {case_id: tuple(names) for case_id, names in rows}


def _datasets(connection: Connection) -> tuple[str, ...]:
    rows = connection.execute("SELECT DISTINCT dataset FROM dataset_cases ORDER BY 1").fetchall()
    return tuple(row[0] for row in rows)


def items_of_case(
    connection: Connection, case_id: str, *, reader: str, now: datetime
) -> list[ReviewItem]:
    """Return the queued items of one case, worst first; see ``queue_page``."""
    gather_facts(connection, reader=reader, now=now)
    rows = connection.execute(
        f"""{queued_items("case_id = $case")} SELECT {_COLUMNS} FROM items WHERE case_id = $case
            ORDER BY position, structure""",  # noqa: S608 literals of storage
        {"reader": reader, "case": case_id},
    ).fetchall()
    return [ReviewItem(*row) for row in rows]


def next_open_case(
    connection: Connection, *, reader: str, now: datetime, after: str | None = None
) -> str | None:
    """Return the case of the worst item that is open to this reader, other than ``after``.

    What was returned to this reader comes first.
    """
    gather_facts(connection, reader=reader, now=now)
    row = connection.execute(
        f"""{queued_items()} SELECT case_id FROM items
            WHERE status IN ('open', 'mine') AND ($after IS NULL OR case_id <> $after)
            ORDER BY (returned_by IS NOT NULL AND verdict_by = $reader) DESC,
                     position, structure LIMIT 1""",  # noqa: S608 literals of storage
        {"reader": reader, "after": after},
    ).fetchone()
    return row[0] if row else None
