"""Making ready what the reader opens next, while he still looks at this."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

from configs.errors import AtlasLoopError
from review_app.case_images import regions_of
from review_app.session import Desk, utc_now
from storage.cases import case_row
from storage.review_queue import next_open_case

_LOG = logging.getLogger(__name__)

_under_way: set[tuple[str | None, bool]] = set()
_guard = threading.Lock()


def prefetch_after(here: Desk, case_id: str | None) -> Future[None] | None:
    """Make the next CT of the queue ready in the background; once a case, one at a time.

    Args:
        here: Whose queue.
        case_id: What is open now; None where nothing is.

    Returns:
        What ends when it is done; None when that case's next was asked for already.
    """
    return _start(here, case_id, is_next=True)


def prefetch_case(here: Desk, case_id: str) -> Future[None] | None:
    """Make a CT ready in the background; None when it was asked for already."""
    return _start(here, case_id, is_next=False)


def _start(here: Desk, case_id: str | None, *, is_next: bool) -> Future[None] | None:
    with _guard:
        if (case_id, is_next) in _under_way:
            return None
        _under_way.add((case_id, is_next))
    return _worker().submit(_make_ready, here, case_id, is_next=is_next)


def _make_ready(here: Desk, case_id: str | None, *, is_next: bool) -> None:
    try:
        with here.store.read() as connection:
            found = case_id
            if is_next:
                found = next_open_case(connection, reader=here.reader, now=utc_now(), after=case_id)
            row = None if found is None else case_row(connection, found)
        if row is not None:
            regions_of(here.store).blocks(row)
    except AtlasLoopError as error:
        # It is only early: the page that needs it says what is wrong.
        _LOG.info("the next CT could not be made ready: %s", error)
    finally:
        with _guard:
            _under_way.discard((case_id, is_next))


@cache
def _worker() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
