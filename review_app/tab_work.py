"""When each tab's editor sent something that was drawn, so that drawing counts as active time.

The page's script does not run while somebody draws; only the editor's routes hear of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from datetime import datetime

_MOST_TABS = 200
_MOST_TIMES = 2000


class TabWork:
    """Times of the last strokes by tab; shared by all sessions of the app."""

    def __init__(self) -> None:
        self._times: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, tab: str, now: datetime) -> None:
        """Remember that something was drawn in a tab; the tabs used longest ago are forgotten."""
        with self._lock:
            self._times.setdefault(tab, deque(maxlen=_MOST_TIMES)).append(now)
            self._times.move_to_end(tab)
            while len(self._times) > _MOST_TABS:
                self._times.popitem(last=False)

    def between(self, tab: str, start: datetime, end: datetime) -> list[datetime]:
        """Return the times in a tab after ``start`` and up to ``end``, in order."""
        with self._lock:
            return [time for time in self._times.get(tab, ()) if start < time <= end]


TAB_WORK = TabWork()
