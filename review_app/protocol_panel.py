"""The protocol of a structure beside its picture, and which version of it the reader was shown."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import streamlit as st

from review_app.session import Desk
from storage.protocols import NamedProtocol, protocol_of

_DIGITS = 8


def show_protocol(here: Desk, case_id: str, structure: str) -> None:
    """Draw the protocol that holds for an item, and remember that this one was shown."""
    found = protocol_of(here.store, structure)
    st.session_state[_key(case_id, structure)] = found
    if found is None:
        return
    with st.expander(f"Protocol: {found.protocol.summary}", key=f"protocol-{structure}"):
        st.html(protocol_html(found))


def shown_protocol(here: Desk, case_id: str, structure: str) -> str | None:
    """Return the version that was shown with an item, its words stored; None where none was."""
    found = st.session_state.get(_key(case_id, structure))
    if not isinstance(found, NamedProtocol):
        return None
    return here.store.put_json(found.protocol.model_dump())


def protocol_html(found: NamedProtocol) -> str:
    """Return a protocol as HTML: lists, picture, version."""
    one = found.protocol
    return (
        '<div class="protocol">'
        + _picture(found)
        + _part("In the mask", one.includes)
        + _part("Not in the mask", one.excludes)
        + _part("Limits", one.limits)
        + _part("Pitfalls", one.pitfalls)
        + f'<p class="soft">Protocol {one.version}, <code>{found.version[:_DIGITS]}</code>; its '
        "version is kept with your verdict.</p></div>"
    )


def protocol_text(found: NamedProtocol) -> str:
    """Return a protocol in plain lines, for a place without HTML."""
    one = found.protocol
    parts = (
        ("In the mask", one.includes),
        ("Not in the mask", one.excludes),
        ("Limits", one.limits),
        ("Pitfalls", one.pitfalls),
    )
    said = [f"{title}: {'; '.join(lines)}." for title, lines in parts if lines]
    return "\n".join([one.summary, *said])


def picture_address(found: NamedProtocol) -> str | None:
    """Return the picture as an address that holds it, so that no script in it can run."""
    if not found.protocol.picture:
        return None
    encoded = base64.b64encode(found.protocol.picture.encode()).decode("ascii")
    return f"data:image/svg+xml;base64,{encoded}"


def _picture(found: NamedProtocol) -> str:
    address = picture_address(found)
    if address is None:
        return ""
    return f'<img src="{address}" alt="Drawing: {html.escape(found.protocol.summary)}">'


def _part(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h4>{title}</h4><ul>{items}</ul>"


def _key(case_id: str, structure: str) -> str:
    return f"shown-protocol-{case_id}-{structure}"
