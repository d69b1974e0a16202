"""Read the current queue for showing it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from storage.queue import QueuedPrediction, queue_size, ranked_at, read_queue
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
