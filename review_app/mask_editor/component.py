"""The voxel editor as a Streamlit component: what goes to the page, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from streamlit.components.v2 import component

from review_app.mask_editor.assets import entry_url

# One constant key: a new document is the next item in the same editor, without a remount.
KEY = "mask_editor"

# The editor itself comes by a route of ours, so a rerun never carries it.
_LOADER = """
const entry = new URL("{url}", window.location.origin).href;
export default (component) => {{
  const place = component.parentElement;
  const mounted = import(entry).then(
    (module) => module.default(component),
    () => {{
      place.textContent = "The editor could not be loaded. Reload the page.";
      return () => undefined;
    }},
  );
  return () => {{ mounted.then((leave) => leave()); }};
}};
"""


@dataclass(frozen=True, slots=True)
class EditorEvent:
    """What the reader did last; each part is there in the one run that follows it.

    Attributes:
        save: ``{"document", "receipt", "transfer"?}`` after a correction was stored, else None.
        act: ``{"document", "action", "nonce"}`` after a verdict or a move, else None.
    """

    save: dict[str, Any] | None
    act: dict[str, Any] | None


def mask_editor(
    document_url: str | None,
    *,
    status: str | None = None,
    mode: Literal["edit", "look"] = "look",
    height_px: int | None = None,
) -> EditorEvent:
    """Show the editor on a document and return what its reader did.

    Args:
        document_url: Address of the document on this server (``/edit/TOKEN/document``), or None
            while there is none to show.
        status: Words for the editor's message line.
        mode: Whether the editor opens with the brush in hand or with none.
        height_px: Height on the page; None fills the window below the app's bar.
    """
    height = "window" if height_px is None else "box"
    data = {"document_url": document_url, "status": status, "mode": mode, "height": height}
    # A value is a trigger, gone after one run, only where a callback of its name is given.
    result = _mount()(
        key=KEY,
        data=data,
        height=height_px or "content",
        on_save_change=_nothing,
        on_act_change=_nothing,
    )
    return EditorEvent(save=result.get("save"), act=result.get("act"))


@cache
def _mount() -> Callable[..., Any]:
    return component(KEY, js=_LOADER.format(url=entry_url()), html="")


def _nothing() -> None:
    """Do nothing: the values are read in the run itself."""
