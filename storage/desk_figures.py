"""How far the readers are: progress, time an item, items a day, as the index holds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb

Connection = duckdb.DuckDBPyConnection

_DAYS = 28

# Judged as on the queue page: a rejected mask until a newer prediction brings another one.
_JUDGED = """
    judged AS (
        SELECT q.case_id, q.structure, coalesce(
            d.verdict IN ('accept', 'correct', 'absent')
            OR (d.verdict = 'reject'
                AND (d.base_version LIKE 'v-%' OR d.base_version = q.prediction_id)), false) AS done
        FROM current_queue q
        LEFT JOIN current_verdicts d ON d.case_id = q.case_id AND d.structure = q.structure
    )
"""
_TIMED = "reading = 'review' AND verdict <> 'defer' AND active_s > 0"


@dataclass(frozen=True, slots=True)
class Done:
    """How much of something is judged.

    Attributes:
        name: A structure or a dataset; empty for CTs of none.
        queued: Items in the queue.
        judged: Of these.
    """

    name: str
    queued: int
    judged: int

    @property
    def left(self) -> int:
        """Items that nobody judged."""
        return self.queued - self.judged


@dataclass(frozen=True, slots=True)
class ActiveTime:
    """Recorded active seconds of the verdicts on one structure, or on all (empty name).

    Attributes:
        n: Verdicts with a time; deferred ones are none.
        q1_s: Lower quartile; ``q3_s`` the upper one.
    """

    name: str
    n: int
    q1_s: float
    median_s: float
    q3_s: float


@dataclass(frozen=True, slots=True)
class ReaderWork:
    """What one reader did in the last four weeks.

    Attributes:
        verdicts: Reviews, deferred ones left out.
        active_s: Their recorded active seconds.
        days: Days with at least one.
    """

    reader: str
    verdicts: int
    active_s: float
    days: int


@dataclass(frozen=True, slots=True)
class DayWork:
    """Reviews on one day, UTC."""

    day: date
    reader: str
    verdicts: int


@dataclass(frozen=True, slots=True)
class DeskFigures:
    """All figures at one moment.

    Attributes:
        structures: In no order.
        datasets: A CT of several datasets counts in each.
        times: By structure; the empty name is all of them.
        days: Of the last four weeks.
    """

    structures: tuple[Done, ...]
    datasets: tuple[Done, ...]
    times: tuple[ActiveTime, ...]
    readers: tuple[ReaderWork, ...]
    days: tuple[DayWork, ...]


def desk_figures(connection: Connection, *, now: datetime) -> DeskFigures:
    """Return the figures.

    Args:
        connection: An open index.
        now: The time, UTC without a zone; readers' work is that of the four weeks before.
    """
    since = {"since": now - timedelta(days=_DAYS)}
    return DeskFigures(
        structures=tuple(Done(*row) for row in connection.execute(_BY_STRUCTURE).fetchall()),
        datasets=tuple(Done(*row) for row in connection.execute(_BY_DATASET).fetchall()),
        times=tuple(ActiveTime(*row) for row in connection.execute(_TIMES).fetchall()),
        readers=tuple(ReaderWork(*row) for row in connection.execute(_READERS, since).fetchall()),
        days=tuple(DayWork(*row) for row in connection.execute(_BY_DAY, since).fetchall()),
    )


_BY_STRUCTURE = f"""
    WITH {_JUDGED}
    SELECT structure, count(*), count(*) FILTER (WHERE done) FROM judged GROUP BY structure
"""  # noqa: S608 literals of this module

_BY_DATASET = f"""
    WITH {_JUDGED}, named AS (SELECT DISTINCT case_id, dataset FROM current_dataset_cases)
    SELECT coalesce(n.dataset, '') AS name, count(*), count(*) FILTER (WHERE j.done)
    FROM judged j LEFT JOIN named n ON n.case_id = j.case_id GROUP BY name ORDER BY name
"""  # noqa: S608 literals of this module

_TIMES = f"""
    SELECT coalesce(structure, ''), count(*), quantile_cont(active_s, 0.25), median(active_s),
           quantile_cont(active_s, 0.75)
    FROM verdicts WHERE {_TIMED} GROUP BY GROUPING SETS ((structure), ()) HAVING count(*) > 0
"""  # noqa: S608 literals of this module

_READERS = """
    SELECT reader, count(*), sum(active_s), count(DISTINCT CAST(recorded_at AS DATE))
    FROM verdicts WHERE reading = 'review' AND verdict <> 'defer' AND recorded_at > $since
    GROUP BY reader ORDER BY count(*) DESC, reader
"""

_BY_DAY = """
    SELECT CAST(recorded_at AS DATE) AS day, reader, count(*)
    FROM verdicts WHERE reading = 'review' AND verdict <> 'defer' AND recorded_at > $since
    GROUP BY day, reader ORDER BY day, reader
"""
