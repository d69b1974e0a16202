"""Stands in for the editor's page part where that is not built in: it shows nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from configs.errors import UsageError


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
    height_px: int = 760,
) -> EditorEvent:
    """Refuse: there is no page part to show a document in.

    Raises:
        UsageError: Always.
    """
    del document_url, status, mode, height_px
    raise UsageError("the editor's page part is not built in; correct in another program instead")
