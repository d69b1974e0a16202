"""Approval from the command line: what waits, and a second reader's word on a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from configs.errors import UsageError
from storage.approvals import (
    ApprovalCounts,
    Decision,
    Outcome,
    ReturnedVerdict,
    Submission,
    approval_counts,
    decide,
    returned_verdicts,
    reviews_starting_with,
    waiting_for_approval,
)
from storage.readers import Actor
from storage.roles import Action, check_allowed
from storage.store import Store

_SHORTEST = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvals:
    """What waits.

    Attributes:
        four_eyes: Whether this workspace asks for approval.
        counts: Of all readers.
        waiting: The oldest that who looks may approve or return: no own work, nothing that is to
            be read or judged blind.
        waiting_count: How many there are of these.
        returned: The oldest returns that were not given again.
    """

    four_eyes: bool
    counts: ApprovalCounts
    waiting: tuple[Submission, ...]
    waiting_count: int
    returned: tuple[ReturnedVerdict, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """A verdict and what was decided on it."""

    verdict_id: str
    outcome: Outcome
    decision_id: str


def approvals(store: Store, by: Actor | None, *, limit: int) -> Approvals:
    """Return what waits for a second reader, and what was returned.

    Args:
        store: The workspace.
        by: Who looks: a reviewer or admin, once somebody is registered.
        limit: So many of each at most.

    Raises:
        AccessError: Who looks may not approve.
    """
    reader = by.name if by else ""
    with store.read() as connection:
        check_allowed(connection, by and by.name, Action.APPROVE)
        waiting = waiting_for_approval(connection, reader=reader, limit=limit)
        return Approvals(
            four_eyes=store.settings.review.four_eyes,
            counts=approval_counts(connection),
            waiting=waiting.items,
            waiting_count=waiting.count,
            returned=returned_verdicts(connection, reader=reader, limit=limit),
        )


def decide_on(
    store: Store,
    start: str,
    outcome: Outcome,
    *,
    by: Actor | None,
    comment: str = "",
    overrule: bool = False,
) -> Decided:
    """Commit a decision on the verdict whose id starts so, by the checks of the pages.

    Args:
        store: The workspace.
        start: The first characters of the verdict's id, as many as name one alone.
        outcome: What is said.
        by: Who decides.
        comment: What is to be done; a return needs one.
        overrule: Also where another decision stands already.

    Raises:
        AccessError: The role does not allow it, or it is own work.
        ConflictError: A newer verdict or another decision came in between.
        UsageError: No verdict or several start so, nobody is named, or the comment is missing.
    """
    if by is None:
        raise UsageError("a decision needs a reader's name; give --as NAME or set review.reader")
    with store.read() as connection:
        check_allowed(connection, by.name, Action.APPROVE)
        found = reviews_starting_with(connection, start) if len(start) >= _SHORTEST else {}
    if len(found) != 1:
        raise UsageError(
            f"a verdict is named by the start of its id, at least {_SHORTEST} characters that no "
            f"other has, got {start!r} with {len(found)} such verdicts; `atlasloop approvals` "
            "lists them"
        )
    ((verdict_id, standing),) = found.items()
    decision = Decision(
        verdict_id=verdict_id,
        outcome=outcome,
        by=by,
        seen=standing if overrule else None,
        comment=comment.strip(),
    )
    now = datetime.now(UTC).replace(tzinfo=None)
    return Decided(verdict_id, outcome, decide(store, decision, now=now))
