"""Words for where an item stands: its state, who has it, and what was said of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from storage.review_queue import Status

STATUS_WORDS: Mapping[Status, str] = {
    "open": "open",
    "mine": "open here",
    "held": "held",
    "deferred": "deferred",
    "done": "done",
}

VERDICT_WORDS = {
    "accept": "accepted",
    "correct": "corrected",
    "absent": "absent",
    "reject": "rejected",
    "defer": "deferred",
}

UNTOLD = "not told before your verdict"


def judged_words(verdict: str | None, reader: str | None, decided: str) -> str:
    """Return a verdict, who gave it, and what a second reader decided; empty without one."""
    return f"{VERDICT_WORDS.get(verdict, verdict)} by {reader}{decided}" if verdict else ""


def decided_words(outcome: str, reviewer: str | None) -> str:
    """Return what a second reader decided, to stand behind a verdict; empty without one."""
    return f", {outcome} by {reviewer}" if reviewer else ""


def until_words(held_until: datetime | None) -> str:
    """Return until when a claim holds, to stand behind a state; empty without a claim."""
    return "" if held_until is None else f" until {held_until:%H:%M} UTC"


def state_words(status: Status | None, holder: str | None, judged: str) -> str:
    """Return where an item stands.

    Args:
        status: In the queue; None of a structure that is not in it.
        holder: Who has it open.
        judged: The last verdict in words.
    """
    if status == "held":
        return f"held by {holder}"
    if status == "done" or (status is None and judged):
        return judged
    if status is None:
        return "not queued"
    return f"{STATUS_WORDS[status]}, {judged}" if judged else STATUS_WORDS[status]


def counted_voxels(count: int) -> str:
    """Return "1 voxel" or "1,200 voxels"."""
    return f"{count:,} voxel{'' if count == 1 else 's'}"


def changed_voxels(count: int) -> str:
    """Return "1 voxel changes" or "1,200 voxels change"."""
    return f"{counted_voxels(count)} change{'s' if count == 1 else ''}"
