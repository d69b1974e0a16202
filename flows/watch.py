"""Take in what is new in the watched folders, and only what nobody is writing any more."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from configs.errors import CaseError, ConfigError, Reason, SomeCasesFailedError, UsageError
from flows.intake import Intake, IntakeSummary
from flows.runs import recorded_run
from storage.canonical_json import JsonObject
from storage.cases import Registration
from storage.find_images import FoundImages, find_images
from storage.store import Store
from storage.watched_files import (
    FileState,
    Sighting,
    WatchMemory,
    remember,
    state_after,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What the watched folders hold now.

    Attributes:
        folders: How many are watched.
        away: Numbers, from 1 in the order of the setting, of those that cannot be looked at or are
            empty though they were not: mostly a disk or share that is not mounted.
        known: Files that were taken in or refused before, as they are.
        moving: Files that may still be written; the next look decides.
        at_rest: Files, and folders of DICOM files, to be read.
        faults: What is wrong with a path whatever its content.
    """

    folders: int
    away: tuple[int, ...]
    known: int
    moving: tuple[Sighting, ...]
    at_rest: tuple[Sighting, ...]
    faults: Mapping[Path, CaseError] = field(repr=False)


@dataclass(frozen=True, slots=True)
class WatchSummary:
    """What a look led to; names files by id alone.

    Attributes:
        look: What was found.
        run_id: None when nothing was at rest and no run was recorded.
        counts: Readable files by what they were.
        refused: File id and reason of what was quarantined.
        unsettled: Files that were changed while they were read; the next look decides.
        twins: Pairs of cases that may be one scan.
    """

    look: Look
    run_id: str | None = None
    counts: Mapping[Registration, int] = field(default_factory=dict)
    refused: tuple[tuple[str, Reason], ...] = ()
    unsettled: int = 0
    twins: int = 0

    def raise_for_refusals(self) -> None:
        """Raise SomeCasesFailedError when a file was quarantined."""
        if self.refused:
            raise SomeCasesFailedError(
                f"{len(self.refused)} files were quarantined; `atlasloop status` has the reasons"
            )

    def to_json(self) -> JsonObject:
        """Return it for a machine, without a path."""
        return {
            "run_id": self.run_id,
            "counts": {str(kind): count for kind, count in self.counts.items()},
            "refused": [{"file_id": name, "reason": str(why)} for name, why in self.refused],
            "not_at_rest": len(self.look.moving) + self.unsettled,
            "known": self.look.known,
            "folders": self.look.folders,
            "folders_away": list(self.look.away),
            "twins": self.twins,
        }

    def sentence(self) -> str:
        """Say it in one line without a path."""
        parts = [f"{count} {kind}" for kind, count in self.counts.items()]
        if self.refused:
            parts.append(f"{len(self.refused)} quarantined")
        if waiting := len(self.look.moving) + self.unsettled:
            parts.append(f"{waiting} not yet at rest")
        parts = parts or ["nothing new"]
        if self.look.away:
            listed = ", ".join(map(str, self.look.away))
            parts.append(f"of {self.look.folders} watched folders away or emptied: {listed}")
        return "; ".join(parts)


def watch(store: Store, *, workers: int = 2) -> WatchSummary:
    """Look into the watched folders once and take in what is new and at rest.

    Args:
        store: The workspace; its setting ``schedule.watch`` lists the folders.
        workers: Files read at a time.

    Raises:
        ConfigError: A watched folder holds the workspace.
        StorageError: The workspace cannot be written to.
    """
    seen = look(store)
    if not seen.at_rest:
        return WatchSummary(seen)
    with watch_run(store, seen, workers=workers) as run:
        for number in run.portions:
            run.take_in(number)
        return run.summary()


def look(store: Store) -> Look:
    """Find out what is new in the watched folders, and remember what may still be written.

    A folder that is away is noted and left; whoever remembers its files forgets nothing.

    Raises:
        ConfigError: A watched folder holds the workspace.
    """
    now = _now()
    folders = watched_folders(store)
    with store.read() as connection:
        memory = WatchMemory.read(connection)
    away: list[int] = []
    sightings: dict[Path, Sighting] = {}
    faults: dict[Path, CaseError] = {}
    for number, folder in enumerate(folders, start=1):
        found = _found(folder, memory)
        if found is None:
            away.append(number)
            _LOG.warning("watched folder %d of %d is away or emptied", number, len(folders))
            continue
        faults.update(found.refused)
        sightings.update(_seen([*found.images, *(path for path, _ in found.refused)]))
    settle = timedelta(seconds=store.settings.schedule.settle_s)
    sorted_out = memory.sort(sightings.values(), now=now, settle=settle)
    new = [entry for entry in sorted_out.moving if memory.lacks(entry)]
    remember(store, [(entry, FileState.MOVING) for entry in new], now=now)
    return Look(
        folders=len(folders),
        away=tuple(away),
        known=sorted_out.known,
        moving=sorted_out.moving,
        at_rest=sorted_out.at_rest,
        faults=faults,
    )


@contextmanager
def watch_run(store: Store, seen: Look, *, workers: int = 2) -> Iterator[WatchRun]:
    """Open a run that takes in what a look found at rest."""
    with recorded_run(store, "intake", {"files": len(seen.at_rest), "watched": True}) as run_id:
        yield WatchRun(store, seen, run_id, workers)


class WatchRun:
    """What one look found at rest, taken in by portions of ``schedule.chunk_size`` files.

    Twins are looked for after each portion, so a run that is killed leaves none of them unseen but
    those of the portion at hand.
    """

    def __init__(self, store: Store, seen: Look, run_id: str, workers: int) -> None:
        self.run_id = run_id
        self._store = store
        self._seen = seen
        self._workers = workers
        self._size = store.settings.schedule.chunk_size
        self._taken: dict[int, IntakeSummary] = {}

    @property
    def portions(self) -> range:
        """Their numbers."""
        return range(-(-len(self._seen.at_rest) // self._size))

    def take_in(self, number: int) -> None:
        """Take in one portion and remember how each file was met; safe to try again."""
        portion = self._seen.at_rest[number * self._size : (number + 1) * self._size]
        by_path = {entry.path: entry for entry in portion}
        faults = self._seen.faults
        found = FoundImages(
            images=tuple(path for path in by_path if path not in faults),
            refused=tuple((path, faults[path]) for path in by_path if path in faults),
            skipped=(),
        )
        run = Intake(self._store, self.run_id, is_settled=lambda path: by_path[path].still_holds())
        summary = run.take_in(found, workers=self._workers)
        met: dict[Path, Reason | None] = {file.path: None for file in summary.taken}
        met.update({file.path: file.reason for file in summary.refused})
        states = [(by_path[path], state_after(reason)) for path, reason in met.items()]
        remember(self._store, states, now=_now())
        self._taken[number] = summary

    def summary(self) -> WatchSummary:
        """Add up what the portions led to so far."""
        parts = tuple(self._taken.values())
        counts = Counter(file.registration for part in parts for file in part.taken)
        return WatchSummary(
            look=self._seen,
            run_id=self.run_id,
            counts={kind: counts[kind] for kind in Registration if counts[kind]},
            refused=tuple((file.file_id, file.reason) for part in parts for file in part.refused),
            unsettled=sum(len(part.skipped) for part in parts),
            twins=sum(len(part.twins) for part in parts),
        )


def watched_folders(store: Store) -> list[Path]:
    """Return the folders of ``schedule.watch``, absolute; relative ones lie in the workspace.

    Raises:
        ConfigError: One is the workspace or holds it, whose own files are no CTs.
    """
    root = store.workspace.root
    folders = []
    for number, name in enumerate(store.settings.schedule.watch, start=1):
        folder = (root / Path(name).expanduser()).resolve()
        if folder == root or folder in root.parents:
            raise ConfigError(
                "a watched folder neither is the workspace nor holds it, entry "
                f"{number} of schedule.watch does; name a folder beside or in it"
            )
        folders.append(folder)
    return folders


def _found(folder: Path, memory: WatchMemory) -> FoundImages | None:
    """What a folder holds; None when it is away or empty though it was not."""
    try:
        found = find_images([folder]) if folder.is_dir() else None
    except (UsageError, OSError):
        return None
    if found is None or any(skipped.path == folder for skipped in found.skipped):
        return None
    empty = not (found.images or found.refused)
    return None if empty and memory.holds_any_under(folder) else found


def _seen(paths: Iterable[Path]) -> Iterator[tuple[Path, Sighting]]:
    for path in paths:
        try:
            str(path).encode()
            yield path, Sighting.of(path)
        except OSError:
            _LOG.warning("a file vanished from a watched folder during the look")
        except UnicodeEncodeError:
            _LOG.warning("a name in a watched folder is not UTF-8, so the file is left alone")


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
