"""A small cache that forgets what was used longest ago, shared by all sessions of the app."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """Keeps values whose weights add up to at most a limit; one value may always stay.

    A value that several threads ask for at once is made once; meanwhile the others wait.
    """

    def __init__(self, limit: int, weigh: Callable[[Value], int]) -> None:
        self._limit = limit
        self._weigh = weigh
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of a key, made now when it is not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            value = make()
            self._values[key] = value
            while len(self._values) > 1 and self.weight > self._limit:
                self._values.popitem(last=False)
            return value

    @property
    def weight(self) -> int:
        """What is kept, by weight."""
        return sum(self._weigh(value) for value in self._values.values())
