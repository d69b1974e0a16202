"""What watched folders held when last looked at: which files are known, moving or at rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import duckdb

from configs.errors import Reason
from storage.store import Store

Connection = duckdb.DuckDBPyConnection

RETRY_AFTER = timedelta(days=1)
"""Wait before a file is read again that could not be read, though it may be sound."""

_PASSING = (Reason.UNREADABLE, Reason.MISSING_FILE, Reason.OUT_OF_MEMORY)


class FileState(StrEnum):
    """What is remembered of a file."""

    MOVING = "moving"
    DONE = "done"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Sighting:
    """A file, or a folder of DICOM files, as it lies there now.

    Attributes:
        changed_at: The later of its two times, of content and of inode; UTC without a zone. A copy
            that keeps the first has the second from when it ended.
    """

    path: Path
    file_bytes: int
    mtime_ns: int
    changed_at: datetime

    @classmethod
    def of(cls, path: Path) -> Sighting:
        """Look at a file.

        Raises:
            OSError: It is gone, or may not be looked at.
        """
        facts = path.stat()
        newest_s = max(facts.st_mtime, facts.st_ctime)
        changed_at = datetime.fromtimestamp(newest_s, UTC).replace(tzinfo=None)
        return cls(path, facts.st_size, facts.st_mtime_ns, changed_at)

    def still_holds(self) -> bool:
        """Whether the file is there with the size and time that were seen."""
        try:
            now = Sighting.of(self.path)
        except OSError:
            return False
        return (now.file_bytes, now.mtime_ns) == (self.file_bytes, self.mtime_ns)


@dataclass(frozen=True, slots=True)
class SortedSightings:
    """Sightings by what is to be done with them.

    Attributes:
        known: How many were taken in or refused as they are.
        moving: Those that somebody may still be writing.
        at_rest: Those to be read.
    """

    known: int
    moving: tuple[Sighting, ...]
    at_rest: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class WatchMemory:
    """All that is known of files by their path; read once a look."""

    _met: Mapping[str, tuple[int, int, FileState, datetime]]
    _registered: Mapping[str, tuple[int, datetime]]
    _refused: Mapping[str, tuple[datetime, bool]]

    @classmethod
    def read(cls, connection: Connection) -> WatchMemory:
        """Read what was remembered, and what intake took in or quarantined whoever ran it."""
        met = connection.execute(
            "SELECT path, file_bytes, mtime_ns, state, since FROM watched_files"
        ).fetchall()
        registered = connection.execute(
            "SELECT path, file_bytes, recorded_at FROM case_files ORDER BY seq"
        ).fetchall()
        refused = connection.execute(
            "SELECT path, recorded_at, reason FROM quarantined_files ORDER BY seq"
        ).fetchall()
        return cls(
            {row[0]: (row[1], row[2], FileState(row[3]), row[4]) for row in met},
            {path: (size, at) for path, size, at in registered},
            {path: (at, reason in _PASSING) for path, at, reason in refused},
        )

    def holds_any_under(self, folder: Path) -> bool:
        """Whether a file of this folder was ever met."""
        inside = f"{folder}/"
        known = (self._met, self._registered, self._refused)
        return any(path.startswith(inside) for paths in known for path in paths)

    def sort(
        self, sightings: Iterable[Sighting], *, now: datetime, settle: timedelta
    ) -> SortedSightings:
        """Tell files that are known from those to be read and those to be left alone for now.

        A file is at rest when its size and time are those of an earlier look at least ``settle``
        ago, or when it was changed that long ago by its own times. A file server whose clock goes
        wrong by more than ``settle`` spoils the second rule alone, and ``still_holds`` after the
        reading catches what grew meanwhile.

        Args:
            sightings: Each path once.
            now: UTC without a zone.
            settle: How long a file must have been left alone.
        """
        known = 0
        moving: list[Sighting] = []
        at_rest: list[Sighting] = []
        for sighting in sightings:
            if self._is_known(sighting, now):
                known += 1
            elif now - self._unchanged_since(sighting, now) >= settle:
                at_rest.append(sighting)
            else:
                moving.append(sighting)
        return SortedSightings(known, tuple(moving), tuple(at_rest))

    def lacks(self, sighting: Sighting) -> bool:
        """Whether this sighting, as it is, was not met before."""
        return self._met_as(sighting) is None

    def _is_known(self, sighting: Sighting, now: datetime) -> bool:
        met = self._met_as(sighting)
        if met is not None and met[0] is not FileState.MOVING:
            return met[0] is FileState.DONE or now - met[1] < RETRY_AFTER
        path = str(sighting.path)
        if path in self._registered:
            size, at = self._registered[path]
            if size == sighting.file_bytes and sighting.changed_at < at:
                return True
        if path in self._refused:
            at, passing = self._refused[path]
            return sighting.changed_at < at and (not passing or now - at < RETRY_AFTER)
        return False

    def _unchanged_since(self, sighting: Sighting, now: datetime) -> datetime:
        met = self._met_as(sighting)
        return min(met[1] if met else now, sighting.changed_at)

    def _met_as(self, sighting: Sighting) -> tuple[FileState, datetime] | None:
        met = self._met.get(str(sighting.path))
        if met is None or met[:2] != (sighting.file_bytes, sighting.mtime_ns):
            return None
        return met[2:]


def state_after(reason: Reason | None) -> FileState:
    """Return what to remember of a file that was read: taken in (None), or refused for a reason."""
    return FileState.AGAIN if reason in _PASSING else FileState.DONE


def remember(store: Store, states: Sequence[tuple[Sighting, FileState]], *, now: datetime) -> None:
    """Write down what was met, in one transaction; a path's last word counts.

    Losing it costs no more than reading files again, so the journal knows nothing of it.
    """
    if not states:
        return
    rows = {
        str(sighting.path): {
            "path": str(sighting.path),
            "file_bytes": sighting.file_bytes,
            "mtime_ns": sighting.mtime_ns,
            "state": str(state),
            "since": now.isoformat(),
        }
        for sighting, state in states
    }
    with store.transaction() as transaction:
        connection = transaction.connection
        connection.execute(
            "DELETE FROM watched_files WHERE path IN (SELECT unnest($paths))",
            {"paths": list(rows)},
        )
        connection.execute(
            """INSERT INTO watched_files
               SELECT r.path, r.file_bytes, r.mtime_ns, r.state, r.since FROM (
                   SELECT unnest(from_json($rows, '[{"path":"VARCHAR","file_bytes":"BIGINT",
                       "mtime_ns":"BIGINT","state":"VARCHAR","since":"TIMESTAMP"}]')) AS r)""",
            {"rows": json.dumps(list(rows.values()))},
        )
