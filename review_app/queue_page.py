"""The queue page: filters, progress, and what probably needs a look, worst first."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from configs.taxonomy import load_taxonomy
from review_app.desk_panel import show_desk
from review_app.editor_panel import is_built
from review_app.prefetch import prefetch_after
from review_app.session import Desk, go_to, utc_now
from review_app.style import swatch
from review_app.view_models import (
    KIND_WORDS,
    STATUS_WORDS,
    QueueLine,
    filtered_structures,
    progress,
    queue_lines,
)
from storage.desk_work import desk_work
from storage.review_queue import STATUSES, QueueFilter, QueuePage, queue_page

_HEAD = (
    '<div class="line head"><span class="num">#</span><span>Structure</span><span>Case</span>'
    '<span>Kind</span><span class="num">Risk</span><span>Why</span><span>State</span></div>'
)


def show_queue(here: Desk) -> None:
    """Draw the page; one read of the database."""
    wanted = _filters()
    size = here.settings.page_size
    number = max(1, int(st.session_state.get("page-number", 1)))
    with here.store.read() as connection:
        page = queue_page(
            connection,
            wanted,
            reader=here.reader,
            now=utc_now(),
            limit=size,
            offset=(number - 1) * size,
        )
        four_eyes = here.settings.four_eyes
        work = desk_work(connection, reader=here.reader, four_eyes=four_eyes, limit=size)
    if show_desk(here, work):
        return
    if page.ranked_at is None:
        st.info("There is no queue yet. Run `atlasloop annotate`, then reload this page.")
        return
    if is_built():
        prefetch_after(here, None)
    _progress(page)
    lines = queue_lines(page, load_taxonomy())
    _table(lines, here)
    _pager(page.matching, size, number, shown=len(lines))


def _filters() -> QueueFilter:
    taxonomy = load_taxonomy()
    columns = st.columns([2.2, 1.6, 2.2, 1.4, 3.2], vertical_alignment="bottom")
    structures = columns[0].multiselect(
        "Structures",
        taxonomy.names,
        format_func=lambda name: taxonomy[name].display,
        placeholder="All",
        key="filter-structures",
        on_change=_first_page,
    )
    groups = columns[1].multiselect(
        "Groups",
        ["organ", "tumor", "cyst"],
        placeholder="All",
        key="filter-groups",
        on_change=_first_page,
    )
    reason = columns[2].text_input(
        "Reason contains", key="filter-reason", placeholder="Any", on_change=_first_page
    )
    kind = columns[3].selectbox(
        "Kind",
        [None, *KIND_WORDS],
        format_func=lambda name: "Both" if name is None else KIND_WORDS[name],
        key="filter-kind",
        on_change=_first_page,
    )
    statuses = columns[4].pills(
        "State",
        STATUSES,
        selection_mode="multi",
        default=["open", "mine", "deferred"],
        format_func=lambda name: STATUS_WORDS[name],
        key="filter-status",
        on_change=_first_page,
    )
    return QueueFilter(
        structures=filtered_structures(taxonomy, structures, groups),
        statuses=tuple(statuses),
        kind=kind,
        reason=reason,
    )


def _first_page() -> None:
    st.session_state["page-number"] = 1


def _progress(page: QueuePage) -> None:
    done = progress(page)
    ranked = f"{page.ranked_at:%Y-%m-%d %H:%M} UTC" if page.ranked_at else "never"
    st.progress(done.share, text=f"{done.words}. Ranked {ranked}.")
    if page.readings:
        st.info(f"{page.readings} structures wait for an independent reading by you.")


def _table(lines: Sequence[QueueLine], here: Desk) -> None:
    if not lines:
        st.info("Nothing waits under these filters.")
        return
    st.columns([12, 1.1])[0].html(_HEAD)
    first = next((line for line in lines if line.can_open), None)
    for line in lines:
        words, action = st.columns([12, 1.1], vertical_alignment="center")
        words.html(_row(line))
        action.button(
            "Open" if line.can_open else "Look",
            key=f"open-{line.case_id}-{line.structure}",
            type="primary" if line is first else "secondary",
            shortcut=here.settings.keys.next_item if line is first else None,
            on_click=go_to,
            args=("case",),
            kwargs={"case": line.case_id, "structure": line.structure},
            width="stretch",
        )


def _row(line: QueueLine) -> str:
    cells = (
        f'<span class="num">{line.position}</span>',
        f"<span>{swatch(line.rgb)}{html.escape(line.display)}</span>",
        f"<code>{html.escape(line.case_id)}</code>",
        f"<span>{html.escape(line.kind)}</span>",
        f'<span class="num">{line.risk}</span>',
        f"<span>{html.escape(line.reason)}</span>",
        f"<span>{html.escape(line.status)}</span>",
    )
    return f'<div class="line">{"".join(cells)}</div>'


def _pager(matching: int, size: int, number: int, *, shown: int) -> None:
    first = (number - 1) * size + 1
    with st.container(horizontal=True, vertical_alignment="center", key="pager"):
        st.button("Previous", key="previous", disabled=number == 1, on_click=_turn, args=(-1,))
        st.button(
            "Next",
            key="next",
            disabled=first + shown > matching,
            on_click=_turn,
            args=(1,),
        )
        if shown:
            st.html(f'<span class="soft">{first} to {first + shown - 1} of {matching}</span>')


def _turn(step: int) -> None:
    st.session_state["page-number"] = max(1, int(st.session_state.get("page-number", 1)) + step)
