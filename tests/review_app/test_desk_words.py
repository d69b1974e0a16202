import csv
import io
from datetime import date

import pytest

from configs.taxonomy import load_taxonomy
from review_app.desk_words import (
    figures_csv,
    minutes_words,
    overall_minutes,
    remaining,
    structure_progress,
)
from storage.desk_figures import ActiveTime, DayWork, DeskFigures, Done, ReaderWork

TAXONOMY = load_taxonomy()


def figures(**changes):
    values = {
        "structures": (Done("liver", 10, 4), Done("spleen", 5, 5), Done("colon", 8, 1)),
        "datasets": (Done("", 20, 8), Done("=cmd", 3, 2)),
        "times": (
            ActiveTime("", 12, 30, 60, 120),
            ActiveTime("liver", 8, 60, 120, 180),
            ActiveTime("colon", 4, 600, 600, 600),
        ),
        "readers": (ReaderWork("anna", 12, 3600, 2),),
        "days": (DayWork(date(2026, 1, 5), "anna", 12),),
    }
    return DeskFigures(**{**values, **changes})


def test_the_rest_is_open_items_times_the_median_of_their_structure_or_of_all():
    told = remaining(figures())

    assert told.items == 13
    # Six livers of 2 min by their own median, seven colons of 1 min by that of all.
    assert told.hours.median == pytest.approx((6 * 2 + 7 * 1) / 60)
    assert told.hours.low == pytest.approx((6 * 60 + 7 * 30) / 3600)
    assert told.hours.high == pytest.approx((6 * 180 + 7 * 120) / 3600)
    assert "1 of 2 structures" in told.words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"times": ()}, "Too few to say how long they take: 0 verdicts"),
        ({"times": (ActiveTime("", 9, 1, 2, 3),)}, "9 verdicts have a time, 10 are needed"),
        ({"structures": (Done("liver", 4, 4),)}, "Nothing is left"),
    ],
)
def test_no_estimate_is_made_of_nothing(changes, words):
    told = remaining(figures(**changes))

    assert told.hours is None
    assert words in told.words


def test_structures_stand_in_the_taxonomy_s_order_and_few_times_are_called_few():
    rows = structure_progress(figures(), TAXONOMY)

    assert [row.structure for row in rows] == ["spleen", "liver", "colon"]
    assert [minutes_words(row.minutes, row.n) for row in rows] == [
        "too few to say (0)",
        "2.0 (1.0 to 3.0)",
        "too few to say (4)",
    ]
    assert minutes_words(*overall_minutes(figures())) == "1.0 (0.5 to 2.0)"


def test_csv_holds_every_figure_and_no_formula():
    text = figures_csv(figures(), TAXONOMY).decode()
    rows = list(csv.DictReader(io.StringIO(text)))

    assert [row["table"] for row in rows] == [*["structure"] * 3, *["dataset"] * 2, "reader", "day"]
    liver = next(row for row in rows if row["name"] == "liver")
    assert (liver["queued"], liver["left"], liver["minutes_median"]) == ("10", "6", "2.0")
    assert rows[4]["name"] == "'=cmd"
    assert rows[5]["active_hours"] == "1.0"
