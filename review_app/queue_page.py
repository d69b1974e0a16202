"""The queue page: filters, progress, and what probably needs a look, CT by CT, worst first."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from configs.taxonomy import load_taxonomy
from review_app.desk_panel import approvals_before, show_desk
from review_app.editor_panel import is_built
from review_app.prefetch import prefetch_after
from review_app.queue_filters import know_datasets, know_ranking, show_filters
from review_app.queue_lines import CaseBlock, QueueLine, case_blocks, progress, rank_words
from review_app.session import Desk, go_to, utc_now
from review_app.style import swatch
from storage.desk_work import desk_work
from storage.review_queue import QueuePage, queue_page

_BY_GAIN = " by expected gain in DSC per minute of work"
_SHOWN = 3
"""Rows of a CT before the reader asks for all."""


def show_queue(here: Desk) -> None:
    """Draw the page; one read of the database."""
    wanted = show_filters()
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
        work = desk_work(
            connection,
            reader=here.reader,
            four_eyes=here.settings.four_eyes,
            limit=size,
            offset=approvals_before(),
        )
    know_ranking(page.policy)
    know_datasets(page.datasets)
    if show_desk(here, work):
        return
    if page.ranked_at is None:
        st.info("There is no queue yet. Run `atlasloop annotate`, then reload this page.")
        return
    if is_built():
        prefetch_after(here, None)
    _progress(page)
    first = (number - 1) * size + 1
    _cases(case_blocks(page, load_taxonomy()), here, number=first, policy=page.policy)
    _pager(page, number, first=first)


def _head(policy: str) -> str:
    name, meaning = rank_words(policy)
    return (
        '<div class="line head"><span>Structure</span><span>Kind</span>'
        f'<span class="num" title="{html.escape(meaning)}">{name}</span>'
        '<span title="With what a reader would draw, if the structure is there">'
        "Predicted DSC</span>"
        '<span class="num" title="Predicted minutes of work, without opening the CT">Min</span>'
        "<span>Why</span><span>State</span></div>"
    )


def _progress(page: QueuePage) -> None:
    done = progress(page)
    ranked = f"{page.ranked_at:%Y-%m-%d %H:%M} UTC" if page.ranked_at else "never"
    waiting = (
        f" {page.readings} structures wait for an independent reading by you."
        if page.readings
        else ""
    )
    by = _BY_GAIN if page.policy == "expected_gain" else ""
    if page.policy and not by:
        by = f" by {page.policy.replace('_', ' ')}"
    st.progress(done.share, text=f"{done.words}. Ranked {ranked}{by}.{waiting}")
    if page.estimate_words:
        with st.expander(f"Predicted DSC is {page.basis}: what it and the minutes rest on"):
            st.html("".join(f'<p class="why">{html.escape(w)}.</p>' for w in page.estimate_words))


def _cases(blocks: Sequence[CaseBlock], here: Desk, *, number: int, policy: str) -> None:
    if not blocks:
        st.info("Nothing waits under these filters.")
        return
    st.columns([12, 1.1])[0].html(_head(policy))
    lines = [line for block in blocks for line in block.lines]
    first = next((line for line in lines if line.can_open), None)
    for place, block in enumerate(blocks, number):
        with st.container(key=f"ct-{block.case_id}"):
            _case_head(block, place)
            _case(block, here, first)


def _case(block: CaseBlock, here: Desk, first: QueueLine | None) -> None:
    is_whole = st.session_state.get(_whole_key(block.case_id), False)
    for line in block.lines if is_whole else block.lines[:_SHOWN]:
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


def _case_head(block: CaseBlock, place: int) -> None:
    words, action = st.columns([12, 1.1], vertical_alignment="bottom")
    words.html(
        f'<div class="ct"><b>{place}.</b> <code>{html.escape(block.case_id)}</code> '
        f'<span class="soft">{html.escape(block.summary)}</span></div>'
    )
    rest = len(block.lines) - _SHOWN
    if rest > 0:
        is_whole = st.session_state.get(_whole_key(block.case_id), False)
        action.button(
            "Fewer" if is_whole else f"{rest} more",
            key=f"more-{block.case_id}",
            type="tertiary",
            on_click=_toggle,
            args=(block.case_id,),
            width="stretch",
        )


def _whole_key(case_id: str) -> str:
    return f"whole-{case_id}"


def _toggle(case_id: str) -> None:
    key = _whole_key(case_id)
    st.session_state[key] = not st.session_state.get(key, False)


def _row(line: QueueLine) -> str:
    cells = (
        f"<span>{swatch(line.rgb)}{html.escape(line.display)}</span>",
        f"<span>{html.escape(line.kind)}</span>",
        f'<span class="num">{line.risk}</span>',
        f"<span>{html.escape(line.dsc)}</span>",
        f'<span class="num">{line.minutes}</span>',
        f"<span>{html.escape(line.reason)}</span>",
        f"<span>{html.escape(line.status)}</span>",
    )
    return f'<div class="line">{"".join(cells)}</div>'


def _pager(page: QueuePage, number: int, *, first: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="pager"):
        st.button("Previous", key="previous", disabled=number == 1, on_click=_turn, args=(-1,))
        st.button("Next", key="next", disabled=not page.has_more, on_click=_turn, args=(1,))
        if page.cases:
            last = first + len(page.cases) - 1
            st.html(
                f'<span class="soft">CTs {first} to {last}; {page.matching} structures under these '
                "filters</span>"
            )


def _turn(step: int) -> None:
    st.session_state["page-number"] = max(1, int(st.session_state.get("page-number", 1)) + step)
