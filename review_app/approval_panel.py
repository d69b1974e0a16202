"""Approval on the case page: what a second reader says of a verdict."""

from __future__ import annotations

import html

import streamlit as st

from configs.errors import AtlasLoopError
from configs.taxonomy import load_taxonomy
from review_app.case_actions import leave_case, select
from review_app.editor_panel import is_built, is_editing
from review_app.session import Desk, go_to, note_error, note_success, utc_now
from review_app.view_models import StructureLine, approval_words
from storage.approvals import Decision, Outcome, decide, waiting_for_approval
from storage.readers import Actor
from storage.review_case import JudgedVerdict, ReviewCase


def show_approval(here: Desk, case: ReviewCase, line: StructureLine) -> None:
    """Draw the comment of a return and, under four eyes, what is left to be said."""
    given = case.verdicts.get(line.structure)
    if given is None:
        return
    is_returned = given.state == "returned"
    may_decide = case.may_approve and not given.is_own
    if is_returned:
        _comment(given)
    if not here.settings.four_eyes or given.state == "deferred" or (is_returned and not may_decide):
        return
    with st.container(border=True, key="approval"):
        # Who returned it stands with its state, above.
        words = (
            "It can still be approved as it is."
            if is_returned
            else approval_words(given, may_approve=case.may_approve)
        )
        st.html(f'<p class="why">{html.escape(words)}</p>')
        _changed_along(case, line, given)
        if may_decide:
            _buttons(here, case.case.case_id, line, given)


def _comment(given: JudgedVerdict) -> None:
    st.html(
        f'<p class="why"><b>{html.escape(given.decided_by or "")} asks for:</b> '
        f"{html.escape(given.comment or '')}</p>"
    )


def _changed_along(case: ReviewCase, line: StructureLine, given: JudgedVerdict) -> None:
    """Name the neighbours that the verdict changed: a decision covers them too."""
    taxonomy = load_taxonomy()
    names = [
        taxonomy[one.structure].display
        for one in case.versions
        if one.verdict_id == given.verdict_id and one.structure != line.structure
    ]
    if names:
        st.html(f'<p class="soft">It also changed: {html.escape(", ".join(names))}.</p>')


def _buttons(here: Desk, case_id: str, line: StructureLine, given: JudgedVerdict) -> None:
    item = f"{case_id}-{line.structure}"
    comment_key = f"comment-{item}-{given.verdict_id[:12]}"
    if given.state != "returned":
        st.text_input(
            "What is to be done, when you return it (no patient's name)",
            key=comment_key,
            max_chars=2000,
        )
    keys = here.settings.keys
    in_editor = is_editing(here) and is_built() and line.can_judge
    choices = (("approved", "Approve", keys.approve), ("returned", "Return", keys.send_back))
    with st.container(horizontal=True, key="decisions"):
        for outcome, words, key in choices:
            if given.state != outcome:
                st.button(
                    words,
                    key=f"{outcome}-{item}",
                    # One button leads: the verdict's own, where one can be given.
                    type="primary" if outcome == "approved" and not line.can_judge else "secondary",
                    # In the editor letters are its tools; none of them may decide on a verdict.
                    shortcut=None if in_editor else key,
                    on_click=_decide,
                    args=(here, case_id, line, given, outcome, comment_key),
                )


def _decide(
    here: Desk,
    case_id: str,
    line: StructureLine,
    given: JudgedVerdict,
    outcome: Outcome,
    comment_key: str,
) -> None:
    """Commit what the reviewer says of the verdict that was displayed, and go to the next one."""
    comment = str(st.session_state.get(comment_key) or "") if outcome == "returned" else ""
    try:
        decision = Decision(
            verdict_id=given.verdict_id,
            outcome=outcome,
            by=Actor(here.reader, here.verified),
            seen=given.decision_id,
            comment=comment.strip(),
        )
        decide(here.store, decision, now=utc_now())
    except AtlasLoopError as error:
        note_error(f"Nothing was written: {error}")
        return
    note_success(f"{line.display} {outcome}.")
    _go_on(here, case_id)


def _go_on(here: Desk, case_id: str) -> None:
    with here.store.read() as connection:
        waiting = waiting_for_approval(connection, reader=here.reader, limit=1)
    if not waiting.items:
        return
    following = waiting.items[0]
    if following.case_id != case_id:
        leave_case(here)
        go_to("case", case=following.case_id)
    select(following.case_id, following.structure)
