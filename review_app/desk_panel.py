"""What waits for a reader beside the queue: returned verdicts, and verdicts to approve."""

from __future__ import annotations

import html

import streamlit as st

from configs.taxonomy import Taxonomy, load_taxonomy
from review_app.item_words import VERDICT_WORDS, counted_voxels
from review_app.session import Desk, go_to
from review_app.style import swatch
from storage.approvals import Submission, Waiting
from storage.desk_work import DeskWork

_SHOW = "show-to-approve"
_BEFORE = "approvals-before"


def show_desk(here: Desk, work: DeskWork) -> bool:
    """Draw what waits.

    Returns:
        Whether the reader looks at verdicts to approve, in place of the queue.
    """
    _role(work)
    _returned(work)
    if work.waiting is None:
        return False
    with st.container(horizontal=True, vertical_alignment="center", key="approvals"):
        shown = st.toggle("To approve", key=_SHOW)
        st.html(f'<span class="soft">{work.waiting.count} verdicts of others wait for you</span>')
    if shown:
        _waiting(work.waiting, size=here.settings.page_size)
    return shown


def approvals_before() -> int:
    """Return how many verdicts to approve stand on the pages before the one that is shown."""
    return int(st.session_state.get(_BEFORE, 0))


def _role(work: DeskWork) -> None:
    words = (
        "No reader is registered: whoever opens this app may do everything, under any name."
        if work.role is None
        else f"You are registered as {work.role}."
    )
    st.html(f'<p class="soft">{html.escape(words)}</p>')


def _returned(work: DeskWork) -> None:
    if not work.returned:
        return
    taxonomy = load_taxonomy()
    with st.container(border=True, key="returned"):
        st.html('<p class="why"><b>Returned to you</b></p>')
        for item in work.returned:
            said = f"{item.reviewer}: {item.comment}"
            _row(
                f"{_structure(taxonomy, item.structure)} <code>{html.escape(item.case_id)}</code> "
                f"{html.escape(said)} (others may take it from {item.kept_until:%Y-%m-%d %H:%M} "
                "UTC)",
                "returned",
                item.case_id,
                item.structure,
            )


def _waiting(waiting: Waiting, *, size: int) -> None:
    if not waiting.items:
        st.info("Nothing waits for your approval.")
        return
    taxonomy = load_taxonomy()
    for item in waiting.items:
        _row(
            f"{_structure(taxonomy, item.structure)} <code>{html.escape(item.case_id)}</code> "
            f"{html.escape(_said(item))}",
            "approve",
            item.case_id,
            item.structure,
        )
    if waiting.count > len(waiting.items):
        _pager(waiting, size=size)


def _pager(waiting: Waiting, *, size: int) -> None:
    first, last = waiting.offset + 1, waiting.offset + len(waiting.items)
    with st.container(horizontal=True, vertical_alignment="center", key="waiting-pager"):
        for name, words, offset, is_there in (
            ("previous", "Previous", max(0, waiting.offset - size), waiting.offset > 0),
            ("next", "Next", last, last < waiting.count),
        ):
            st.button(
                words,
                key=f"waiting-{name}",
                disabled=not is_there,
                on_click=_turn,
                args=(offset,),
            )
        st.html(f'<span class="soft">{first} to {last} of {waiting.count}, oldest first</span>')


def _turn(offset: int) -> None:
    st.session_state[_BEFORE] = offset


def _said(item: Submission) -> str:
    changed = f", {counted_voxels(item.voxels_changed)}" if item.voxels_changed else ""
    tags = f" ({', '.join(tag.replace('_', ' ') for tag in item.tags)})" if item.tags else ""
    words = VERDICT_WORDS.get(item.verdict, item.verdict)
    return f"{words} by {item.reader}{changed}{tags}, {item.given_at:%Y-%m-%d %H:%M} UTC"


def _structure(taxonomy: Taxonomy, name: str) -> str:
    structure = taxonomy[name]
    return f"{swatch(structure.rgb)}<b>{html.escape(structure.display)}</b>"


def _row(words: str, kind: str, case_id: str, structure: str) -> None:
    text, action = st.columns([12, 1.1], vertical_alignment="center")
    text.html(f'<span class="why">{words}</span>')
    action.button(
        "Open",
        key=f"{kind}-{case_id}-{structure}",
        on_click=_open,
        args=(case_id, structure),
        width="stretch",
    )


def _open(case_id: str, structure: str) -> None:
    # The structure that this tab chose last in the case goes before the address's.
    st.session_state[f"structure-{case_id}"] = structure
    go_to("case", case=case_id, structure=structure)
