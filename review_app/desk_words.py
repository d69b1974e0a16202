"""What the progress page says, worked out without Streamlit: minutes, estimates, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from configs.taxonomy import Taxonomy
from storage.csv_cells import Cell, inert
from storage.desk_figures import ActiveTime, DeskFigures, Done

FEWEST = 5
"""Timed verdicts from which a structure has a median of its own."""

FEWEST_FOR_ESTIMATE = 10
"""Timed verdicts of all structures from which the rest is estimated."""


@dataclass(frozen=True, slots=True)
class Minutes:
    """Median and quartiles, in minutes."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class StructureProgress:
    """One structure on the progress page.

    Attributes:
        minutes: None where too few verdicts have a time.
        n: How many have one.
    """

    structure: str
    display: str
    group: str
    done: Done
    minutes: Minutes | None
    n: int


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left to do.

    Attributes:
        items: Items that nobody judged.
        hours: From the lower quartile to the upper one; None where too little is known.
        words: The estimate, or why there is none, and how it was made.
    """

    items: int
    hours: Minutes | None
    words: str


def structure_progress(figures: DeskFigures, taxonomy: Taxonomy) -> list[StructureProgress]:
    """Return the queued structures in the taxonomy's order."""
    done = {one.name: one for one in figures.structures}
    times = {one.name: one for one in figures.times}
    return [
        StructureProgress(
            one.name,
            one.display,
            one.group,
            done[one.name],
            _minutes(times.get(one.name)),
            times[one.name].n if one.name in times else 0,
        )
        for one in taxonomy.structures
        if one.name in done
    ]


def remaining(figures: DeskFigures) -> Remaining:
    """Return how long the rest of the queue takes, and how that was worked out.

    Each structure's open items times its median minutes; a structure with too few timed verdicts
    takes the median of all. Quartiles give a range, which is no confidence interval.
    """
    items = sum(one.left for one in figures.structures)
    times = {one.name: one for one in figures.times}
    whole = times.get("")
    if items == 0:
        return Remaining(0, None, "Nothing is left to judge.")
    if whole is None or whole.n < FEWEST_FOR_ESTIMATE:
        known = 0 if whole is None else whole.n
        return Remaining(
            items,
            None,
            f"{items} items are left. Too few to say how long they take: {known} verdicts have a "
            f"time, {FEWEST_FOR_ESTIMATE} are needed.",
        )
    taken = {
        one.name: times[one.name] if _is_enough(times.get(one.name)) else whole
        for one in figures.structures
    }
    hours = Minutes(
        sum(one.left * taken[one.name].q1_s for one in figures.structures) / 3600,
        sum(one.left * taken[one.name].median_s for one in figures.structures) / 3600,
        sum(one.left * taken[one.name].q3_s for one in figures.structures) / 3600,
    )
    own = sum(1 for one in figures.structures if one.left and taken[one.name] is not whole)
    need = sum(1 for one in figures.structures if one.left)
    return Remaining(
        items,
        hours,
        f"{items} items are left: about {hours.median:.1f} hours of active work, "
        f"{hours.low:.1f} to {hours.high:.1f} from quartile to quartile. Open items times median "
        f"minutes; {own} of {need} structures have {FEWEST} timed verdicts and use their own, the "
        f"others the median of all {whole.n}. The queue's head was probably harder than its tail "
        "will be.",
    )


def minutes_words(minutes: Minutes | None, n: int) -> str:
    """Return "1.2 (0.8 to 2.0)", or that there are too few."""
    if minutes is None:
        return f"too few to say ({n})"
    return f"{minutes.median:.1f} ({minutes.low:.1f} to {minutes.high:.1f})"


def overall_minutes(figures: DeskFigures) -> tuple[Minutes | None, int]:
    """Return the minutes an item over all structures, and over how many verdicts."""
    whole = next((one for one in figures.times if one.name == ""), None)
    return _minutes(whole), 0 if whole is None else whole.n


def figures_csv(figures: DeskFigures, taxonomy: Taxonomy) -> bytes:
    """Return all figures as CSV; an empty cell where too few verdicts have a time."""
    rows: list[Sequence[Cell]] = [
        (
            "table",
            "name",
            "queued",
            "judged",
            "left",
            "timed",
            "minutes_q1",
            "minutes_median",
            "minutes_q3",
            "verdicts",
            "active_hours",
            "days",
        ),
    ]
    for one in structure_progress(figures, taxonomy):
        minutes = one.minutes
        quartiles = ("", "", "") if minutes is None else (minutes.low, minutes.median, minutes.high)
        rows.append(("structure", one.structure, *_counts(one.done), one.n, *quartiles, "", "", ""))
    rows += [("dataset", one.name or "none", *_counts(one), *[""] * 7) for one in figures.datasets]
    rows += [
        ("reader", one.reader, *[""] * 7, one.verdicts, one.active_s / 3600, one.days)
        for one in figures.readers
    ]
    rows += [
        ("day", f"{one.day.isoformat()} {one.reader}", *[""] * 7, one.verdicts, "", "")
        for one in figures.days
    ]
    text = io.StringIO()
    csv.writer(text).writerows([[inert(cell) for cell in row] for row in rows])
    return text.getvalue().encode()


def _counts(done: Done) -> tuple[int, int, int]:
    return done.queued, done.judged, done.left


def _is_enough(time: ActiveTime | None) -> bool:
    return time is not None and time.n >= FEWEST


def _minutes(time: ActiveTime | None) -> Minutes | None:
    if time is None or not _is_enough(time):
        return None
    return Minutes(time.q1_s / 60, time.median_s / 60, time.q3_s / 60)
