"""The documents that are open, by token: bounded, each for one tab, gone after half a day."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from review_app.edit_document import EditDocument, Item
from review_app.session import Desk, utc_now
from storage.grid import Box

_TOKEN_BYTES = 24
_MOST_OPEN = 400
_MOST_OF_TAB = 4
_MOST_RECEIPTS = 128
_LIFE = timedelta(hours=12)


@dataclass(slots=True, eq=False)
class OpenDocument:
    """A document and what happened to it.

    Attributes:
        lock: Held while one request writes.
        answers: What was asked under which request id -> its answer, to be given again.
        renewed_at: When its claim was taken or prolonged last.
        allowed_at: How long the journal was when its reader was last known to be allowed to look.
    """

    document: EditDocument
    expires_at: datetime
    lock: threading.Lock = field(default_factory=threading.Lock)
    answers: OrderedDict[str, dict[str, object]] = field(default_factory=OrderedDict)
    renewed_at: datetime = field(default_factory=utc_now)
    allowed_at: int | None = None

    def remember(self, key: str, answer: dict[str, object]) -> None:
        """Keep the answer of a writing request; the newest hundred are kept."""
        self.answers[key] = answer
        while len(self.answers) > _MOST_RECEIPTS:
            self.answers.popitem(last=False)


class OpenDocuments:
    """The documents of this process; a tab keeps its last four, so that late strokes still land."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, OpenDocument] = OrderedDict()
        self._lock = threading.Lock()

    def offer(
        self, here: Desk, item: Item, *, browser: str, tab: str, region_ras: Box
    ) -> EditDocument:
        """Return the tab's document of an item in a region, made when there is none."""
        with self._lock:
            mine = [
                entry
                for entry in self._open.values()
                if (entry.document.browser, entry.document.tab) == (browser, tab)
            ]
            for entry in mine:
                if _is_same(entry.document, item, region_ras):
                    entry.expires_at = _now() + _LIFE
                    self._open.move_to_end(entry.document.token)
                    return entry.document
            document = EditDocument(
                token=secrets.token_urlsafe(_TOKEN_BYTES),
                document_id=secrets.token_hex(8),
                xsrf=secrets.token_urlsafe(_TOKEN_BYTES),
                browser=browser,
                tab=tab,
                here=here,
                item=item,
                region_ras=region_ras,
            )
            self._open[document.token] = OpenDocument(document, _now() + _LIFE)
            for entry in mine[: max(0, len(mine) + 1 - _MOST_OF_TAB)]:
                del self._open[entry.document.token]
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return document

    def find(self, token: str) -> OpenDocument | None:
        """Return an open document; None for an unknown or expired token."""
        with self._lock:
            entry = self._open.get(token)
        return entry if entry is not None and entry.expires_at > _now() else None

    def of_tab(self, document_id: str, *, browser: str, tab: str) -> EditDocument | None:
        """Return a tab's own document by its id; None for another tab's."""
        with self._lock:
            documents = [entry.document for entry in self._open.values()]
        return next(
            (
                one
                for one in documents
                if (one.document_id, one.browser, one.tab) == (document_id, browser, tab)
            ),
            None,
        )


DOCUMENTS = OpenDocuments()


def _is_same(document: EditDocument, item: Item, region_ras: Box) -> bool:
    """Whether a document is of this item as it stands; other members' layers make no other one."""
    was = document.item
    return (
        was.case.case_id == item.case.case_id
        and was.structure == item.structure
        and was.base_version == item.base_version
        and (was.blind, was.reading, was.place) == (item.blind, item.reading, item.place)
        and {name: version for name, (version, _) in was.neighbours.items()}
        == {name: version for name, (version, _) in item.neighbours.items()}
        and was.kept == item.kept
        and document.region_ras == region_ras
    )


def _now() -> datetime:
    return datetime.now(UTC)
