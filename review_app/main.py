"""The script that Streamlit runs for every action: finds out who and what, then draws one page."""

from __future__ import annotations

import html

import streamlit as st

from configs.errors import AtlasLoopError
from review_app.case_actions import leave_case
from review_app.case_page import show_case
from review_app.dashboard_page import show_dashboard
from review_app.queue_page import show_queue
from review_app.readings_page import show_readings
from review_app.session import Desk, desk, go_to, seat
from review_app.style import STYLE
from review_app.versions_panel import show_versions

_VIEWS = {
    "queue": show_queue,
    "case": show_case,
    "readings": show_readings,
    "versions": show_versions,
    "dashboard": show_dashboard,
}
_OF_A_CASE = ("case", "versions")
_TITLES = {
    "queue": "Queue",
    "case": "Case",
    "readings": "Independent reading",
    "dashboard": "Progress",
}


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config(page_title="AtlasLoop review", layout="wide")
    st.html(STYLE)
    try:
        here = desk()
        view = st.query_params.get("view", "queue")
        _bar(here, view)
        if view not in _OF_A_CASE:
            leave_case(here)
        _show_notes()
        _VIEWS.get(view, show_queue)(here)
    except AtlasLoopError as error:
        st.error(str(error))


def _bar(here: Desk, view: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="bar"):
        st.html('<span class="brand">AtlasLoop review</span>', width="content")
        for name in ("queue", "readings", "dashboard"):
            st.button(
                _TITLES[name],
                key=f"go-{name}",
                type="secondary" if name == view else "tertiary",
                on_click=go_to,
                args=(name,),
            )
        doubt = "" if here.verified else " (name not verified)"
        st.html(f'<span class="who">reader <b>{html.escape(here.reader)}</b>{doubt}</span>')


def _show_notes() -> None:
    notes, seat().notes = seat().notes, []
    for kind, text in notes:
        (st.success if kind == "success" else st.error)(text)


if __name__ == "__main__":
    main()
