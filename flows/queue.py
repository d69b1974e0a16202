"""Read the current queue for showing it, and how far a time to spend on it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from model.triage.gain import running_minutes
from storage.queue import (
    QueuedPrediction,
    queue_size,
    ranked_at,
    ranked_how,
    read_queue,
    unjudged_columns,
)
from storage.store import Store

PRESENT = "present"
POSSIBLY_MISSED = "possibly_missed"


@dataclass(frozen=True, slots=True)
class ShownQueue:
    """The head of the queue.

    Attributes:
        present: Structures that the committee sees, worst agreement first.
        possibly_missed: Structures that it does not see, but a member does or nearly does.
        sizes: Entries of each kind in the whole queue.
        ranked_at: When the queue was ranked, UTC.
    """

    present: tuple[QueuedPrediction, ...]
    possibly_missed: tuple[QueuedPrediction, ...]
    sizes: dict[str, int]
    ranked_at: datetime | None


def show_queue(store: Store, *, limit: int, structure: str | None = None) -> ShownQueue:
    """Return the first entries of each kind.

    Raises:
        UsageError: The structure is unknown, or no queue was ranked yet.
    """
    if structure is not None:
        structure = load_taxonomy()[structure].name
    with store.read() as connection:
        ranked = ranked_at(connection)
        if ranked is None:
            raise UsageError("there is no queue yet; run `atlasloop annotate` first")
        return ShownQueue(
            present=tuple(read_queue(connection, kind=PRESENT, limit=limit, structure=structure)),
            possibly_missed=tuple(
                read_queue(connection, kind=POSSIBLY_MISSED, limit=limit, structure=structure)
            ),
            sizes=queue_size(connection),
            ranked_at=ranked,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How far a time reaches into the queue, as it was ranked and without what is judged.

    Attributes:
        minutes: To be spent.
        labels, cases: That fit.
        gain: Expected of them, in DSC summed over labels; None where nothing is known.
        waiting: Labels that wait in all.
        whole_minutes: Predicted for all of them.
        basis: ``calibrated``, ``uncalibrated`` or ``none``: what predicted DSC rests on.
        words: The same in words.
    """

    minutes: float
    labels: int
    cases: int
    gain: float | None
    waiting: int
    whole_minutes: float
    basis: str
    words: str


def within_minutes(store: Store, minutes: float) -> Budget:
    """Return what so many predicted minutes suffice for, from the queue's head.

    Raises:
        UsageError: No queue was ranked yet, or it was ranked before there were predicted minutes.
    """
    with store.read() as connection:
        how = ranked_how(connection)
        waiting = unjudged_columns(connection)
    if "opening_minutes" not in how:
        raise UsageError("this queue has no predicted minutes; run `atlasloop triage` first")
    _, case = np.unique(waiting["case_id"], return_inverse=True)
    spent = running_minutes(
        np.arange(len(case)),
        waiting["minutes"],
        case.astype(np.int32),
        opening_minutes=how["opening_minutes"],
    )
    fits = int(np.searchsorted(spent, minutes, side="right"))
    gain = waiting["gain"][:fits]
    return Budget(
        minutes=minutes,
        labels=fits,
        cases=len(np.unique(case[:fits])),
        gain=float(np.nansum(gain)) if np.isfinite(gain).any() else None,
        waiting=len(case),
        whole_minutes=float(spent[-1]) if len(spent) else 0.0,
        basis=how.get("basis", "none"),
        words=how.get("words", ""),
    )
