"""Read the current queue for showing it, and how far a time to spend on it reaches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from model.triage.gain import running_minutes
from storage.blind_items import Connection, Key, open_keys, open_keys_of_all
from storage.queue import (
    QueuedPrediction,
    queue_size,
    ranked_at,
    ranked_how,
    read_queue,
    unjudged_columns,
)
from storage.readers import who_acts
from storage.roles import Action, check_allowed, registered_roles
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
        policy: What it was ranked by; empty of an older one.
    """

    present: tuple[QueuedPrediction, ...]
    possibly_missed: tuple[QueuedPrediction, ...]
    sizes: dict[str, int]
    ranked_at: datetime | None
    policy: str


def show_queue(
    store: Store, *, limit: int, structure: str | None = None, reader: str | None = None
) -> ShownQueue:
    """Return the first entries of each kind, without what waits to be judged blind or unaided.

    Args:
        store: The workspace.
        limit: How many of each kind.
        structure: Only this one.
        reader: Who looks; the settings' reader when None.

    Raises:
        AccessError: Who looks is not registered where others are.
        UsageError: The structure is unknown, or no queue was ranked yet.
    """
    if structure is not None:
        structure = load_taxonomy()[structure].name
    who = who_acts(store.settings.review, reader)
    with store.read() as connection:
        check_allowed(connection, who and who.name, Action.LOOK)
        ranked = ranked_at(connection)
        if ranked is None:
            raise UsageError("there is no queue yet; run `atlasloop annotate` first")
        hidden = _hidden(connection, who and who.name)
        present, possibly_missed = (
            tuple(
                read_queue(connection, kind=kind, limit=limit, structure=structure, hidden=hidden)
            )
            for kind in (PRESENT, POSSIBLY_MISSED)
        )
        return ShownQueue(
            present=present,
            possibly_missed=possibly_missed,
            sizes=queue_size(connection),
            ranked_at=ranked,
            policy=ranked_how(connection).get("policy", ""),
        )


def _hidden(connection: Connection, reader: str | None) -> set[Key]:
    """Return what a look at the queue would spoil.

    Where nobody is registered, anybody may look under any name: nobody sees what waits for anybody.
    """
    if reader is None or not registered_roles(connection):
        return open_keys_of_all(connection)
    return open_keys(connection, reader)


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
