"""How blind assignments look on a terminal: by number, never by item."""

from __future__ import annotations

from collections.abc import Sequence

from flows.blind import BlindAssignment
from flows.tables import print_line, print_table
from storage.blind_items import ArmCount


def print_blind(given: BlindAssignment) -> None:
    """Print what was assigned without naming an item: the reader may look on."""
    print_line(
        f"{given.reader} finds {given.drawn + given.decoys} blind items on the queue page: "
        f"{given.drawn} drawn from {given.frame} with seed {given.seed}, {given.decoys} of the "
        "queue's head among them"
    )


def print_blind_counts(counts: Sequence[ArmCount]) -> None:
    """Print how far each reader is in each arm."""
    if counts:
        rows = [(one.reader, one.arm, one.assigned, one.answered) for one in counts]
        print_table("Blind items", ["reader", "arm", "assigned", "judged"], rows)
