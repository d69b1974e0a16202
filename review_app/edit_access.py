"""Whether the reader of an open document may still look at it."""

from __future__ import annotations

from review_app.open_documents import OpenDocument
from storage.roles import Action, check_allowed


def check_may_look(entry: OpenDocument) -> None:
    """Check that a document's reader was not removed since it was opened.

    Roles are journal lines, so the index, whose opening takes tens of milliseconds and everybody's
    lock, is asked again only after the journal has grown.

    Raises:
        AccessError: The reader is not registered any more where others are.
    """
    document = entry.document
    store = document.here.store
    size = store.journal.size()
    if entry.allowed_at == size:
        return
    action = Action.LOOK if document.item.reading is None else Action.READ
    with store.read() as connection:
        check_allowed(connection, document.here.reader, action)
    entry.allowed_at = size
