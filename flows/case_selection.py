"""Which cases a run of annotate is for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UsageError
from storage.model_registry import configured_committee
from storage.predictions import closed_predictions, open_failures
from storage.store import Store

_SHOWN_IDS = 5
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which of the unfinished cases a run is for.

    Attributes:
        limit: Stop after so many cases.
        case_ids: Only these; all when None.
        retry_failed: Try cases again that failed before.
    """

    limit: int | None = None
    case_ids: tuple[str, ...] | None = None
    retry_failed: bool = False


def named_cases(given: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that are given one by one, or as text files with an id a line.

    Raises:
        UsageError: A file cannot be read, is no text, or names no case.
    """
    named: list[str] = []
    for one in given:
        found = _ids_in_file(one)
        named += [one] if found is None else found
    return tuple(dict.fromkeys(named))


def passed_over(store: Store, selection: Selection) -> list[str]:
    """Say which of the named cases a run will leave out since they are closed or have failed.

    Raises:
        ConfigError: The committee is not complete.
        UsageError: A case is not known.
    """
    if selection.case_ids is None:
        return []
    committee_id = configured_committee(store).committee_id
    with store.read() as connection:
        known = {row[0] for row in connection.execute("SELECT case_id FROM cases").fetchall()}
        closed = closed_predictions(connection, committee_id)
        failed = {one.case_id for one in open_failures(connection, committee_id)}
    check_known(selection.case_ids, known)
    lines = []
    if done := [name for name in selection.case_ids if name in closed]:
        lines.append(f"closed by this committee already, left as they are: {_listed(done)}")
    if not selection.retry_failed and (
        waiting := [name for name in selection.case_ids if name in failed]
    ):
        lines.append(f"failed before, left out without --retry-failed: {_listed(waiting)}")
    return lines


def check_known(case_ids: Iterable[str], known: set[str]) -> None:
    """Raise UsageError where a case that is asked for is none of the workspace's."""
    unknown = sorted(set(case_ids) - known)
    if unknown:
        is_none = "is none" if len(unknown) == 1 else "are none"
        raise UsageError(
            f"cases are given by id, {_listed(unknown)} {is_none} of this workspace's; "
            "`atlasloop queue` and `intake --report` list ids"
        )


def _ids_in_file(name: str) -> list[str] | None:
    """Return what a file lists; None where there is none of that name."""
    rule = "--cases takes an id, or a UTF-8 text file with an id a line"
    path = Path(name)
    try:
        if path.is_dir():
            raise UsageError(f"{rule}; {_short(name)} is a folder, name a file in it")
        found = path.read_text(encoding="utf-8-sig").split() if path.exists() else None
    except OSError as error:
        raise UsageError(
            f"{rule}; {_short(name)} cannot be read ({error.strerror}), name one that can"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{rule}; {_short(name)} is none (byte {error.start} is not UTF-8), save it as plain "
            "text"
        ) from error
    if found == []:
        raise UsageError(f"{rule}; {_short(name)} lists none, leave out --cases to annotate all")
    return found


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_IDS
    shown = ", ".join(_short(name) for name in names[:_SHOWN_IDS])
    return f"{shown} and {more} more" if more > 0 else shown


def _short(name: str) -> str:
    if len(name) <= _SHOWN_CHARACTERS:
        return name
    return f"{name[:_SHOWN_CHARACTERS]}... ({len(name)} characters)"
