"""How approvals look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from flows.approvals import Approvals, Decided
from flows.tables import print_line, print_table

_SHOWN_OF_ID = 12


def print_approvals(found: Approvals) -> None:
    """Print how much waits, then the oldest of it."""
    counts = found.counts
    print_line(
        f"{counts.to_approve} verdicts of all readers without a second reader's word, "
        f"{counts.returned} returned and not given again; {found.waiting_count} are yours to decide"
    )
    if not found.four_eyes:
        print_line("This workspace asks for no approval; four_eyes = true in section [review] does")
    if found.waiting:
        rows = [
            (
                *(one.verdict_id[:_SHOWN_OF_ID], one.case_id, one.structure, one.verdict),
                *(one.reader, one.voxels_changed, ", ".join(one.tags)),
                one.given_at.isoformat(" ", "minutes"),
            )
            for one in found.waiting
        ]
        columns = ["verdict", "case", "structure", "said", "by", "voxels changed", "tags", "UTC"]
        print_table("To approve, oldest first", columns, rows)
    if found.returned:
        rows = [
            (
                *(one.verdict_id[:_SHOWN_OF_ID], one.item.case_id, one.item.structure),
                *(one.reader, one.item.reviewer, one.item.comment),
                one.item.kept_until.isoformat(" ", "minutes"),
            )
            for one in found.returned
        ]
        columns = ["verdict", "case", "structure", "of", "returned by", "comment", "kept until UTC"]
        print_table("Returned, oldest first", columns, rows)


def print_decided(decided: Sequence[Decided]) -> None:
    """Print a line a decision."""
    for one in decided:
        print_line(f"{one.verdict_id[:_SHOWN_OF_ID]} {one.outcome}")
