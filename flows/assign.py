"""Give readers cases to read without the AI's mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from storage import assignments
from storage.assignments import Assignment, assign_readings, unseen_cases
from storage.readers import check_reader, who_acts
from storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignRequest:
    """What a reader is to read.

    Attributes:
        case_ids: These cases; or else
        random: So many cases, drawn with ``seed`` from those of which the reader was assigned or
            reviewed none of the structures.
        allow_seen: Assign what the reader has seen with the AI's mask, too.
        by: Who assigns; the reader of the settings when left out.
    """

    reader: str | None
    structures: tuple[str, ...]
    case_ids: tuple[str, ...] = ()
    random: int | None = None
    seed: int = 0
    allow_seen: bool = False
    by: str | None = None


def assign(store: Store, request: AssignRequest) -> list[Assignment]:
    """Commit an assignment.

    Raises:
        UsageError: The request is not complete, asks for more cases than there are, or for what
            the reader has seen with the AI's mask.
    """
    if request.reader is None or not request.structures:
        raise UsageError("an assignment needs --reader and --structure")
    if bool(request.case_ids) == (request.random is not None):
        raise UsageError("an assignment needs either --case or --random, not both")
    check_reader(request.reader)
    case_ids = request.case_ids or _drawn(store, request, request.reader)
    return assign_readings(
        store,
        reader=request.reader,
        case_ids=case_ids,
        structures=request.structures,
        allow_seen=request.allow_seen,
        by=who_acts(store.settings.review, request.by),
    )


def open_readings(store: Store, reader: str | None) -> list[Assignment]:
    """Return what was assigned and not read yet: one reader's, or everybody's when None."""
    with store.read() as connection:
        return assignments.open_readings(connection, reader=reader)


def _drawn(store: Store, request: AssignRequest, reader: str) -> tuple[str, ...]:
    structures = load_taxonomy().select(request.structures)
    with store.read() as connection:
        fresh = unseen_cases(connection, reader=reader, structures=structures)
    wanted = request.random or 0
    if wanted > len(fresh):
        raise UsageError(
            f"--random draws from cases that are new to {reader}, and there are {len(fresh)}, not "
            f"{wanted}; ask for fewer or name cases with --case"
        )
    drawn = np.random.default_rng(request.seed).choice(len(fresh), size=wanted, replace=False)
    return tuple(fresh[place] for place in sorted(drawn))
