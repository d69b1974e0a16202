"""The progress page: how far, how fast, how long still, and how well readers agree."""

from __future__ import annotations

import html
from datetime import date, timedelta

import streamlit as st

from configs.errors import AtlasLoopError
from configs.taxonomy import load_taxonomy
from review_app.desk_words import (
    figures_csv,
    minutes_words,
    overall_minutes,
    remaining,
    structure_progress,
)
from review_app.reader_agreement import PairAgreement, agreement_of, agreement_words
from review_app.session import Desk, utc_now
from storage.desk_figures import DeskFigures, desk_figures
from storage.shared_readings import shared_readings

_MOST_SHARED = 200
_AGREEMENT = "reader-agreement"
_DONE = ("judged", "left")


def show_dashboard(here: Desk) -> None:
    """Draw the page; one read of the database, one more when agreement is asked for."""
    with here.store.read() as connection:
        figures = desk_figures(connection, now=utc_now())
    if not figures.structures:
        st.info("There is no queue yet. Run `atlasloop annotate`, then reload this page.")
        return
    _numbers(figures)
    left, right = st.columns(2, gap="large")
    with left:
        _structures(figures)
    with right:
        _readers(figures)
        _datasets(figures)
        _agreement(here)
    st.download_button(
        "Download all figures as CSV",
        figures_csv(figures, load_taxonomy()),
        file_name="atlasloop-progress.csv",
        mime="text/csv",
        key="figures-csv",
    )


def _numbers(figures: DeskFigures) -> None:
    queued = sum(one.queued for one in figures.structures)
    judged = sum(one.judged for one in figures.structures)
    minutes, n = overall_minutes(figures)
    left = remaining(figures)
    active_hours = sum(one.active_s for one in figures.readers) / 3600
    verdicts = sum(one.verdicts for one in figures.readers)
    cells = st.columns(4)
    cells[0].metric("Judged", f"{judged} of {queued}")
    cells[1].metric(
        "Minutes an item, median",
        "too few to say" if minutes is None else f"{minutes.median:.1f}",
        help=f"{minutes_words(minutes, n)}: median and quartiles of the active time of {n} verdicts"
        ", as far as the server can tell; deferred ones are left out.",
    )
    cells[2].metric(
        "Verdicts an active hour",
        "too few to say" if minutes is None else f"{verdicts / active_hours:.0f}",
        help="Of the last 28 days.",
    )
    cells[3].metric(
        "Hours left", "too few to say" if left.hours is None else f"{left.hours.median:.1f}"
    )
    st.html(f'<p class="why">{html.escape(left.words)}</p>')


def _structures(figures: DeskFigures) -> None:
    rows = structure_progress(figures, load_taxonomy())
    st.html('<h3 class="part">By structure</h3>')
    st.vega_lite_chart(
        {
            "structure": [row.display for row in rows for _ in _DONE],
            "done": [name for _ in rows for name in _DONE],
            "items": [count for row in rows for count in (row.done.judged, row.done.left)],
        },
        {
            "mark": "bar",
            "encoding": {
                # The names in full: two structures begin alike.
                "y": {
                    "field": "structure",
                    "type": "nominal",
                    "sort": None,
                    "axis": {"title": None, "labelLimit": 260} | _ink(),
                },
                "x": {
                    "field": "items",
                    "type": "quantitative",
                    "axis": {"tickMinStep": 1, "format": "d"} | _ink(),
                },
                "color": {
                    "field": "done",
                    "type": "nominal",
                    "scale": {"domain": list(_DONE), "range": _bars()},
                    "legend": {"title": None, "orient": "top"} | _ink(),
                },
                "order": {"field": "done"},
            },
        },
        height=max(200, 24 * len(rows) + 60),
    )
    st.dataframe(
        {
            "structure": [row.display for row in rows],
            "judged": [row.done.judged for row in rows],
            "left": [row.done.left for row in rows],
            "minutes, median (quartiles)": [minutes_words(row.minutes, row.n) for row in rows],
        },
        hide_index=True,
    )


def _readers(figures: DeskFigures) -> None:
    st.html('<h3 class="part">By reader, last 28 days</h3>')
    if not figures.readers:
        st.html('<p class="soft">Nobody gave a verdict in the last 28 days.</p>')
        return
    st.vega_lite_chart(
        {
            "day": [one.day.isoformat() for one in figures.days],
            "verdicts": [one.verdicts for one in figures.days],
            "reader": [one.reader for one in figures.days],
        },
        {
            "mark": {"type": "bar"},
            "encoding": {
                "x": {
                    "field": "day",
                    "type": "ordinal",
                    "scale": {"domain": _last_days(utc_now().date())},
                    "axis": {"title": None, "labelExpr": "slice(datum.value, 5)", "labelAngle": -45}
                    | _ink(),
                },
                "y": {
                    "field": "verdicts",
                    "type": "quantitative",
                    "axis": {"tickMinStep": 1} | _ink(),
                },
                "color": {"field": "reader", "type": "nominal", "legend": _ink()},
            },
        },
        height=260,
    )
    st.dataframe(
        {
            "reader": [one.reader for one in figures.readers],
            "verdicts": [one.verdicts for one in figures.readers],
            "active hours": [round(one.active_s / 3600, 2) for one in figures.readers],
            "days": [one.days for one in figures.readers],
            "verdicts a day": [round(one.verdicts / one.days, 1) for one in figures.readers],
        },
        hide_index=True,
    )


def _ink() -> dict[str, str]:
    """Return the colours of a chart's words: Streamlit's own grey is under a contrast of 4.5."""
    ink = "#a3a8b4" if _is_dark() else "#5f6570"
    return {"labelColor": ink, "titleColor": ink}


def _bars() -> list[str]:
    """Return the colours of what is judged and what is left, which is the paler on either theme."""
    return ["#2e8ab8", "#4d5860" if _is_dark() else "#c9d3da"]


def _is_dark() -> bool:
    return st.context.theme.type == "dark"


def _last_days(today: date) -> list[str]:
    """Return each day of the last four weeks, so that days without work are seen too."""
    return [(today - timedelta(days=n)).isoformat() for n in range(28, -1, -1)]


def _datasets(figures: DeskFigures) -> None:
    st.html('<h3 class="part">By dataset</h3>')
    st.dataframe(
        {
            "dataset": [one.name or "no dataset" for one in figures.datasets],
            "judged": [one.judged for one in figures.datasets],
            "left": [one.left for one in figures.datasets],
        },
        hide_index=True,
    )


def _agreement(here: Desk) -> None:
    st.html(
        '<h3 class="part">Agreement of readers</h3><p class="soft">Dice of what two readers drew '
        f"without seeing the AI's mask; at most {_MOST_SHARED} items a pair. "
        "<code>atlasloop agreement</code> gives intervals and surfaces.</p>"
    )
    st.button("Compare now", key="compare-readers", on_click=_compare, args=(here,))
    pairs: list[PairAgreement] | str | None = st.session_state.get(_AGREEMENT)
    if isinstance(pairs, str):
        st.error(pairs)
    elif pairs is not None and not pairs:
        st.html('<p class="soft">No two readers drew the same item independently yet.</p>')
    elif pairs:
        taxonomy = load_taxonomy()
        st.dataframe(
            {
                "readers": [f"{pair.first}, {pair.second}" for pair in pairs],
                "structure": [taxonomy[pair.structure].display for pair in pairs],
                "items": [pair.items for pair in pairs],
                "both absent": [pair.both_absent for pair in pairs],
                "mean DSC": [agreement_words(pair) for pair in pairs],
            },
            hide_index=True,
        )


def _compare(here: Desk) -> None:
    """Compare in the callback, so that the page is drawn once; kept for this tab."""
    try:
        with here.store.read() as connection:
            shared = shared_readings(connection, limit=_MOST_SHARED)
        st.session_state[_AGREEMENT] = agreement_of(here.store.objects, shared)
    except AtlasLoopError as error:
        st.session_state[_AGREEMENT] = str(error)
